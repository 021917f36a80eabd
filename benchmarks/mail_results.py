"""What is measured of mails, how it is written down and shown."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import plain
from benchmarks.table import NONE, WRONG, times


@dataclass(frozen=True)
class MailRow:
    """One way of sending mails.

    Attributes:
        mails_per_second: from the first mail to the last.
        cpu_us_per_mail: processor time of what sends them.
        sink_cpu_us_per_mail: of the mail server; None where there is none.
        servers_cpu_us_per_mail: of Kafka and PostgreSQL, by name, where they are used.
        peak_mb: the most memory that the sender had.
        mails_per_second_by_fifth, memory_mb_by_fifth: in each fifth of the mails, and at its end.
        wrong: what is not as it must be; None where all is right.
    """

    name: str
    mails: int
    seconds: float
    mails_per_second: float
    cpu_us_per_mail: float
    sink_cpu_us_per_mail: float | None
    servers_cpu_us_per_mail: Mapping[str, float]
    peak_mb: float
    mails_per_second_by_fifth: Sequence[float] = ()
    memory_mb_by_fifth: Sequence[float] = ()
    wrong: str | None = None


@dataclass
class MailResults:
    """One run on one machine; walletq first."""

    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    rows: list[MailRow] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """As JSON, every raw figure."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain(asdict(self)), indent=2, ensure_ascii=False) + "\n")


def print_mail_table(results: MailResults, console: Console) -> None:
    """Print it, with what went wrong below it."""
    table = Table(title=_title(results), caption=_caption(results.rows[0]), caption_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("mails", "mails/s", "walletq is", "CPU µs", "sink µs", "Kafka + PG µs", "peak MB"):
        table.add_column(heading, justify="right")
    own = results.rows[0].mails_per_second
    for row in results.rows:
        wrong = f"{WRONG} " if row.wrong is not None else NONE
        table.add_row(
            row.name,
            f"{row.mails:,}",
            f"{wrong}{row.mails_per_second:,.0f}",
            times(own, row.mails_per_second),
            f"{row.cpu_us_per_mail:,.0f}",
            NONE if row.sink_cpu_us_per_mail is None else f"{row.sink_cpu_us_per_mail:,.0f}",
            f"{sum(row.servers_cpu_us_per_mail.values()):,.0f}" if row.servers_cpu_us_per_mail else NONE,
            f"{row.peak_mb:,.0f}",
        )
    console.print(table)
    for row in results.rows:
        if row.wrong is not None:
            console.print(f"{row.name}: {row.wrong}", markup=False, highlight=False)


def _title(results: MailResults) -> str:
    machine = results.machine
    return (
        f"Mails, each with a QR code of its own, on {machine['cores']} cores that all share; "
        f"Kafka {machine['kafka']}, PostgreSQL {machine['postgresql']}, Python {machine['python']}"
    )


def _caption(walletq: MailRow) -> str:
    speeds, memory = _list(walletq.mails_per_second_by_fifth), _list(walletq.memory_mb_by_fifth)
    return f"CPU is for each mail. By fifths of walletq's mails: {speeds} mails/s; {memory} MB at the end of each."


def _list(figures: Iterable[float]) -> str:
    return ", ".join(f"{figure:,.0f}" for figure in figures)
