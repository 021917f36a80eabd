"""All templates, read before the first mail goes out: each is well-formed, knows its variables, and says what its
letter must say."""

import html
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from babel import UnknownLocaleError
from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError, meta, nodes

from consumers.mailer import samples
from consumers.mailer.filters import category_of
from consumers.mailer.languages import (
    ENCODING,
    KINDS,
    PARTS,
    SHIPPED,
    VARIABLES,
    Kind,
    Language,
    Rendered,
    Templates,
    environment,
    language,
    tags,
)
from consumers.mailer.letters import Sender, what_it_says, what_it_says_queued
from schemas.settings import SettingsError

_OF_JINJA = {"loop", "self", "super", "caller", "varargs", "kwargs"}
_FILES = tuple(f"{kind}.{part}" for kind in KINDS for part in PARTS)
_REMOTE = re.compile(
    r"<(?:link|script|iframe|object|embed|base)\b|@import|"
    r"(?:\b(?:src|srcset|background|poster)\s*=|<(?:image|use)\b[^>]*\bhref\s*=|\b(?:url|image-set)\()\s*[\"']?\s*(?:\w+:)?//",
    re.IGNORECASE,
)
_FAR = 4_321
"A place in the queue that no other number of a sample contains."


def read_templates(folder: Path | None) -> Templates:
    """The shipped templates, those of the folder before them.

    Raises:
        SettingsError: names the file, the line and what is wrong there.
    """
    try:
        return _read(folder)
    except _Mistake as mistake:
        raise SettingsError("\n".join(f"WALLETQ_MAIL_TEMPLATES: {line}" for line in mistake.args)) from None


class _Mistake(Exception):
    """One line for each."""


class _Source(NamedTuple):
    name: str
    file: str
    tree: nodes.Template


def _read(folder: Path | None) -> Templates:
    files = _files(folder) if folder else {}
    found = environment(folder)
    used: set[str] = set()
    languages: dict[str, Language] = {}
    for tag in sorted({*tags(SHIPPED), *(tags(folder) if folder else ())}):
        read = _language(found, tag)
        if (other := languages.setdefault(tag.lower(), read)) is not read:
            raise _Mistake(f"{other.tag} and {tag} are one language; expected one folder of it")
        for kind in KINDS:
            for part, template in zip(PARTS, read.letters[kind], strict=True):
                known = VARIABLES[kind] | ({"subject"} if part == "html" else frozenset())
                used |= _check_names(found, str(template.name), kind, known)
            for said in _samples(kind, tag):
                _check_content(read, kind, said)
    if unused := sorted(files.keys() - used):
        raise _Mistake(
            *(
                f"{files[name]}: no letter uses this file; those of a language are {', '.join(_FILES)}"
                for name in unused
            )
        )
    return Templates(languages)


def _files(folder: Path) -> Mapping[str, Path]:
    """The folder's templates by their names."""
    if not folder.is_dir():
        raise _Mistake(f"{folder} is no folder")
    files = {file.relative_to(folder).as_posix(): file for file in _templates(folder)}
    for file in files.values():
        try:
            file.read_text(ENCODING)
        except (OSError, UnicodeDecodeError) as error:
            raise _Mistake(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    return files


def _templates(folder: Path) -> Iterator[Path]:
    """Those of a folder and of the folders in it, but for what is hidden: Kubernetes mounts a ConfigMap as links into a
    folder beside them whose name begins with a dot."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise _Mistake(f"{folder} cannot be read: {error.strerror}") from None
    for path in found:
        if path.suffix in (".html", ".txt"):
            yield path
        elif path.is_dir():
            yield from _templates(path)


def _language(found: Environment, tag: str) -> Language:
    try:
        return language(found, tag)
    except TemplateNotFound as missing:
        raise _Mistake(f"{missing.name} is missing; a language has {', '.join(_FILES)}") from None
    except TemplateSyntaxError as error:
        raise _Mistake(f"{error.filename}, line {error.lineno}: {error.message}") from None
    except (UnknownLocaleError, ValueError):
        raise _Mistake(f"{tag}: expected the tag of a language, such as de or pt-BR") from None


def _check_names(found: Environment, name: str, kind: Kind, known: frozenset[str]) -> set[str]:
    """Every variable in a template and those it refers to is known, or set in one of them. The names of them all."""
    sources = list(_sources(found, name, set()))
    defined = known.union(_OF_JINJA, found.globals, *(_defined(source.tree) for source in sources))
    unknown = [
        f"{source.file}, line {node.lineno}: {node.name} is no variable of this letter ({kind}); known are "
        + ", ".join(sorted(known))
        for source in sources
        for node in source.tree.find_all(nodes.Name)
        if node.ctx == "load" and node.name not in defined
    ]
    if unknown:
        raise _Mistake(*unknown)
    return {source.name for source in sources}


def _sources(found: Environment, name: str, seen: set[str]) -> Iterator[_Source]:
    """A template and those it refers to."""
    seen.add(name)
    assert found.loader
    try:
        text, file, _ = found.loader.get_source(found, name)
        found.get_template(name)  # to compile it sees more than to parse it
        source = _Source(name, file or name, found.parse(text, name, file))
    except TemplateSyntaxError as error:
        raise _Mistake(f"{error.filename}, line {error.lineno}: {error.message}") from None
    yield source
    for other in meta.find_referenced_templates(source.tree):
        if other is not None and other not in seen:
            try:
                yield from _sources(found, other, seen)
            except TemplateNotFound as missing:
                raise _Mistake(f"{source.file}: refers to {missing.name}, which is missing") from None


def _defined(tree: nodes.Template) -> set[str]:
    """The names that a template sets itself."""
    names = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    names |= {node.name for node in tree.find_all(nodes.Macro)}
    names |= {node.target for node in tree.find_all(nodes.Import)}
    for node in tree.find_all(nodes.FromImport):
        names |= {name if isinstance(name, str) else name[1] for name in node.names}
    return names


def _samples(kind: Kind, tag: str) -> Iterator[Mapping[str, object]]:
    sender = Sender("", "deposits@walletq.example")
    if kind == "assigned":
        letter = samples.assigned(tag, "walletq", sender)
        yield what_it_says(letter, "cid:qr")
        yield what_it_says(replace(letter, payment_pattern="bitcoin:{address}?amount={amount}"), "cid:qr")
    else:
        # One for each form of the plural that the language has.
        places = {category_of(tag, ahead): ahead + 1 for ahead in range(200, -1, -1)}
        for place in (1, *places.values(), _FAR):
            yield what_it_says_queued(samples.queued(tag, "walletq", sender, place))


def _check_content(read: Language, kind: Kind, said: Mapping[str, object]) -> None:
    subject, text, page = (f"{read.tag}/{kind}.{part}" for part in PARTS)
    try:
        rendered = read.render(kind, said)
    except Exception as error:  # noqa: BLE001  a template can do anything
        raise _Mistake(f"{_place(error)}: {error}") from None
    if "\n" in rendered.subject:
        raise _Mistake(f"{subject}: expected one line")
    if kind == "assigned" and str(said["address"]) not in rendered.text.split("\n"):
        raise _Mistake(f"{text}: expected {{{{ address }}}} on a line of its own")
    for name in _must_say(kind, said):
        for file, words in ((text, rendered.text), (page, _words(rendered))):
            if str(said[name]) not in words:
                raise _Mistake(f"{file}: expected {{{{ {name} }}}} in it")
    if kind == "assigned":
        another = read.render(kind, {**said, "expires_at": samples.EXPIRES_AT + timedelta(days=1)})
        for file, same in ((text, another.text == rendered.text), (page, another.html == rendered.html)):
            if same:
                raise _Mistake(f"{file}: expected {{{{ expires_at }}}} in it")
    if remote := _REMOTE.search(rendered.html):
        raise _Mistake(f"{page}: expected nothing that is fetched from elsewhere, found {remote[0]}")


def _must_say(kind: Kind, said: Mapping[str, object]) -> tuple[str, ...]:
    if kind == "assigned":
        return ("address", "amount", "currency", "network")
    return ("place",) if said["place"] == _FAR else ()


def _words(rendered: Rendered) -> str:
    """The HTML without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", rendered.html))


def _place(error: Exception) -> str:
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith((".html", ".txt"))
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else type(error).__name__
