"""The mails: letters preview."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from operations.commands.options import Json

app = typer.Typer()
letters = typer.Typer(name="letters", help="The mails that customers get.", no_args_is_help=True)
app.add_typer(letters)


class LetterKind(StrEnum):
    """The kinds of letters."""

    assigned = "assigned"
    queued = "queued"


@letters.command("preview", epilog="Example: walletq letters preview --locale ru --open")
def letters_preview(
    locale: Annotated[
        str | None, typer.Option("--locale", "-l", metavar="L", help="Only this language, such as ru.")
    ] = None,
    kind: Annotated[LetterKind | None, typer.Option("--kind", "-k", help="Only this letter.")] = None,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the files go.")] = Path(".walletq/letters"),
    in_browser: Annotated[bool, typer.Option("--open", help="Show the pages in a browser, too.")] = False,
    as_json: Json = False,
) -> None:
    """Write sample mails as files, to look at.

    As .html, .txt and .eml, from the templates of the settings. No server is needed.
    """
    from operations.letters import preview
    from operations.process import settings_for_command

    settings = settings_for_command()
    wanted = kind.value if kind else None
    raise typer.Exit(preview(settings, locale=locale, kind=wanted, folder=to, in_browser=in_browser, as_json=as_json))
