"""What another version of the rules would have made of the log: rules from a module, and a summary of what differs."""

import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterable
from functools import wraps
from typing import NamedTuple

import asyncpg

from consumers.allocator.state import Changes, Entry, State
from operations.replay.compare import Compared, Words
from operations.replay.inputs import SQL
from operations.replay.replaying import Decide, Replay
from schemas.catalogue import Catalogue
from schemas.settings import SettingsError

SHADOW = Words("would be there", "would not be there", "would be {replay}, is {database}")


class Change(NamedTuple):
    """How often something would be otherwise."""

    what: str
    rows: int


def load_rules(name: str) -> Decide:
    """The function that `MODULE:FUNCTION` names; modules are also looked for in the working folder.

    Raises:
        SettingsError: there is no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise SettingsError(f"--rules: expected MODULE:FUNCTION, such as my_rules:decide, not {name}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise SettingsError(
            f"--rules: {module_name} cannot be imported: {type(error).__name__}: {error}. "
            "Modules are looked for in this folder and where Python looks (PYTHONPATH)."
        ) from error
    function: Decide | None = getattr(module, function_name, None)
    if not callable(function):
        raise SettingsError(f"--rules: {module_name} has no function {function_name}")
    return _guarded(name, function)


def _guarded(name: str, function: Decide) -> Decide:
    """The function; what it does wrong is said with the batch that it was given."""

    @wraps(function)
    def decide(state: State, entries: list[Entry], catalogue: Catalogue, topic: str, partition: int) -> Changes:
        try:
            changes = function(state, entries, catalogue, topic, partition)
        except Exception as error:
            batch = f"{topic}/{partition}/{entries[0].offset} to {entries[-1].offset}"
            raise SettingsError(f"--rules: {name} raised {type(error).__name__}: {error}, at {batch}") from error
        if not isinstance(changes, Changes):
            raise SettingsError(f"--rules: {name} returned {type(changes).__name__}, not Changes as decide does")
        return changes

    return decide


async def changes(replay: Replay, tables: Iterable[Compared], connection: asyncpg.Connection) -> list[Change]:
    """What would be otherwise, and how often; what would be the same is left out."""
    by_name = {compared.table.name: compared for compared in tables}
    orders, wallets = by_name["orders"], by_name["wallets"]
    assignments = by_name["assignments"]
    found = [
        Change("orders would have another status", orders.columns["status"]),
        Change("orders would hold another wallet, or none, or one", orders.columns["address"]),
        Change("orders would be known", orders.missing),
        Change("orders would not be known", orders.extra),
        Change("orders would differ in some way", orders.differing),
        Change("wallets would have another status", wallets.columns["status"]),
        Change("wallets would be known", wallets.missing),
        Change("wallets would not be known", wallets.extra),
        Change("wallets would differ in some way", wallets.differing),
        Change("assignments would be made", assignments.missing),
        Change("assignments would not be made", assignments.extra),
        Change("assignments would go to another order", assignments.columns["order_id"]),
        Change("assignments would be of another wallet", assignments.columns["address"]),
        Change("assignments would end at another event, or not end", assignments.columns["released_offset"]),
        *await _dead_letters(replay, connection),
        Change("dead letters would differ in some way", by_name["dead_letters"].differing),
        Change("partitions would have other counters", by_name["partitions"].differing),
    ]
    return [change for change in found if change.rows]


async def _dead_letters(replay: Replay, connection: asyncpg.Connection) -> list[Change]:
    more = Counter[str]()
    for at, reason, records in replay.state.dead_letter_reasons():
        more[reason] += records if replay.scope.has(at) else 0
    for at, reason, records in await connection.fetch(SQL["dead_letter_reasons"], replay.topic):
        more[reason] -= records if replay.scope.has(at) else 0
    return [
        Change(f"{'more' if many > 0 else 'fewer'} dead letters {reason}", abs(many))
        for reason, many in sorted(more.items())
    ]
