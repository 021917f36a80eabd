"""A payload to look at, without whom it is about: of an e-mail address the domain is left."""

import json
import math
import re
from typing import Any

from operations.dead_letters.edits import Edit

_MAILBOX = re.compile(r"""[^\s@<>"',;:()]+@""")
HIDDEN = "…"
_HARMLESS = ("email", "locale")
"The fields of a recipient that may be shown: a language as it is, an address as its domain."


def read_document(value: bytes | None) -> Any:
    """The JSON in a record's value, as lenient as the allocator is with a final status; None where it is none."""
    try:
        return json.loads((value or b"").decode())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, numbers or nesting beyond all measure
        return None


def masked(content: Any, *, of_recipient: bool = False) -> Any:
    """The same document without persons."""
    if isinstance(content, dict):
        return {
            masked_text(name): HIDDEN
            if of_recipient and name not in _HARMLESS
            else masked(part, of_recipient=of_recipient or name == "recipient")
            for name, part in content.items()
        }
    if isinstance(content, list):
        return [masked(part, of_recipient=of_recipient) for part in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)  # JSON has no such number
    return masked_text(content) if isinstance(content, str) else content


def masked_edit(edit: Edit) -> Edit:
    """The same edit without persons."""
    names = edit.path.split(".")
    hidden = names[0] == "recipient" and names[-1] not in _HARMLESS
    before, after = (HIDDEN if text and hidden else text and masked_text(text) for text in (edit.before, edit.after))
    return Edit(edit.path, before, after)


def masked_text(text: str) -> str:
    """The text without what stands before an @, and without surrogates, which cannot be written."""
    return _MAILBOX.sub(HIDDEN + "@", text).encode(errors="replace").decode()
