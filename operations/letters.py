"""`walletq letters preview`: the mails as files, to look at."""

import base64
import sys
import webbrowser
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from consumers.mailer import samples
from consumers.mailer.dkim import Signer, read_signer
from consumers.mailer.languages import KINDS, Kind, Language, Templates
from consumers.mailer.letters import Sender, compose, compose_queued, read_sender, what_it_says, what_it_says_queued
from consumers.mailer.proofreading import read_templates
from consumers.mailer.qr import qr_png
from operations.terminal import print_json
from schemas.settings import Settings, SettingsError


class _Shown(NamedTuple):
    """What the settings say of every letter."""

    templates: Templates
    company_name: str
    sender: Sender
    signer: Signer | None


def preview(
    settings: Settings, *, locale: str | None, kind: str | None, folder: Path, in_browser: bool, as_json: bool
) -> int:
    """Write sample letters as .html, .txt and .eml files, and say where. Returns the exit code.

    Args:
        settings: the company, the sender, the templates and the DKIM key are theirs.
        locale: only the letters of this language.
        kind: only this letter.
        folder: where the files go; it is made where it is missing.
        in_browser: show the pages, too.
        as_json: say it as JSON.

    Raises:
        SettingsError: a setting is wrong, a template has a mistake, or there are no letters in that language.
    """
    templates = read_templates(settings.mail_templates)
    sender = read_sender(settings.mail_from)
    shown = _Shown(templates, settings.company_name, sender, read_signer(settings, sender.domain))
    written = []
    for language in _languages(templates, locale):
        for each in KINDS:
            if kind in (None, each):
                for ending, content in _files(shown, language, each).items():
                    written.append(_write(folder / f"{language.tag}-{each}.{ending}", content))
    if as_json:
        print_json({"files": [str(file) for file in written]})
    else:
        print("\n".join(map(str, written)))
    return _show([file for file in written if file.suffix == ".html"]) if in_browser else 0


def _languages(templates: Templates, locale: str | None) -> list[Language]:
    if locale is None:
        return list(templates)
    found = [language for language in templates if language.tag.lower() == locale.lower()]
    if not found:
        known = ", ".join(language.tag for language in templates)
        raise SettingsError(f"--locale: there are no letters in {locale}; there are some in {known}")
    return found


def _files(shown: _Shown, language: Language, kind: Kind) -> Mapping[str, bytes]:
    """A letter's files by their endings. The page has its QR code in itself: a browser knows no cid:."""
    if kind == "assigned":
        letter = samples.assigned(language.tag, shown.company_name, shown.sender)
        image = base64.b64encode(qr_png(letter.address)).decode()
        said, message = what_it_says(letter, f"data:image/png;base64,{image}"), compose(letter, shown.templates)
    else:
        queued = samples.queued(language.tag, shown.company_name, shown.sender)
        said, message = what_it_says_queued(queued), compose_queued(queued, shown.templates)
    if shown.signer:
        message = shown.signer.sign(message, datetime.now(UTC))
    rendered = language.render(kind, said)
    return {"html": rendered.html.encode(), "txt": rendered.text.encode() + b"\n", "eml": message.content}


def _write(file: Path, content: bytes) -> Path:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise SettingsError(f"--to: {file} cannot be written: {error.strerror}") from None
    return file


def _show(pages: list[Path]) -> int:
    opened = [webbrowser.open(page.absolute().as_uri()) for page in pages]
    if all(opened):
        return 0
    print("no browser could be started; open the .html files yourself", file=sys.stderr)
    return 1
