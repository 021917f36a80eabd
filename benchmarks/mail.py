"""`python -m benchmarks.mail`: how many mails a second one mailer sends, beside other ways to the same mails.

Prints one table, and writes every figure as JSON; a run of the default size puts the table into the page. Exit code 1
where something is wrong.
"""

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.machine import describe
from benchmarks.mail_drain import mailer, other_way
from benchmarks.mail_results import MailResults, print_mail_table
from benchmarks.mail_ways import WAYS
from benchmarks.page import put_table
from benchmarks.servers import servers
from benchmarks.table import WIDTH
from operations.up import until_interrupted

MAILS, OTHER_MAILS, WARM_UP_MAILS = 100_000, 5_000, 5_000
SEED = 7
JSON = Path("docs", "performance", "mail.json")
PAGE = Path("docs", "performance.md")


async def run(mails: int, others: int, json: Path, page: Path | None) -> int:
    """Measure, tell, and write down; the table also into the page, where one is given."""
    async with servers() as bench:
        options = {"mails": mails, "other_mails": others, "seed": SEED}
        results = MailResults(await describe(bench), options)
        _tell("warming up")
        await mailer(bench, SEED, min(mails, WARM_UP_MAILS))
        _tell("walletq mail")
        results.rows.append(await mailer(bench, SEED, mails))
    for way in WAYS if others else ():
        _tell(WAYS[way].title)
        results.rows.append(await other_way(way, SEED, others))
    results.write(json)
    if page is not None:
        put_table(partial(print_mail_table, results), page, "make bench-mail")
    console = Console()
    print_mail_table(results, console if console.is_terminal else Console(width=WIDTH))
    return 1 if any(row.wrong for row in results.rows) else 0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mail", description=__doc__)
    show = " (default: %(default)s)"
    parser.add_argument("--mails", type=int, default=MAILS, help="that walletq sends" + show)
    parser.add_argument("--others", type=int, default=OTHER_MAILS, help="that each of the others sends" + show)
    parser.add_argument("--json", type=Path, default=JSON, metavar="FILE", help="figures" + show)
    wanted = parser.parse_args()
    whole = (wanted.mails, wanted.others, wanted.json) == (MAILS, OTHER_MAILS, JSON)
    code = asyncio.run(until_interrupted(run(wanted.mails, wanted.others, wanted.json, PAGE if whole else None)))
    return 1 if code is None else code


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
