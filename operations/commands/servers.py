"""What must be there before anything runs: migrate, topics create, topics check."""

import typer

from operations.commands.options import Json

app = typer.Typer()
topics = typer.Typer(name="topics", help="The topics of the contract.", no_args_is_help=True)
app.add_typer(topics)


@app.command(epilog="Example: WALLETQ_DATABASE_URL=postgresql://owner@host/walletq walletq migrate")
def migrate(as_json: Json = False) -> None:
    """Bring the database up to this version.

    Run it as the database's owner; again, or twice at once, does no harm.
    """
    from operations.process import run, settings_for_command
    from operations.setup import migrate_database

    settings = settings_for_command()
    raise typer.Exit(run(settings, migrate_database(settings, as_json=as_json)))


@topics.command("create", epilog="Example: walletq topics create")
def topics_create(as_json: Json = False) -> None:
    """Create the topics that are missing.

    What exists is left as it is.
    """
    from operations.process import run, settings_for_command
    from operations.setup import create_missing_topics

    settings = settings_for_command()
    raise typer.Exit(run(settings, create_missing_topics(settings, as_json=as_json)))


@topics.command("check", epilog="Example: walletq topics check")
def topics_check(as_json: Json = False) -> None:
    """Check that the topics are as the contract says.

    Exit code 1 where they are not.
    """
    from operations.process import run, settings_for_command
    from operations.setup import report_topics

    settings = settings_for_command()
    raise typer.Exit(run(settings, report_topics(settings, as_json=as_json)))
