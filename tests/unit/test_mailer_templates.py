"""The user's templates: they take the place of the shipped ones, and no mailer starts with one that has a mistake."""

import re
from pathlib import Path

import pytest
from hypothesis import given

from consumers.mailer.filters import category_of, groups
from consumers.mailer.handler import composer
from consumers.mailer.languages import KINDS, PARTS, SHIPPED, shipped
from consumers.mailer.letters import compose, compose_queued
from consumers.mailer.proofreading import read_templates
from schemas.catalogue import read_catalogue
from schemas.settings import Settings, SettingsError
from tests.unit.letters import LETTER, QUEUED, Page, addresses, body, parse

SHIPPED_NAMES = sorted(file.relative_to(SHIPPED).as_posix() for file in SHIPPED.rglob("*.*"))


def folder_of(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = tmp_path / "templates" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "templates"


def a_language(tag: str) -> dict[str, str]:
    return {f"{tag}/{name[3:]}": (SHIPPED / name).read_text() for name in SHIPPED_NAMES if name.startswith("en/")}


def refused(folder: Path) -> str:
    with pytest.raises(SettingsError) as raised:
        read_templates(folder)
    lines = str(raised.value).splitlines()
    assert all(line.startswith("WALLETQ_MAIL_TEMPLATES: ") for line in lines)
    return "\n".join(line.removeprefix("WALLETQ_MAIL_TEMPLATES: ") for line in lines)


def test_the_shipped_templates_pass() -> None:
    assert {language.tag for language in read_templates(None)} == {"en", "ru"} == {each.tag for each in shipped()}


def test_every_language_has_every_letter() -> None:
    of_a_language = {f"{kind}.{part}" for kind in KINDS for part in PARTS}
    assert {name[3:] for name in SHIPPED_NAMES if name.startswith("en/")} == of_a_language
    assert {name[3:] for name in SHIPPED_NAMES if name.startswith("ru/")} == of_a_language


def test_a_file_of_the_users_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    text = "Hi! Send {{ amount }} {{ currency }} over {{ network }} to\n{{ address }}\n{{ expires_at }}\n"
    templates = read_templates(folder_of(tmp_path, {"en/assigned.txt": text}))
    mail = parse(compose(LETTER, templates).content)
    assert body(mail, "plain").splitlines() == [
        *("Hi! Send 250.00 USDT over TRC-20 to", LETTER.address, "2026-11-22 17:30:00+00:00")
    ]
    assert body(mail, "html") == body(parse(compose(LETTER).content), "html")
    assert mail["Subject"] == "Acme: USDT address for your order ord-7f3c"


def test_a_file_that_an_editor_on_windows_has_written_says_the_same(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"en/assigned.subject.txt": ""})
    (folder / "en" / "assigned.subject.txt").write_bytes("Pay {{ amount }}\r\n".encode("utf-8-sig"))
    assert compose(LETTER, read_templates(folder)).content.partition(b"Subject: ")[2].startswith(b"Pay 250.00\r\n")


def test_a_layout_of_the_users_is_the_layout_of_every_letter(tmp_path: Path) -> None:
    layout = '<html lang="{{ lang }}"><title>{{ subject }}</title><main>{% block body %}{% endblock %}</main></html>'
    templates = read_templates(folder_of(tmp_path, {"layout.html": layout}))
    for message in (compose(LETTER, templates), compose_queued(QUEUED, templates)):
        assert ("main", {}) in Page(body(parse(message.content), "html")).tags


def test_a_folder_adds_a_language(tmp_path: Path) -> None:
    files = a_language("pt-BR") | a_language("ar")
    for name in files:
        files[name] = files[name].replace("plural(", 'plural(zero="z", two="t", few="f", many="m", ')
    files["ar/queued.subject.txt"] = (
        '{{ ahead }} {{ ahead | plural(zero="z", one="o", two="t", few="f", many="m", other="x") }}'
    )
    templates = read_templates(folder_of(tmp_path, files))
    assert [templates.language(tag).tag for tag in ("pt-br", "pt-BR-x", "pt", "ar-EG", "zh")] == [
        *("pt-BR", "pt-BR", "en", "ar", "en")
    ]
    assert '<html lang="ar" dir="rtl">' in templates.language("ar").render("queued", _said()).html
    assert templates.language("ar").render("queued", _said()).subject == "2 t"


def _said() -> dict[str, object]:
    return {
        **dict.fromkeys(("order_id", "currency", "currency_name", "network", "amount", "company"), "x"),
        "place": 3,
    } | {"ahead": 2}


@pytest.mark.parametrize(
    ("name", "text", "line", "problem"),
    [
        (
            "en/assigned.txt",
            "{{ address }}\n{{ adress }}",
            2,
            "adress is no variable of this letter (assigned); known are",
        ),
        (
            "en/queued.html",
            "{{ place }}\n\n{{ address }}",
            3,
            "address is no variable of this letter (queued); known are",
        ),
        ("layout.html", "{{ lang }}\n{{ place }}", 2, "place is no variable of this letter (assigned); known are"),
        ("ru/assigned.html", "{% extends 'layout.html' %}\n{% if x %}{% endif %}", 2, "x is no variable"),
        ("en/assigned.txt", "{{ address", 1, "unexpected end of template"),
        ("en/assigned.html", "a\n{% block body %}", 2, "Unexpected end of template"),
        ("layout.html", "a\n{% blok body %}", 2, "Encountered unknown tag 'blok'"),
        ("en/assigned.html", "{{ amount | euros }}", 1, "No filter named 'euros'"),
        ("layout.html", "\n{{ lang | upercase }}", 2, "No filter named 'upercase'"),
        ("en/assigned.txt", "\n\n{{ amount.digits }}", 3, "has no attribute 'digits'"),
        ("en/assigned.txt", "{{ amount / 2 }}", 1, "unsupported operand"),
        ("ru/queued.txt", '{{ place }}\n{{ place | plural(one="a", many="b") }}', 2, "plural has no form few (for 3)"),
        ("en/queued.txt", '{{ place | plural("a") }}', 1, "positional argument"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_line(
    tmp_path: Path, name: str, text: str, line: int, problem: str
) -> None:
    folder = folder_of(tmp_path, {name: text})
    told = refused(folder)
    assert told.startswith(f"{folder / name}, line {line}: ")
    assert problem in told


def test_the_known_variables_are_told(tmp_path: Path) -> None:
    told = refused(folder_of(tmp_path, {"en/queued.txt": "{{ position }}\n{{ place }}\n{{ rank }}"}))
    assert len(told.splitlines()) == 2
    assert told.endswith(
        "known are ahead, amount, company, currency, currency_name, dir, lang, network, order_id, place"
    )


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("en/assigned.txt", "{{ amount }} {{ currency }} {{ network }}", "{{ address }} on a line of its own"),
        ("en/assigned.txt", "To: {{ address }}", "{{ address }} on a line of its own"),
        ("en/assigned.txt", "{{ currency }} {{ network }}\n{{ address }}", "expected {{ amount }} in it"),
        ("ru/assigned.html", "{{ amount }} {{ currency }} {{ address }}", "expected {{ network }} in it"),
        ("ru/assigned.html", "{{ amount }} {{ network }} <p title='{{ address }}'>", "expected {{ address }} in it"),
        (
            "en/assigned.txt",
            "{{ amount }} {{ currency }} {{ network }}\n{{ address }}",
            "expected {{ expires_at }} in it",
        ),
        (
            "ru/assigned.html",
            "{{ amount }} {{ currency }} {{ network }} {{ address }}",
            "expected {{ expires_at }} in it",
        ),
        ("en/queued.txt", "wait", "expected {{ place }} in it"),
        ("en/queued.subject.txt", "a\nb", "expected one line"),
        ("en/assigned.subject.txt", "\nb", "expected one line"),
    ],
)
def test_a_letter_says_what_it_must(tmp_path: Path, name: str, text: str, problem: str) -> None:
    told = refused(folder_of(tmp_path, {name: text}))
    assert told.startswith(f"{name}: ")
    assert problem in told


@pytest.mark.parametrize(
    "remote",
    [
        '<img src="https://example.com/logo.png" alt="">',
        "<img src=//example.com/logo.png>",
        "<td background='http://example.com/x.png'>",
        "<p style=\"background:url('https://example.com/x.png')\">",
        "<style>@import 'https://example.com/x.css'</style>",
        '<link rel="stylesheet" href="https://example.com/x.css">',
        "<SCRIPT>1</SCRIPT>",
        '<base href="https://example.com/"><img src="logo.png" alt="">',
        "<style>p{background-image:image-set('https://example.com/x.png' 1x)}</style>",
        '<svg><image width="9" href="https://example.com/x.png"/><use xlink:href="//example.com/x.svg#a"/></svg>',
    ],
)
def test_nothing_is_fetched_from_elsewhere(tmp_path: Path, remote: str) -> None:
    folder = folder_of(tmp_path, {"layout.html": "{% block body %}{% endblock %}" + remote})
    assert "expected nothing that is fetched from elsewhere, found " in refused(folder)


def test_a_link_is_no_remote_content(tmp_path: Path) -> None:
    link = '<a href="https://example.com/help">Help</a>'
    read_templates(folder_of(tmp_path, {"layout.html": "{% block body %}{% endblock %}" + link}))


@pytest.mark.parametrize("name", ["en/assinged.txt", "en/letter.html", "footer.html", "partials/en/footer.html"])
def test_a_file_that_no_letter_uses_is_told(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, {name: "x"})
    assert refused(folder).startswith(f"{folder / name}: no letter uses this file; those of a language are assigned.")


def test_a_folder_that_kubernetes_mounts_is_read_through_its_links(tmp_path: Path) -> None:
    files = {f"..2026_11_28/{name}": text for name, text in a_language("de").items()}
    layout = "{% block body %}{% endblock %}<footer></footer>"
    folder = folder_of(tmp_path, files | {"..2026_11_28/layout.html": layout, ".git/note.txt": "x"})
    (folder / "..data").symlink_to("..2026_11_28")
    for name in ("de", "layout.html"):
        (folder / name).symlink_to(f"..data/{name}")
    templates = read_templates(folder)
    assert [language.tag for language in templates] == ["de", "en", "ru"]
    assert "<footer>" in templates.language("de").render("queued", _said()).html
    (folder / "..2026_11_28" / "de" / "queued.txt").write_bytes(b"\xff\xfe")
    assert refused(folder) == f"{folder / 'de' / 'queued.txt'} cannot be read: it is not UTF-8"


@pytest.mark.parametrize(("one", "other"), [("EN", "en"), ("pt-BR", "pt-br")])
def test_two_folders_of_one_language_are_told(tmp_path: Path, one: str, other: str) -> None:
    folder = folder_of(tmp_path, a_language(one) | a_language(other))
    assert refused(folder) == f"{one} and {other} are one language; expected one folder of it"


def test_a_file_that_a_letter_includes_is_used(tmp_path: Path) -> None:
    text = "{{ amount }} {{ currency }} {{ network }}\n{{ address }}\n{{ expires_at }}{% include 'partials/bye.txt' %}"
    folder = folder_of(tmp_path, {"en/assigned.txt": text, "partials/bye.txt": "Bye, {{ company }}"})
    assert "Bye, Acme" in body(parse(compose(LETTER, read_templates(folder)).content), "plain")


def test_what_a_template_sets_or_imports_is_known(tmp_path: Path) -> None:
    text = (
        "{% from 'macros.txt' import line as row %}{% set word %}pay{% endset %}\n{{ word }} {{ row(amount) }}\n"
        "{% for part in address | groups %}{{ loop.index }}{{ part }} {% endfor %}.\n"
        "{{ address }}\n{{ currency }} {{ network }} {{ range(2) | list }} {{ expires_at }}"
    )
    files = {"en/assigned.txt": text, "macros.txt": "{% macro line(value) %}<{{ value }}>{% endmacro %}"}
    assert "pay <250.00>" in body(parse(compose(LETTER, read_templates(folder_of(tmp_path, files))).content), "plain")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"de/assigned.txt": "{{ address }}"},
            "de/assigned.subject.txt is missing; a language has assigned.subject.txt",
        ),
        ({"xx/assigned.txt": "{{ address }}"}, "xx: expected the tag of a language, such as de or pt-BR"),
        ({"english/assigned.txt": "{{ address }}"}, "english: expected the tag of a language"),
        ({"en/assigned.html": "{% extends 'frame.html' %}"}, "refers to frame.html, which is missing"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    assert problem in refused(folder_of(tmp_path, files))


def test_a_folder_that_is_none_and_a_file_that_is_no_text_are_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing") == f"{tmp_path / 'missing'} is no folder"
    folder = folder_of(tmp_path, {"en/assigned.txt": ""})
    (folder / "en" / "assigned.txt").write_bytes(b"\xff\xfe")
    assert refused(folder) == f"{folder / 'en' / 'assigned.txt'} cannot be read: it is not UTF-8"


def test_a_mailer_with_a_mistake_in_its_templates_does_not_start(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"en/assigned.txt": "{{ adress }}"})
    with pytest.raises(SettingsError, match="adress is no variable"):
        composer(Settings(mail_templates=folder), read_catalogue())


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    said = {**_said(), "company": "<b>A&B</b>"}
    rendered = shipped().language("en").render("queued", said)
    assert rendered.subject.startswith("<b>A&B</b>: ")
    assert "<b>A&B</b>" in rendered.text
    assert "&lt;b&gt;A&amp;B&lt;/b&gt;" in rendered.html
    assert "<b>" not in rendered.html


@given(addresses | addresses.map(lambda address: "0x" + address[:40]) | addresses.map(lambda address: address[:9]))
def test_the_pieces_of_an_address_are_the_address(address: str) -> None:
    pieces = groups(address)
    assert "".join(pieces) == address
    assert all(len(piece) == 4 for piece in pieces[1:-1])
    assert 4 <= len(pieces[0]) <= 6
    assert len(pieces) < 3 or 3 <= len(pieces[-1]) <= 6


def test_every_form_of_the_plural_is_tried(tmp_path: Path) -> None:
    forms = {category_of("ru", number) for number in range(200)}
    assert forms == {"one", "few", "many"}
    for form in forms:
        said = ", ".join(f'{other}="x"' for other in sorted(forms - {form}))
        files = {"ru/queued.txt": "{{ place }}{{ ahead | plural(" + said + ") }}"}
        assert re.search(f"plural has no form {form} ", refused(folder_of(tmp_path, files)))
