"""Writes the contract for others: `python -m schemas.export` makes `schemas/exported/` from the models.

One JSON Schema (draft 2020-12) for each type of event, one for everything on `order-status`, and an AsyncAPI 3.0
document of the four topics. A test holds the committed files against the models.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from schemas.events import EVENT, OrderStatusChanged, WalletAdded, WalletAssigned, WalletCooled, WalletRetired
from schemas.examples import EXAMPLES
from schemas.fields import PRINTABLE
from schemas.settings import Settings
from schemas.topics import (
    HEADER_LENGTH,
    HEADER_MESSAGE,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_REASON,
    HEADER_SHA256,
    HEADER_TIMESTAMP,
    HEADER_TOPIC,
    Names,
    Topic,
    topics,
)

FOLDER = Path(__file__).parent / "exported"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

ORDER_EVENTS: dict[str, type] = {
    "order_status_changed": OrderStatusChanged,
    "wallet_added": WalletAdded,
    "wallet_retired": WalletRetired,
    "wallet_cooled": WalletCooled,
}
NOTIFICATIONS: dict[str, type] = {"wallet_assigned": WalletAssigned}

_PORTABLE_PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"

_TRACEPARENT = {
    "type": "object",
    "properties": {"traceparent": {"type": "string", "description": "W3C trace context, passed on."}},
}
_DEAD_LETTER_HEADERS = {
    HEADER_REASON: "Why it was refused: one word.",
    HEADER_MESSAGE: "What was found and what was expected.",
    HEADER_TOPIC: "The topic that it came from.",
    HEADER_PARTITION: "Its partition there.",
    HEADER_OFFSET: "Its offset there.",
    HEADER_TIMESTAMP: "Its time there, in milliseconds since 1970.",
    HEADER_LENGTH: "Where its value is too large to be kept: how many bytes it has.",
    HEADER_SHA256: "And their SHA-256.",
}


def documents() -> dict[str, dict[str, Any]]:
    """The documents by file name."""
    by_type = ORDER_EVENTS | NOTIFICATIONS
    found = {
        f"{kind}.json": {"$schema": DIALECT, **TypeAdapter(model).json_schema()} for kind, model in by_type.items()
    }
    union = {"$schema": DIALECT, "title": "Every event on order-status", **EVENT.json_schema()}
    return found | {"order-status.json": union, "asyncapi.json": asyncapi()}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document."""
    models = ORDER_EVENTS | NOTIFICATIONS
    _, definitions = TypeAdapter.json_schemas(
        [(model, "validation", TypeAdapter(model)) for model in models.values()],
        ref_template="#/components/schemas/{model}",
    )
    orders, notifications, dead_orders, dead_notifications = topics(Settings())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "walletq",
            "version": version("walletq"),
            "description": "Deposit wallets for an exchange, first in, first out.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "orderStatus": _channel(
                orders,
                "Status changes of orders, and the coming and going of wallets. The key is the currency's code, and the"
                " partition murmur2(key) modulo the number of partitions, as Kafka's Java client computes it.",
                [*ORDER_EVENTS],
            ),
            "walletNotifications": _channel(
                notifications,
                "An order has its wallet. The key is the order's id. A duplicate has the same id and content; who shows"
                " addresses ignores an assignment of an order that has ended.",
                [*NOTIFICATIONS],
            ),
            "orderStatusDeadLetters": _channel(
                dead_orders, "Records of order-status that were refused.", ["dead_letter"]
            ),
            "walletNotificationsDeadLetters": _channel(
                dead_notifications,
                "Records of wallet-notifications that were refused, and notifications whose mail failed.",
                ["dead_letter"],
            ),
        },
        "operations": {
            "takeOrderStatus": _operation("receive", "orderStatus", "The allocator takes events, in order."),
            "notify": _operation("send", "walletNotifications", "The allocator says which wallet an order has."),
            "refuseOrderStatus": _operation("send", "orderStatusDeadLetters", "The allocator refuses a record."),
            "mail": _operation("receive", "walletNotifications", "The mailer writes to the customer."),
            "refuseNotification": _operation("send", "walletNotificationsDeadLetters", "The mailer gives up a mail."),
        },
        "components": {
            "messages": {kind: _message(kind, model) for kind, model in models.items()}
            | {"dead_letter": _dead_letter()},
            "schemas": definitions["$defs"],
        },
    }


def write(folder: Path = FOLDER) -> None:
    """Write the documents; files of another name are left alone."""
    folder.mkdir(exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_text(as_text(document))


def as_text(document: dict[str, Any]) -> str:
    """The document as its file holds it."""
    return json.dumps(_portable(document), indent=2, ensure_ascii=False) + "\n"


def _portable(part: Any) -> Any:
    """The same with patterns that every JSON Schema library can read: few know `\\p`."""
    if isinstance(part, dict):
        return {name: _portable(content) for name, content in part.items()}
    if isinstance(part, list):
        return [_portable(content) for content in part]
    return _PORTABLE_PRINTABLE if part == PRINTABLE else part


def _channel(topic: Topic, description: str, messages: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = dict(topic.settings)
    # The Kafka binding writes these two as a list and a number.
    settings["cleanup.policy"] = [settings["cleanup.policy"]]
    settings["retention.ms"] = int(settings["retention.ms"])
    return {
        "address": topic.name,
        "description": description,
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": settings,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(kind: str, model: type) -> dict[str, Any]:
    key = "The currency's code." if kind in ORDER_EVENTS else "The order's id."
    return {
        "name": kind,
        "summary": " ".join((model.__doc__ or "").split()),
        "headers": _TRACEPARENT,
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
        "examples": [{"payload": example} for example in EXAMPLES[kind]],
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "dead_letter",
        "summary": f"A record that was refused: the key and the bytes of {Names().orders} or {Names().notifications}.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": meaning} for name, meaning in _DEAD_LETTER_HEADERS.items()
            },
            "required": [
                HEADER_REASON,
                HEADER_MESSAGE,
                HEADER_TOPIC,
                HEADER_PARTITION,
                HEADER_OFFSET,
                HEADER_TIMESTAMP,
            ],
        },
        "payload": {},
    }


if __name__ == "__main__":
    write()
