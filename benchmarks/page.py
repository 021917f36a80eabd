"""The page that shows the last whole run: the table is put into it, the words around it are written by hand."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.results import Results
from benchmarks.table import WIDTH, print_table

BEGIN, END = "<!-- the table of make bench -->\n", "<!-- the end of the table -->\n"


def put_table(results: Results, page: Path) -> None:
    """Replace what is between the two marks.

    Raises:
        ValueError: the page has no marks.
    """
    text = StringIO()
    print_table(results, Console(file=text, width=WIDTH))
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: {BEGIN.strip()} … {END.strip()}")
    lines = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    page.write_text(f"{before}{BEGIN}```text\n{lines}\n```\n{END}{after}")
