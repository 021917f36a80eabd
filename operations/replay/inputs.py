"""What a replay takes as given: how far partitions are applied, which catalogues decided, what the database refused."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import asyncpg
from pydantic import ValidationError

from consumers.places import Place
from schemas.catalogue import Catalogue
from schemas.settings import SettingsError
from storage.errors import WalletqError
from storage.sql import read_queries

SQL = read_queries("replay")


class Recorded(NamedTuple):
    """From this offset of its partition on, this catalogue decided."""

    from_offset: int
    catalogue: Catalogue


@dataclass
class CatalogueUnreadable(WalletqError):
    """A recorded catalogue is missing, or is none."""

    topic: str
    partition: int
    offset: int
    found: str

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}: the catalogue that decided from offset {self.offset} on {self.found}"


@dataclass(frozen=True)
class Inputs:
    """By partition of the orders' topic.

    Attributes:
        rows: the partitions' rows.
        catalogues: which catalogue decided from which offset on, in the order of the offsets.
        refused: the offsets of the records that the database did not take, and what it said.
    """

    rows: Mapping[int, asyncpg.Record] = field(default_factory=dict)
    catalogues: Mapping[int, list[Recorded]] = field(default_factory=dict)
    refused: Mapping[int, Mapping[int, str]] = field(default_factory=dict)

    def place(self, partition: int) -> Place | None:
        """The partition's place; None before its first owner."""
        row = self.rows.get(partition)
        return Place(*(row[name] for name in Place._fields[:4])) if row else None

    def next_offset(self, partition: int) -> int:
        """How far the partition is applied."""
        row = self.rows.get(partition)
        return row["next_offset"] if row else 0

    def under(self, catalogue: Catalogue) -> "Inputs":
        """The same, as if this catalogue had decided from the first record on."""
        return replace(self, catalogues={partition: [Recorded(0, catalogue)] for partition in self.rows})

    def up_to(self, places: Mapping[int, int]) -> tuple[object, object]:
        """The catalogues and refused offsets that a replay up to these places has used."""
        return (
            {
                at: [(since, known.sha256) for since, known in self.catalogues.get(at, []) if since < place]
                for at, place in places.items()
            },
            {at: [offset for offset in self.refused.get(at, {}) if offset < place] for at, place in places.items()},
        )


async def read_inputs(connection: asyncpg.Connection, topic: str) -> Inputs:
    """What the database has of them, in one transaction or the caller's.

    Raises:
        CatalogueUnreadable: a recorded catalogue is none.
    """
    async with connection.transaction():
        # First the places: what is read after them covers them, whoever goes on meanwhile.
        rows = {row["partition"]: row for row in await connection.fetch(SQL["places"], topic)}
        catalogues: dict[int, list[Recorded]] = {}
        known: dict[str, Catalogue] = {}
        for partition, from_offset, sha256, content in await connection.fetch(SQL["catalogues"], topic):
            if content not in known:
                known[content] = _catalogue(topic, partition, from_offset, sha256, content)
            catalogues.setdefault(partition, []).append(Recorded(from_offset, known[content]))
        refused: dict[int, dict[int, str]] = {}
        for partition, offset, message in await connection.fetch(SQL["refused"], topic):
            refused.setdefault(partition, {})[offset] = message
    return Inputs(rows, catalogues, refused)


def write_inputs(file: Path, inputs: Inputs, topic: str) -> None:
    """Keep the catalogues and refused offsets for a rebuild, in a file that is new or replaced.

    Raises:
        WalletqError: it cannot be written.
    """
    document = {
        "topic": topic,
        "catalogues": [
            {"partition": partition, "from_offset": since, "sha256": known.sha256, "content": known.content}
            for partition, recorded in sorted(inputs.catalogues.items())
            for since, known in recorded
        ],
        "refused": [
            {"partition": partition, "offset": offset, "message": message}
            for partition, refused in sorted(inputs.refused.items())
            for offset, message in sorted(refused.items())
        ],
    }
    try:
        file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise WalletqError(f"--save-inputs: {file} cannot be written: {error.strerror}") from error


def load_inputs(file: Path, topic: str) -> Inputs:
    """What `write_inputs` has kept; without places.

    Raises:
        SettingsError: it cannot be read, or is of another topic.
    """
    try:
        document = json.loads(file.read_text())
        if document["topic"] != topic:
            raise SettingsError(f"--inputs: {file} is of the topic {document['topic']}, not of {topic}")
        catalogues: dict[int, list[Recorded]] = {}
        for row in document["catalogues"]:
            at, since = int(row["partition"]), int(row["from_offset"])
            catalogue = _catalogue(topic, at, since, row["sha256"], row["content"])
            catalogues.setdefault(at, []).append(Recorded(since, catalogue))
        refused: dict[int, dict[int, str]] = {}
        for row in document["refused"]:
            refused.setdefault(int(row["partition"]), {})[int(row["offset"])] = str(row["message"])
    except OSError as error:
        raise SettingsError(f"--inputs: {file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, CatalogueUnreadable) as error:
        raise SettingsError(f"--inputs: {file} is not what --save-inputs writes: {error}") from None
    for recorded in catalogues.values():
        recorded.sort(key=lambda known: known.from_offset)
    return Inputs({}, catalogues, refused)


def _catalogue(topic: str, partition: int, from_offset: int, sha256: str, content: str) -> Catalogue:
    if hashlib.sha256(content.encode()).hexdigest() != sha256:
        raise CatalogueUnreadable(topic, partition, from_offset, "has another digest than the one recorded with it")
    try:
        return Catalogue.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise CatalogueUnreadable(topic, partition, from_offset, f"is none: {where}: {problem['msg']}") from None
