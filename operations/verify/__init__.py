"""`walletq verify`: the invariants, in the database and on the topics. Changes nothing, and may run beside everything.

`verify` is the command; `check` gives the findings.
"""

import asyncio
import time

from operations.kafka_log import open_log
from operations.replay.progress import progress_bar
from operations.replay.state import replayed_state
from operations.terminal import print_json
from operations.verify.dead_letters import check_dead_letters
from operations.verify.finding import Finding
from operations.verify.notifications import check_notifications
from operations.verify.places import check_counts, check_drained, check_fit
from operations.verify.replay import LEFT_OUT, ReplayCheck
from operations.verify.snapshot import take_snapshot
from operations.verify.tables import check_tables
from schemas.settings import Settings
from schemas.topics import names

POLL_SECONDS = 0.2

NOTHING_TO_GO_BY = [
    Finding(invariant, promise, "nothing", "not checked", note="the places do not belong to this log")
    for invariant, promise in (
        ("I6", "every record was applied, had no effect, or is a dead letter"),
        ("I7", "every published assignment has its notification"),
        ("I8", "every notification has a delivery"),
        ("I10", "everything is drained"),
    )
]


async def verify(
    settings: Settings, *, drained: bool, wait_seconds: float | None, replay: bool = True, as_json: bool
) -> int:
    """Check, print, and return the exit code: 1 where an invariant does not hold.

    Args:
        settings: where the servers are.
        drained: require that nothing is left to do.
        wait_seconds: require it, but wait for it so long at most.
        replay: compare the database with a replay of the log, too.
        as_json: print JSON.
    """
    if wait_seconds is not None:
        await until_drained(settings, wait_seconds)
    findings = await check(settings, drained=drained or wait_seconds is not None, replay=replay, bar=not as_json)
    violated = any(finding.result == "violated" for finding in findings)
    if as_json:
        print_json({"ok": not violated, "findings": [vars(finding) for finding in findings]})
    else:
        print("\n".join(finding.as_text() for finding in findings))
    return 1 if violated else 0


async def check(settings: Settings, *, drained: bool = False, replay: bool = True, bar: bool = False) -> list[Finding]:
    """Check every invariant, of one moment of the database.

    Args:
        drained: I10 is required, not only noted.
        replay: I5, too: it takes as long as everything else together.
        bar: show on a terminal how far the replay is.
    """
    of = names(settings)
    with replayed_state() as state, progress_bar("replaying", wanted=bar) as progress:
        async with open_log(settings) as log:
            replayed = ReplayCheck(of.orders, log, state, progress) if replay else None
            if replayed:
                await replayed.catch_up(settings)
            async with take_snapshot(settings) as snapshot:
                findings = await check_tables(snapshot, of)
                findings.append(await replayed.check(snapshot) if replayed else LEFT_OUT)
                fit = await check_fit(snapshot, log, of)
                findings.append(fit)
                if fit.result != "ok":
                    findings += NOTHING_TO_GO_BY
                else:
                    findings.append(await check_counts(snapshot, log, of))
                    findings += await check_dead_letters(snapshot, log, of)
                    findings += await check_notifications(snapshot, log, of)
                    findings.append(await check_drained(snapshot, log, of, required=drained))
    return sorted(findings, key=lambda finding: int(finding.invariant.lstrip("I").replace("log", "0")))


async def until_drained(settings: Settings, seconds: float) -> bool:
    """Wait until nothing is left to do; False where that takes longer than so many seconds."""
    of = names(settings)
    deadline = time.monotonic() + seconds
    async with open_log(settings) as log:
        while True:
            async with take_snapshot(settings) as snapshot:
                finding = await check_drained(snapshot, log, of, required=True)
            if finding.result == "ok":
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
