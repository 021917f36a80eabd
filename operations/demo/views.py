"""How the demo shows what it sees: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from operations.demo.look import Happening, Look

Clock = Callable[[], float]
"Seconds since the demo began."

BAR = 26
"The width of the longest queue's bar, in characters,"
BAR_ORDERS = 44
"and how many orders such a bar stands for."
LATELY = 6
LINE_SECONDS = 1.0
ALWAYS_TOLD = ("expired", "refused")


class View(Protocol):
    """Where the demo is seen; a context manager around all that moves."""

    told: str
    "What was told last."
    seconds: Clock

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def tell(self, line: str) -> None:
        """Say what begins now."""
        ...

    def show(self, look: Look) -> None:
        """Show what there is now."""
        ...


def view_on(console: Console, report: Callable[[str], None], clock: Clock) -> View:
    """A table where the console can draw one anew, plain lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return TerminalView(console, clock)
    return PlainView(report, clock)


class TerminalView:
    """A table that is drawn anew; what is told stays above it."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.told = ""
        self.seconds = clock
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, line: str) -> None:
        """See View."""
        self.told = line
        self._console.print(Text(stamped(line, self.seconds()), style="bold"))

    def show(self, look: Look) -> None:
        """See View."""
        self._live.update(drawn(look), refresh=True)


class PlainView:
    """A line for what is told, and one with the totals every second, where they have changed."""

    def __init__(self, report: Callable[[str], None], clock: Clock) -> None:
        self.told = ""
        self.seconds = clock
        self._report = report
        self._shown_at = 0.0
        self._shown = ""
        self._last = ""
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._last != self._shown:
            self._report(stamped(self._last, self.seconds(), deeper=True))

    def tell(self, line: str) -> None:
        """See View."""
        self.told = line
        self._report(stamped(line, self.seconds()))

    def show(self, look: Look) -> None:
        """See View."""
        now = self.seconds()
        for happening in reversed(look.happenings):
            if happening.kind in ALWAYS_TOLD:
                self._tell_once(happening)
        totals = in_a_line(look)
        if totals == self._shown or look == Look(look.pools):
            return
        self._last = totals
        if now - self._shown_at < LINE_SECONDS:
            return
        self._shown, self._shown_at = totals, now
        self._report(stamped(totals, now, deeper=True))
        if look.happenings and look.happenings[0].kind not in ALWAYS_TOLD:
            self._tell_once(look.happenings[0])

    def _tell_once(self, happening: Happening) -> None:
        if happening.id not in self._told:
            self._told.add(happening.id)
            self._report(" " * 12 + happening.text)


def stamped(line: str, seconds: float, *, deeper: bool = False) -> str:
    """The line behind the seconds since the beginning."""
    return f"{seconds:5.1f} s  {'  ' if deeper else ''}{line}"


def in_a_line(look: Look) -> str:
    """The totals in words."""
    return (
        f"orders {look.orders}, waiting {look.waiting}, ended {look.ended}, "
        f"free wallets {look.free}, assignments {look.assigned}, mails {look.mails}, dead letters {look.dead_letters}"
    )


def drawn(look: Look) -> RenderableType:
    """The table of the pools, the totals, and what happened lately."""
    table = Table(title_justify="left", expand=False)
    table.add_column("pool", no_wrap=True)
    for name in ("free", "occupied", "waiting", "assigned"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("queue", width=BAR, no_wrap=True)
    for pool in look.pools:
        filled = min(BAR, -(-pool.waiting * BAR // BAR_ORDERS))
        table.add_row(
            pool.name,
            Text(str(pool.free), style="green" if pool.free else "red"),
            str(pool.occupied),
            str(pool.waiting),
            str(pool.assigned),
            Text("█" * filled, style="yellow"),
        )
    totals = Text(no_wrap=True, overflow="ellipsis")
    for name, number in (
        ("orders", look.orders),
        ("ended", look.ended),
        ("assignments", look.assigned),
        ("mails sent", look.mails),
        ("dead letters", look.dead_letters),
    ):
        totals.append(f"  {name} ").append(str(number), style="bold")
    lately = [
        Text(
            "  " + happening.text,
            style="dim" if happening.kind == "assigned" else "yellow",
            no_wrap=True,
            overflow="ellipsis",
        )
        for happening in _lately(look)
    ]
    return Group(table, totals, *lately)


def _lately(look: Look) -> list[Happening]:
    """The last few; what is rare keeps its place among them for a while."""
    rare = [happening for happening in look.happenings if happening.kind in ALWAYS_TOLD][:2]
    usual = [happening for happening in look.happenings if happening.kind not in ALWAYS_TOLD]
    return [*usual[: LATELY - len(rare)], *rare]
