"""What the pages of the documentation hold: blocks of code, tables, links, commands."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?walletq ")


class Page:
    """A page in Markdown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = path.read_text()

    @cached_property
    def _tokens(self) -> Sequence[Token]:
        return MarkdownIt().enable("table").parse(self._text)

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of code in this language."""
        return [token.content for token in self._tokens if token.type == "fence" and token.info == language]

    def table(self, *header: str) -> list[Mapping[str, str]]:
        """The rows of the table that begins with these columns, their cells as they are written.

        Raises:
            LookupError: there is none.
        """
        for columns, *rows in self._tables():
            if tuple(columns[: len(header)]) == header:
                return [dict(zip(columns, row, strict=True)) for row in rows]
        raise LookupError(f"{self.path.name} has no table with the columns {', '.join(header)}")

    def links(self) -> list[str]:
        """Where its links and pictures point."""
        inline = [child for token in self._tokens for child in token.children or ()]
        return [str(target) for child in inline if (target := child.attrs.get("href") or child.attrs.get("src"))]

    def anchors(self) -> set[str]:
        """What a link may name behind a #: its headings, as GitHub writes them."""
        headings = [
            following.content
            for token, following in zip(self._tokens, self._tokens[1:], strict=False)
            if token.type == "heading_open"
        ]
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def console(self) -> list[str]:
        """What is typed in its console blocks."""
        return [line[2:] for block in self.blocks("console") for line in block.splitlines() if line.startswith("$ ")]

    def commands(self) -> list[list[str]]:
        """The arguments of each `walletq` in its console blocks, and of those in the text that begin with it."""
        inline = [child for token in self._tokens for child in token.children or ()]
        quoted = [child.content for child in inline if child.type == "code_inline" and child.content != "walletq"]
        return [
            shlex.split(line[found.end() :], comments=True)
            for line in [*self.console(), *quoted]
            if (found := COMMAND.match(line))
        ]

    def _tables(self) -> Iterator[list[list[str]]]:
        rows: list[list[str]] = []
        for token, following in zip(self._tokens, self._tokens[1:], strict=False):
            if token.type == "table_open":
                rows = []
            elif token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                rows[-1].append(following.content)
            elif token.type == "table_close":
                yield rows
