"""The templates of the letters, by language: those that walletq ships with, and a folder of the user's before them.

A folder for each language (`de`, `pt-BR`) has three files for each kind of letter: `assigned.subject.txt`,
`assigned.txt`, `assigned.html`, and the same of `queued`. What languages share lies beside these folders. A file of the
user's takes the place of the shipped one with its name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from babel import Locale
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from consumers.mailer import filters

Kind = Literal["assigned", "queued"]
KINDS: tuple[Kind, ...] = ("assigned", "queued")
PARTS = ("subject.txt", "txt", "html")
SHIPPED = Path(__file__).parent / "templates"
FALLBACK = "en"
ENCODING = "utf-8-sig"
"With or without the mark that editors on Windows put first: it would stand in every subject."

_ALWAYS = frozenset({"order_id", "currency", "currency_name", "network", "amount", "company", "lang", "dir"})
VARIABLES: Mapping[Kind, frozenset[str]] = {
    "assigned": _ALWAYS | {"address", "expires_at", "payment_uri", "qr"},
    "queued": _ALWAYS | {"place", "ahead"},
}
"What the templates of a letter know. The HTML also knows its `subject`."


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a letter says, in its three parts."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Language:
    """A language with its letters."""

    tag: str
    direction: str
    "ltr or rtl."
    letters: Mapping[Kind, tuple[Template, ...]]
    "Their templates, in the order of PARTS."

    def render(self, kind: Kind, said: Mapping[str, object]) -> Rendered:
        """Say it in this language."""
        subject, text, html = self.letters[kind]
        values = {**said, "lang": self.tag, "dir": self.direction}
        values["subject"] = title = subject.render(values)
        return Rendered(title, text.render(values), html.render(values))


class Templates:
    """The letters in all languages."""

    def __init__(self, languages: Mapping[str, Language]) -> None:
        """By their tags in small letters; English is one of them."""
        self._languages = languages

    def __iter__(self) -> Iterator[Language]:
        return iter(self._languages.values())

    def language(self, locale: str) -> Language:
        """For a tag (BCP 47): its own language, or that of its longest beginning that has one, or English."""
        tag = locale.lower()
        while tag not in self._languages:
            tag = tag.rpartition("-")[0] or FALLBACK
        return self._languages[tag]


@cache
def shipped() -> Templates:
    """Those that walletq ships with."""
    found = environment()
    return Templates({tag.lower(): language(found, tag) for tag in tags(SHIPPED)})


def tags(folder: Path) -> list[str]:
    """The languages that have letters in a folder."""
    names = {f"{kind}.{part}" for kind in KINDS for part in PARTS}
    found = {file.parent.name for file in folder.glob("*/*") if file.name in names}
    return sorted(tag for tag in found if not tag.startswith("."))


def environment(folder: Path | None = None) -> Environment:
    """Jinja over the shipped templates, those of the folder before them."""
    found = Environment(
        loader=FileSystemLoader([SHIPPED] if folder is None else [folder, SHIPPED], encoding=ENCODING),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(date=filters.date, groups=filters.groups, plural=filters.plural)
    return found


def language(found: Environment, tag: str) -> Language:
    """A language, its templates compiled.

    Raises:
        UnknownLocaleError, ValueError: there is no such language.
        TemplateError: a template is missing, or not well-formed.
    """
    direction = Locale.parse(tag, sep="-").text_direction
    return Language(
        tag, direction, {kind: tuple(found.get_template(f"{tag}/{kind}.{part}") for part in PARTS) for kind in KINDS}
    )
