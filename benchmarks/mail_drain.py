"""How fast mails are sent, and what that takes."""

import asyncio
from collections.abc import Sequence

from pydantic import SecretStr

from benchmarks import meters
from benchmarks.contenders import Run
from benchmarks.contenders.walletq import Walletq, settings_of, walletq
from benchmarks.delays import Arrival
from benchmarks.mail_results import MailRow
from benchmarks.mail_sink import accept_mails
from benchmarks.mail_ways import WAYS, run_way
from benchmarks.progress import PUBLISHED, counted, done
from benchmarks.publisher import publish
from benchmarks.servers import Bench
from benchmarks.worker import Worker, working
from embedded.ports import HOST
from tests.traffic import Message, holding

FIFTHS = 5
SENT = "SELECT count(*) FILTER (WHERE state = 'sent') FROM deliveries"


async def mailer(bench: Bench, seed: int, mails: int) -> MailRow:
    """One `walletq mail`, with the notifications of so many mails waiting on the topic.

    Raises:
        Stalled: it does not come to its end.
    """
    log = await asyncio.to_thread(lambda: list(holding(seed, mails)))
    async with bench.run("mail") as run, working(accept_mails) as (sink, port):
        await _notify(run, log)
        await bench.settle()
        settings = settings_of(run, member_id="mailer-1", smtp_url=SecretStr(f"smtp://{HOST}:{port}"))
        async with walletq("mail", settings, run) as pids:
            roots = {"mailer": pids, "sink": [sink.pid]} | {name: [pid] for name, pid in bench.pids.items()}
            await _accepted(sink, 1, pids)
            before, memory_by_fifth = meters.cpu_seconds_of(roots), []
            for fifth in range(1, FIFTHS + 1):
                await _accepted(sink, mails * fifth // FIFTHS, pids)
                memory_by_fifth.append(sum(one.final_mb for one in meters.memory(pids)))
            after = meters.cpu_seconds_of(roots)
            await counted(run.database_url, SENT, mails, pids, what="deliveries")
            peak_mb = _peak_mb(pids)
        arrivals: list[Arrival] = await sink.end()
    used = {name: (after[name] - before[name]) / mails * 1e6 for name in roots}
    ends = [arrivals[(mails - 1) * fifth // FIFTHS].at / 1e9 for fifth in range(FIFTHS + 1)]
    return MailRow(
        name="walletq mail",
        mails=mails,
        seconds=ends[-1] - ends[0],
        mails_per_second=mails / (ends[-1] - ends[0]),
        cpu_us_per_mail=used["mailer"],
        sink_cpu_us_per_mail=used["sink"],
        servers_cpu_us_per_mail={name: used[name] for name in bench.pids},
        peak_mb=peak_mb,
        mails_per_second_by_fifth=[mails / FIFTHS / (ends[n + 1] - ends[n]) for n in range(FIFTHS)],
        memory_mb_by_fifth=memory_by_fifth,
        wrong=_wrong(arrivals, mails),
    )


async def _notify(run: Run, log: Sequence[Message]) -> None:
    """Let an allocator assign every wallet, and end."""
    await Walletq().prepare(run)
    await asyncio.to_thread(publish, run.bootstrap_servers, run.orders, log)
    async with Walletq().running(run) as pids:
        await counted(run.database_url, PUBLISHED, len(log), pids, what="offsets")


async def _accepted(sink: Worker, count: int, pids: Sequence[int]) -> None:
    async def so_far() -> int:
        return sink.board.count

    await done(so_far, count, pids, what="mails")


async def other_way(way: str, seed: int, mails: int) -> MailRow:
    """One of the others.

    Raises:
        EOFError: its process has died.
    """
    title, _, sends = WAYS[way]
    async with working(accept_mails) as (sink, port), working(run_way, way, seed, mails, port) as (worker, _):
        roots = {"sender": [worker.pid], "sink": [sink.pid]}
        before = meters.cpu_seconds_of(roots)
        worker.go()
        seconds: float = await worker.said()
        after = meters.cpu_seconds_of(roots)
        peak_mb = _peak_mb([worker.pid])
        arrivals: list[Arrival] = await sink.end()
    used = {name: (after[name] - before[name]) / mails * 1e6 for name in roots}
    return MailRow(
        name=title,
        mails=mails,
        seconds=seconds,
        mails_per_second=mails / seconds,
        cpu_us_per_mail=used["sender"],
        sink_cpu_us_per_mail=used["sink"] if sends else None,
        servers_cpu_us_per_mail={},
        peak_mb=peak_mb,
        wrong=_wrong(arrivals, mails if sends else 0),
    )


def _peak_mb(pids: Sequence[int]) -> float:
    return sum(one.most_mb for one in meters.memory(pids))


def _wrong(arrivals: Sequence[Arrival], mails: int) -> str | None:
    """What is not as it must be: each recipient has one mail."""
    recipients = len({arrival.key for arrival in arrivals})
    if recipients == mails == len(arrivals):
        return None
    return f"{len(arrivals):,} mails to {recipients:,} recipients, and there should be {mails:,}"
