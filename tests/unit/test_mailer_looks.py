"""How the pages look to those who see little, see nothing, or see them in the dark."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import NamedTuple

import pytest

from consumers.mailer.letters import compose, compose_queued
from tests.unit.letters import LETTER, QUEUED, Page, body, parse

LEAST_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3
VOID = {"meta", "br", "img", "wbr"}
ETH = "0x71C7656EC7ab88b098defB751B7401B5f6d8976F"

PAGES = {
    f"{locale}-{kind}": body(parse(content), "html")
    for locale in ("en", "ru")
    for kind, content in (
        ("assigned", compose(replace(LETTER, locale=locale)).content),
        ("payment", compose(replace(LETTER, locale=locale, payment_pattern="a:{address}?b={amount}")).content),
        ("queued", compose_queued(replace(QUEUED, locale=locale)).content),
    )
}


class Seen(NamedTuple):
    """A text, and the colours that it has."""

    text: str
    colour: str
    background: str


class Eye(HTMLParser):
    """What is seen of a page: the inline styles, in the dark with what the style sheet has for it."""

    def __init__(self, page: str, *, dark: bool) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._dark = dict(re.findall(r"\.([a-z]+)\{([^}]*)\}", dark_rules(page))) if dark else {}
        self._around: list[dict[str, str]] = [{}]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        given = dict(attrs)
        styles = declarations(given.get("style") or "")
        for name in (given.get("class") or "").split():
            styles |= declarations(self._dark.get(name, ""))
        hidden = {"display": "none"} if tag in ("head", "style", "title") else {}
        if tag not in VOID:
            self._around.append(self._around[-1] | styles | hidden)

    def handle_endtag(self, _tag: str) -> None:
        """See HTMLParser."""
        self._around.pop()

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        around = self._around[-1]
        if data.strip() and around.get("display") != "none":
            self.seen.append(Seen(data.strip(), around["color"], around["background"]))


def dark_rules(page: str) -> str:
    found = re.search(r"@media \(prefers-color-scheme:dark\)\{\n((?:\..*\}\n)*)\}", page)
    assert found
    return found[1]


def declarations(style: str) -> dict[str, str]:
    pairs = (pair.split(":", 1) for pair in style.replace("!important", "").split(";") if pair)
    # An element's own display says nothing of its children, unless it is none.
    return {
        name: value for name, value in pairs if name in ("color", "background") or (name, value) == ("display", "none")
    }


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    assert re.fullmatch(r"#[0-9a-f]{6}", colour), colour
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_what_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_every_text_stands_out_from_its_background(page: str, dark: bool) -> None:
    seen = Eye(PAGES[page], dark=dark).seen
    assert len(seen) > 8
    for text, colour, background in seen:
        assert contrast(colour, background) >= LEAST_CONTRAST, f"{text}: {colour} on {background}"


@pytest.mark.parametrize("page", PAGES)
def test_in_the_dark_every_colour_is_another(page: str) -> None:
    light, dark = Eye(PAGES[page], dark=False).seen, Eye(PAGES[page], dark=True).seen
    for by_day, by_night in zip(light, dark, strict=True):
        assert by_day.text == by_night.text
        assert luminance(by_day.background) > 0.5 > luminance(by_night.background), by_day.text
        assert luminance(by_day.colour) < 0.5 < luminance(by_night.colour) + 0.1, by_day.text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_that_it_is_made_for_the_dark_too(page: str) -> None:
    tags = Page(PAGES[page]).tags
    named = {attrs.get("name"): attrs.get("content") for tag, attrs in tags if tag == "meta"}
    assert named["color-scheme"] == named["supported-color-schemes"] == "light dark"
    assert ":root{color-scheme:light dark" in PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_a_screen_reader_finds_its_way(page: str) -> None:
    tags = Page(PAGES[page]).tags
    assert tags[0] == ("html", {"lang": page[:2], "dir": "ltr"})
    assert [tag for tag, _ in tags].count("h1") == 1
    assert [tag for tag, _ in tags].count("title") == 1
    assert all(attrs.get("role") == "presentation" for tag, attrs in tags if tag == "table")
    assert all((attrs.get("alt") or "").strip() for tag, attrs in tags if tag == "img")


@pytest.mark.parametrize("locale", ["en", "ru"])
def test_a_page_is_read_in_the_order_of_what_matters(locale: str) -> None:
    spoken = " ".join(seen.text for seen in Eye(PAGES[f"{locale}-assigned"], dark=False).seen)
    compact = spoken.replace(" ", "")
    in_order = ["Acme", "ord-7f3c", "250.00", "TetherUSD", "TRC-20", LETTER.address, "TRC-20", "17:30UTC"]
    at = 0
    for said in in_order:
        at = compact.index(said, at) + len(said)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_small_and_fetches_nothing(page: str) -> None:
    assert len(PAGES[page].encode()) < 20_000  # far below the 102 kB at which mail programs cut a page
    assert all(link.startswith("cid:") for link in Page(PAGES[page]).links)
    assert not re.search(r"https?://|url\(|@import|<script|<link", PAGES[page])


@pytest.mark.parametrize(("address", "first", "last"), [(LETTER.address, "TXYZ", "VkAeBf"), (ETH, "0x71C7", "976F")])
def test_an_address_is_shown_in_pieces_and_copied_whole(address: str, first: str, last: str) -> None:
    page = body(parse(compose(replace(LETTER, address=address)).content), "html")
    pieces = [seen.text for seen in Eye(page, dark=False).seen if seen.text and seen.text in address]
    assert pieces[0] == first
    assert pieces[-1] == last
    assert "".join(pieces) == address
    assert address in Page(page).text
