"""`walletq wallets`: add, retire, list."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from operations.database import operator_session
from operations.process import fields_named
from operations.terminal import Grid, print_grids, print_json
from producers.operator import add_wallets, retire_wallets
from producers.publisher import Publisher
from schemas.catalogue import read_catalogue
from schemas.events import Event
from schemas.settings import Settings, SettingsError
from storage.errors import WalletqError
from storage.sql import read_queries

SQL = read_queries("operations")


def read_addresses(arguments: Sequence[str], file: str | None) -> list[str]:
    """The addresses of the command line and of the file: one on each line, # begins a comment.

    Raises:
        WalletqError: the file cannot be read.
        SettingsError: there is no address.
    """
    addresses = list(arguments)
    if file is not None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise WalletqError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from None
        addresses += [word for line in text.splitlines() if (word := line.partition("#")[0].strip())]
    if not addresses:
        raise SettingsError("no address: give addresses as arguments, or a file of them with --file")
    return addresses


async def change_pool(
    settings: Settings,
    change: Literal["add", "retire"],
    currency: str,
    network: str | None,
    addresses: Sequence[str],
    *,
    reason: str | None = None,
    actor: str | None = None,
    as_json: bool,
) -> int:
    """Publish that wallets come or go. Returns the exit code."""
    catalogue = read_catalogue(settings.catalogue)
    now = datetime.now(UTC)
    events: list[Event]
    with fields_named():
        if change == "add":
            events = [*add_wallets(catalogue, currency, network, addresses, actor=actor, now=now)]
        else:
            events = [*retire_wallets(catalogue, currency, network, addresses, reason=reason, actor=actor, now=now)]
    async with Publisher(settings) as publisher:
        places = await publisher.publish_many(events)
    if as_json:
        print_json(
            {"published": len(places), "topic": publisher.topic, "places": [place._asdict() for place in places]}
        )
    else:
        pool = f"{currency}/{events[0].network}"
        print(f"published {change} for {len(places)} wallets of {pool} on {publisher.topic}/{places[0].partition}")
    return 0


async def list_wallets(
    settings: Settings, currency: str | None, network: str | None, status: str | None, *, as_json: bool
) -> int:
    """Print the wallets: their pool, status, and who holds them. Returns the exit code."""
    async with operator_session(settings, "wallets") as connection:
        rows = await connection.fetch(SQL["wallets"], currency, network, status)
    if as_json:
        print_json([dict(row) for row in rows])
        return 0
    cells = [
        (
            row["currency"],
            row["network"],
            row["address"],
            row["status"] + (", retires" if row["retiring"] else ""),
            row["order_id"] or (f"until {row['cooling_until']:%Y-%m-%d %H:%M:%S}Z" if row["cooling_until"] else None),
        )
        for row in rows
    ]
    print_grids([Grid(f"{len(rows)} wallets", ("currency", "network", "address", "status", "held by"), cells)])
    return 0
