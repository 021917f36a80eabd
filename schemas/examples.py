"""One example of every event, as the documents show them."""

from typing import Any

_ID = "5f0c7c1e-0d5b-4f0e-9b57-3d0a4f6a2c11"
_ASSIGNMENT = "0b6f5a3e-8f0d-5d0e-a6a8-2f5f1c1f7a90"
_ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
_WALLET = {"currency": "USDT", "network": "TRC-20", "address": _ADDRESS}

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "order_status_changed": [
        {
            "type": "order_status_changed",
            "event_id": _ID,
            "order_id": "ord-7f3c",
            "currency": "USDT",
            "network": "TRC-20",
            "status": "pending",
            "amount": "250.00",
            "recipient": {"email": "ann@example.com", "locale": "en"},
            "expires_at": "2026-11-22T17:30:00Z",
            "occurred_at": "2026-11-22T16:00:00Z",
        },
        {
            "type": "order_status_changed",
            "event_id": _ID,
            "order_id": "ord-7f3c",
            "currency": "USDT",
            "status": "cancelled",
            "reason": "client_request",
            "actor": "operator:kim",
            "occurred_at": "2026-11-22T16:05:00Z",
        },
    ],
    "wallet_added": [
        {"type": "wallet_added", "event_id": _ID, **_WALLET, "occurred_at": "2026-11-22T15:00:00Z"},
    ],
    "wallet_retired": [
        {
            "type": "wallet_retired",
            "event_id": _ID,
            **_WALLET,
            "reason": "key rotation",
            "occurred_at": "2026-11-22T18:00:00Z",
        },
    ],
    "wallet_cooled": [
        {
            "type": "wallet_cooled",
            "event_id": _ID,
            **_WALLET,
            "assignment_id": _ASSIGNMENT,
            "occurred_at": "2026-11-22T19:00:00Z",
        },
    ],
    "wallet_assigned": [
        {
            "type": "wallet_assigned",
            "notification_id": _ASSIGNMENT,
            "order_id": "ord-7f3c",
            **_WALLET,
            "amount": "250.00",
            "waited": True,
            "assigned_at": "2026-11-22T16:00:00.120Z",
            "expires_at": "2026-11-22T17:30:00Z",
        },
    ],
}
"By type."
