"""What `--set PATH=VALUE` does to a payload: pure."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.settings import SettingsError

_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)=(.*)", re.DOTALL)
KEPT_CHARACTERS = 200
NEVER = {"event_id": "a replayed event has one of its own", "type": "another type is another event: publish it"}


@dataclass(frozen=True)
class Setting:
    """A field is to have this text; None: it is left out."""

    path: str
    value: str | None


@dataclass(frozen=True)
class Edit:
    """A field had `before` and has `after`; None: there is no such field."""

    path: str
    before: str | None
    "What is no text as JSON; what is long, or cannot be kept, not as a whole: the dead letter has it."
    after: str | None


def read_settings_of(arguments: Sequence[str]) -> list[Setting]:
    """Settings as a command line has them: `network=TRC-20`, `recipient.locale=en`, `expires_at=` to leave it out.

    Raises:
        SettingsError: one of them is none, or of a field that cannot be set.
    """
    settings = []
    for argument in arguments:
        found = _SETTING.fullmatch(argument)
        if found is None:
            raise SettingsError(
                f"--set {argument}: expected FIELD=VALUE, such as network=TRC-20 or recipient.locale=en"
            )
        if found[1] in NEVER:
            raise SettingsError(f"--set {found[1]}: {NEVER[found[1]]}")
        settings.append(Setting(found[1], found[2] or None))
    return settings


def edited(document: dict[str, Any], settings: Sequence[Setting]) -> tuple[dict[str, Any], list[Edit]]:
    """The document with the settings, and what they changed. All fields of events are text, so values are."""
    document = dict(document)
    edits = []
    for setting in settings:
        *parents, name = setting.path.split(".")
        holder = document
        for parent in parents:
            inner = holder.get(parent)
            holder[parent] = dict(inner) if isinstance(inner, dict) else {}
            holder = holder[parent]
        before = holder.get(name)
        if setting.value is None:
            holder.pop(name, None)
        else:
            holder[name] = setting.value
        if before != setting.value:
            edits.append(Edit(setting.path, _kept(before), setting.value))
    return document, edits


def _kept(content: object) -> str | None:
    """A field's content as the database can keep it."""
    if content is None:
        return None
    text = content if isinstance(content, str) else json.dumps(content)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:KEPT_CHARACTERS])
