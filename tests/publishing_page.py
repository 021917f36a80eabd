"""The events of docs/publishing.md."""

import json
from collections.abc import Mapping
from typing import Any

from tests.pages import DOCS, Page

Event = dict[str, Any]

PAGE = Page(DOCS / "publishing.md")
NOTIFICATION = "wallet_assigned"

_EXAMPLES: list[Event] = [json.loads(block) for block in PAGE.blocks("json")]
EVENTS = [event for event in _EXAMPLES if event["type"] != NOTIFICATION]
"Those on `order-status`, in the order of the page: one after the other they make a story."
NOTIFICATIONS = [event for event in _EXAMPLES if event["type"] == NOTIFICATION]


def refused() -> list[tuple[str, Event]]:
    """The table of what is refused: the reason, and the event that gets it where it comes after the story."""
    rows = PAGE.table("reason", "in this event", "what is changed")
    return [
        (_code(row["reason"]), changed(_code(row["in this event"]), json.loads(_code(row["what is changed"]))))
        for row in rows
    ]


def changed(name: str, patch: Mapping[str, Any]) -> Event:
    """The page's first event with this status or type, with some fields other or, where they are None, left out."""
    event = next(event for event in EVENTS if name in (event["type"], event.get("status")))
    return {field: content for field, content in {**event, **patch}.items() if content is not None}


def _code(cell: str) -> str:
    return cell.strip("`")
