"""The three ways of `walletq replay`: compare with the database, try other rules, rebuild an empty database."""

from pathlib import Path

from consumers.allocator.decide import decide
from operations.kafka_log import open_log
from operations.replay.audit import audit, catch_up
from operations.replay.inputs import Inputs, load_inputs, write_inputs
from operations.replay.progress import progress_bar
from operations.replay.rebuild import rebuild
from operations.replay.replaying import Replay, Scope
from operations.replay.report import print_audit, print_rebuilt, print_shadow
from operations.replay.shadow import SHADOW, changes, load_rules
from operations.replay.state import replayed_state
from operations.verify.snapshot import take_snapshot
from schemas.catalogue import read_catalogue
from schemas.settings import Settings, SettingsError
from schemas.topics import names


async def compare_with_database(settings: Settings, scope: Scope, save_inputs: Path | None, *, as_json: bool) -> int:
    """Compare the database with a replay, row by row. Returns the exit code: 1 where they differ."""
    topic = names(settings).orders
    with replayed_state() as state, progress_bar("replaying", wanted=not as_json) as bar:
        async with open_log(settings) as log:
            _check_partitions(scope, log.partitions[topic])
            replay = Replay(topic, log, state, scope=scope, bar=bar)
            await catch_up(settings, replay)
            async with take_snapshot(settings) as snapshot:
                found = await audit(replay, snapshot.connection)
    if save_inputs is not None:
        write_inputs(save_inputs, found.inputs, topic)
    print_audit(found, topic, as_json=as_json)
    return 0 if found.agrees else 1


async def try_other_rules(
    settings: Settings, scope: Scope, catalogue: Path | None, rules: str | None, *, as_json: bool
) -> int:
    """Say what would change under another catalogue or other rules. Returns the exit code: 1 where something would."""
    topic = names(settings).orders
    other = read_catalogue(catalogue or settings.catalogue)
    decider = load_rules(rules) if rules else decide
    with replayed_state() as state, progress_bar("replaying", wanted=not as_json) as bar:
        async with open_log(settings) as log:
            _check_partitions(scope, log.partitions[topic])
            replay = Replay(topic, log, state, decide=decider, scope=scope, catalogue=other, bar=bar)
            await catch_up(settings, replay)
            async with take_snapshot(settings) as snapshot:
                found = await audit(replay, snapshot.connection)
                would = await changes(replay, found.tables, snapshot.connection)
    print_shadow(found, would, topic, SHADOW, as_json=as_json)
    return 0 if found.agrees else 1


async def rebuild_database(settings: Settings, inputs: Path | None, *, as_json: bool) -> int:
    """Fill an empty database from the log. Returns the exit code: 1 where published notifications contradict it."""
    topic = names(settings).orders
    given = load_inputs(inputs, topic) if inputs else Inputs()
    catalogue = read_catalogue(settings.catalogue)
    with progress_bar("rebuilding", wanted=not as_json) as bar:
        async with open_log(settings) as log:
            rebuilt = await rebuild(settings, log, given, catalogue, bar)
    print_rebuilt(rebuilt, topic, given, as_json=as_json)
    return 1 if rebuilt.contradicted else 0


def _check_partitions(scope: Scope, count: int) -> None:
    if unknown := sorted(at for at in scope.partitions or () if at >= count):
        raise SettingsError(f"--partition: there is no partition {unknown[0]}; they go from 0 to {count - 1}")
