"""The exported contract is the models' contract."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from schemas.events import EVENT, WalletAssigned, parse_event
from schemas.examples import EXAMPLES
from schemas.export import FOLDER, NOTIFICATIONS, ORDER_EVENTS, as_text, documents, write
from schemas.settings import Settings
from schemas.topics import topics


@pytest.mark.parametrize("name", documents())
def test_committed_document_is_that_of_the_models(name: str) -> None:
    committed = (FOLDER / name).read_text()
    assert committed == as_text(documents()[name]), "the models have changed: python -m schemas.export, and look at it"


def test_no_document_is_left_over() -> None:
    assert {file.name for file in FOLDER.iterdir() if file.suffix == ".json"} == documents().keys()


def test_documents_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    write(tmp_path / "contract")
    assert {file.name for file in (tmp_path / "contract").iterdir()} == documents().keys()


@pytest.mark.parametrize(("kind", "example"), [(kind, example) for kind in EXAMPLES for example in EXAMPLES[kind]])
def test_example_is_an_event_of_its_type(kind: str, example: dict[str, Any]) -> None:
    value = json.dumps(example).encode()
    if kind in NOTIFICATIONS:
        assert WalletAssigned.model_validate_json(value).type == kind
    else:
        parsed = parse_event(value)
        assert type(parsed.event) is ORDER_EVENTS[kind]
        assert parsed.dropped_fields == 0


def test_every_event_has_an_example_and_a_document() -> None:
    assert EXAMPLES.keys() == ORDER_EVENTS.keys() | NOTIFICATIONS.keys()
    assert {model.__name__ for model in ORDER_EVENTS.values()} == _names(EVENT)


def test_asyncapi_names_the_four_topics_as_they_are_made() -> None:
    channels = documents()["asyncapi.json"]["channels"].values()
    assert {(channel["address"], channel["bindings"]["kafka"]["partitions"]) for channel in channels} == {
        (topic.name, topic.partitions) for topic in topics(Settings())
    }


def test_asyncapi_references_point_at_something() -> None:
    document = documents()["asyncapi.json"]
    references = set(_references(document))
    assert references
    for reference in references:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for content in part.values():
            yield from _references(content)
    elif isinstance(part, list):
        for content in part:
            yield from _references(content)


def _names(adapter: TypeAdapter[Any]) -> set[str]:
    return {reference.rsplit("/", 1)[1] for reference in adapter.json_schema()["discriminator"]["mapping"].values()}
