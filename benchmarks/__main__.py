"""`python -m benchmarks`: walletq, other designs of the same job and the floors, in one run on one machine.

Prints one table, and writes every figure as JSON and two plots. Exit code 1 where walletq or a floor is wrong.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.course import MEASUREMENTS, Plan, measure
from benchmarks.machine import describe
from benchmarks.page import put_table
from benchmarks.plots import plot
from benchmarks.results import Failed, Results
from benchmarks.roster import Entry, roster
from benchmarks.servers import servers
from benchmarks.table import WIDTH, print_table
from operations.up import until_interrupted

FOLDER = Path("docs", "performance")
PAGE = Path("docs", "performance.md")


async def run(plan: Plan, entries: Sequence[Entry], json: Path, plots: Path, page: Path | None) -> int:
    """Measure, tell, and write down; the table also into the page, where one is given."""
    async with servers() as bench:
        results = Results(await describe(bench), asdict(plan), [entry.row for entry in entries])
        able = [(row, contender) for row, contender in entries if contender is not None and row.why_not is None]
        await measure(bench, plan, able, results)
    results.write(json)
    written = [json, *plot(results, plots)]
    if page is not None:
        put_table(partial(print_table, results), page, "make bench")
        written.append(page)
    console = Console()
    print_table(results, console if console.is_terminal else Console(width=WIDTH))
    print(f"Written: {', '.join(map(str, written))}")
    own = [row for row in results.contenders if row.name == "walletq"]
    wrong = any(row.wrongs for row in (*own, *results.latency_floors))
    wrong = wrong or any(isinstance(one, Failed) or one.drain.wrong for one in results.scales)
    return 1 if wrong or any(isinstance(one, Failed) for one in results.floors) else 0


def main() -> int:
    """The exit code; 2 for options that are wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    show = " (default: %(default)s)"
    parser.add_argument("--events", type=int, default=200_000, help="of the log that is drained" + show)
    parser.add_argument("--contenders", type=_names, metavar="A,B", help="only these of contenders/ (default: all)")
    parser.add_argument("--only", choices=MEASUREMENTS, help="only this measurement (default: all)")
    parser.add_argument(
        "--rates", type=_rates, default=(100, 500, 2_000, 5_000), metavar="R,R", help="events a second, for the latency"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate" + show)
    parser.add_argument("--seed", type=int, default=7, help="of the traffic" + show)
    parser.add_argument("--json", type=Path, default=FOLDER / "results.json", metavar="FILE", help="figures" + show)
    parser.add_argument("--plots", type=Path, default=FOLDER, metavar="FOLDER", help="where the plots go" + show)
    wanted = parser.parse_args()
    try:
        entries = roster(wanted.contenders)
    except ValueError as error:
        parser.error(str(error))
    plan = Plan(
        events=wanted.events,
        seed=wanted.seed,
        rates=wanted.rates,
        seconds=wanted.seconds,
        measurements=(wanted.only,) if wanted.only else MEASUREMENTS,
    )
    whole = wanted.contenders is None and wanted.only is None and wanted.json.parent == FOLDER
    work = run(plan, entries, wanted.json, wanted.plots, PAGE if whole else None)
    code = asyncio.run(until_interrupted(work))
    return 1 if code is None else code


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _rates(text: str) -> tuple[float, ...]:
    return tuple(float(rate) for rate in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
