"""What commands print: tables on a terminal, aligned columns elsewhere, JSON where it is asked for."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

ALERT_STYLES = {"EMERGENCY": "bold red", "CRITICAL": "yellow", "OK": "green"}


@dataclass(frozen=True)
class Grid:
    """A table: its title, the names of its columns, and its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def print_json(document: object) -> None:
    """One JSON document on one line."""
    is_utf_8 = str(sys.stdout.encoding).lower() == "utf-8"
    print(json.dumps(document, default=str, ensure_ascii=not is_utf_8), flush=True)


def print_grids(grids: Iterable[Grid]) -> None:
    """Tables on a terminal, aligned columns elsewhere."""
    if sys.stdout.isatty():
        Console().print(as_tables(grids))
    else:
        print("\n\n".join(as_text(grid) for grid in grids), flush=True)


def print_lines(title: str, above: Sequence[str], lines: Sequence[tuple[str, str]], below: Sequence[str]) -> None:
    """Sentences, then lines with what stands before them, then sentences; wrapped on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        plain = [title, *above, *(f"{before}  {text}" for before, text in lines), *below]
        print(printable("\n".join(plain)), flush=True)
        return
    told = Table.grid(padding=(0, 2))
    told.add_column(no_wrap=True, style="dim")
    told.add_column(overflow="fold")
    for before, text in lines:
        told.add_row(before, Text(printable(text)))
    console = Console(highlight=False)
    console.print(Text(printable(title), style="bold"))
    for sentence in above:
        console.print(Text(printable(sentence)))
    console.print()
    console.print(told)
    for sentence in below:
        console.print(Text(printable(sentence), style="yellow"))


def as_tables(grids: Iterable[Grid]) -> RenderableType:
    """The grids as rich tables."""
    return Group(*(_table(grid) for grid in grids))


def as_text(grid: Grid) -> str:
    """The grid in aligned columns, its title above."""
    rows = [tuple(grid.columns), *(tuple(_text(cell) for cell in row) for row in grid.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(grid.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([grid.title, *lines])


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify="left", title_style="bold")
    for number, column in enumerate(grid.columns):
        numeric = bool(grid.rows) and all(isinstance(row[number], int) for row in grid.rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in grid.rows:
        table.add_row(*(_styled(cell) for cell in row))
    return table


def _styled(cell: object) -> Text:
    return Text(_text(cell), style=ALERT_STYLES.get(str(cell), ""))


def _text(cell: object) -> str:
    return "" if cell is None else printable(str(cell)).replace("\n", "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """The text without what could steer a terminal; lines stay lines. Events allow no control characters, but this is
    the last place."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
