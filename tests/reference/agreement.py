"""Where the allocator's state and the reference model's disagree: both said in the same plain facts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.reference.model import Model, assignment_id

Facts = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def facts_of_rows(
    orders: Mapping[Any, Any],
    wallets: Mapping[Any, Any],
    assignments: Mapping[tuple[int, int], Any],
    dead_letters: Iterable[tuple[int, int, str]],
    counts: Sequence[int],
) -> Facts:
    """The facts of the allocator's rows.

    Args:
        orders, wallets: by their keys.
        assignments: by partition and offset.
        dead_letters: partition, offset and reason of each.
        counts: applied, no effect, dead letters, dropped fields, and more that the model does not count.
    """
    return {
        "orders": {
            key: (o.status, o.network, o.amount, o.queue_place, o.address, o.email, o.locale, o.expires_at)
            for key, o in orders.items()
        },
        "wallets": {
            key: (w.status, w.free_place, w.order_id, w.retiring, w.cooling_assignment_id) for key, w in wallets.items()
        },
        "assignments": {
            (
                number,
                a.assigned_offset,
                str(a.assignment_id),
                a.released_offset,
                *(a.currency, a.network, a.address, a.order_id),
                a.waited,
                _milliseconds(a.assigned_at),
                _milliseconds(a.released_at),
            )
            for (number, _), a in assignments.items()
        },
        "dead letters": {(number, offset, str(reason)) for number, offset, reason in dead_letters},
        "counts": list(counts[:4]),
    }


def facts_of_model(model: Model) -> Facts:
    """The same facts of the model."""
    return {
        "orders": {
            key: (o.status, o.network, o.amount, o.place, o.address, o.email, o.locale, o.expires_at)
            for key, o in model.orders.items()
        },
        "wallets": {
            key: (w.status, w.place, w.held_by, w.retiring, w.cooling_since) for key, w in model.wallets.items()
        },
        "assignments": {
            (
                a.partition,
                a.assigned_offset,
                str(assignment_id(a.partition, a.assigned_offset, model.topic)),
                a.released_offset,
                *(a.currency, a.network, a.address, a.order_id),
                a.waited,
                a.assigned_at_ms,
                a.released_at_ms,
            )
            for a in model.assignments
        },
        "dead letters": {(d.partition, d.offset, d.reason) for d in model.dead_letters},
        "counts": [model.counts[name] for name in ("applied", "no_effect", "dead_letter", "dropped_fields")],
    }


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else (at - EPOCH) // timedelta(milliseconds=1)


def disagreement(found: Facts, expected: Facts) -> str:
    """What differs, in words; empty where all agree."""
    return "; ".join(_difference(name, found[name], expected[name]) for name in found if found[name] != expected[name])


def _difference(name: str, found: Any, expected: Any) -> str:
    if isinstance(found, dict):
        keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
        return f"{name}: " + ", ".join(f"{key} is {found.get(key)}, not {expected.get(key)}" for key in keys[:3])
    if isinstance(found, set):
        return f"{name}: too many {sorted(found - expected)[:3]}, missing {sorted(expected - found)[:3]}"
    return f"{name}: {found}, not {expected}"
