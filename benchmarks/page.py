"""The page that shows the last whole runs: their tables are put into it, the words around them are written by hand."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.table import WIDTH

BEGIN, END = "<!-- the table of {} -->\n", "<!-- the end of the table -->\n"


def put_table(print_table: Callable[[Console], None], page: Path, command: str) -> None:
    """Replace what is between the two marks of this command's table.

    Raises:
        ValueError: the page has no such marks.
    """
    begin = BEGIN.format(command)
    text = StringIO()
    print_table(Console(file=text, width=WIDTH))
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{page} has no place for the table: {begin.strip()} … {END.strip()}")
    lines = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    page.write_text(f"{before}{begin}```text\n{lines}\n```\n{END}{after}")
