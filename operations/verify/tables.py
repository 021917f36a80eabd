"""I1 to I4, I8 and I9, as far as the tables show them."""

from operations.verify.finding import SHOWN, Finding, found
from operations.verify.snapshot import Snapshot
from schemas.topics import Names
from storage.sql import read_queries

SQL = read_queries("verify")


async def check_tables(snapshot: Snapshot, names: Names) -> list[Finding]:
    """Each of them a query over everything, in the snapshot."""
    counts = await snapshot.connection.fetchrow(SQL["counts"])
    assignments = f"{counts['assignments']:,} assignments"
    wallets = f"{counts['wallets']:,} wallets"
    orders = f"{counts['orders']:,} orders"
    deliveries = f"{counts['deliveries']:,} deliveries"
    checks = (
        ("I1", "no two assignments of a wallet overlap", assignments, "overlapping_assignments", ()),
        (
            "I1",
            "wallets, orders and open assignments agree on who holds what",
            f"{wallets}, {orders}",
            "disagreeing_holders",
            (),
        ),
        ("I1", "wallets know their open assignment", wallets, "wallets_of_another_assignment", ()),
        ("I2", "an order gets at most one wallet", assignments, "orders_assigned_twice", ()),
        ("I2", "every assignment has its order", assignments, "assignments_without_order", ()),
        ("I3", "no pool has both a free wallet and a waiting order", f"{wallets}, {orders}", "idle_wallets", ()),
        ("I4", "first in, first out in every pool", orders, "overtaken_orders", ()),
        ("I4", "assignments know whether their order waited", assignments, "wrongly_waited", ()),
        ("I8", "every delivery has ended or has a next attempt", deliveries, "deliveries_without_next_attempt", ()),
        (
            "I8",
            "deliveries are below the places on their topics",
            deliveries,
            "deliveries_ahead",
            (names.notifications, names.orders),
        ),
        ("I8", "deliveries ended without a mail only where none was due", deliveries, "wrongly_ended", ()),
        ("I8", "mails of waiting orders are of orders that came there", deliveries, "queued_mails_of_no_order", ()),
        ("I9", "mails show the address of their assignment", deliveries, "wrong_addresses", ()),
        ("I9", "mails are accepted before the cool-down is over", deliveries, "late_mails", (names.orders,)),
    )
    findings = []
    for invariant, promise, over, query, arguments in checks:
        rows = await snapshot.connection.fetch(SQL[query], SHOWN + 1, *arguments)
        findings.append(found(invariant, promise, over, [row["offender"] for row in rows]))
    return findings
