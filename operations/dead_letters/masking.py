"""A payload to look at, without whom it is about: the fields of the contract, and of an e-mail address its domain."""

import dataclasses
import json
import math
import re
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from operations.dead_letters.edits import Edit
from schemas.events import Event, WalletAssigned, is_nested_too_deep
from schemas.fields import Email, Locale

HIDDEN = "…"
_AT = r"(?:[@\uff20]|%40|\s?[(\[{]at[)\]}])"
# A mailbox begins only where none goes on, so that each character is looked at a few times at most.
_LOCAL = r"""[^\s@\uff20<>"',;:()]"""
_MAILBOX = re.compile(rf'(?:"[^"]*"|(?<!{_LOCAL}){_LOCAL}+)(?={_AT})', re.IGNORECASE)
_ANY_AT = re.compile(_AT, re.IGNORECASE)
_FIELDS = {field.name for event in get_args(Event) for field in dataclasses.fields(event)}
_SHOWN = _FIELDS.union(WalletAssigned.model_fields) - {"recipient"}
_FREE_TEXT = ("reason", "actor")
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_LOCALE: TypeAdapter[str] = TypeAdapter(Locale)


def read_document(value: bytes | None) -> Any:
    """The JSON in a record's value, as lenient as the allocator is with a final status; None where it is none, or is
    nested too deep."""
    if is_nested_too_deep(value or b""):
        return None
    try:
        return json.loads((value or b"").decode())
    except ValueError:  # not UTF-8, not JSON, numbers beyond all measure
        return None


def masked(document: Any) -> Any:
    """The same document without persons: what the contract does not know may be about one."""
    if not isinstance(document, dict):
        return _masked("", document)
    return {
        masked_text(name): {masked_text(part): _masked(f"{name}.{part}", inner) for part, inner in content.items()}
        if name == "recipient" and isinstance(content, dict)
        else _masked(name, content)
        for name, content in document.items()
    }


def masked_edit(edit: Edit) -> Edit:
    """The same edit without persons."""
    before, after = (
        # A field was a whole object, kept as JSON.
        HIDDEN if text and text.startswith(("{", "[")) else _masked(edit.path, text)
        for text in (edit.before, edit.after)
    )
    return Edit(edit.path, before, after)


def masked_name(text: str) -> str:
    """An identifier as it is, unless it is an e-mail address."""
    return HIDDEN if _ANY_AT.search(text) else _writable(text)


def masked_text(text: str) -> str:
    """The text without what stands before an @, however that is written."""
    return _writable(_MAILBOX.sub(HIDDEN, text))


def _masked(path: str, content: Any) -> Any:
    """The content of the field at a path."""
    if content is None:
        return None
    if path == "recipient.email":
        email = _valid(_EMAIL, content)
        return f"{HIDDEN}@{email.rpartition('@')[2]}" if email else HIDDEN
    if path == "recipient.locale":
        return _valid(_LOCALE, content) or HIDDEN
    if path not in _SHOWN or isinstance(content, dict | list):
        return HIDDEN
    if isinstance(content, str):
        return masked_text(content) if path in _FREE_TEXT else masked_name(content)
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)  # JSON has no such number
    return content


def _valid(field: TypeAdapter[str], content: object) -> str | None:
    try:
        return field.validate_python(content)
    except ValidationError:
        return None


def _writable(text: str) -> str:
    """Surrogates cannot be written."""
    return text.encode(errors="replace").decode()
