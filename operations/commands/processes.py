"""Long-running commands: demo, up, allocate, mail, clock."""

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(".walletq")

app = typer.Typer()


@app.command(epilog="Example: walletq demo")
def demo() -> None:
    """See walletq at work: real servers, a few hundred orders, mails."""
    import asyncio

    from operations.demo import demo as run_demo

    raise typer.Exit(asyncio.run(run_demo(report=_report)))


@app.command(epilog="Example: walletq up --servers-only")
def up(
    servers_only: Annotated[bool, typer.Option("--servers-only", help="Start no consumers and no clock.")] = False,
) -> None:
    """Start the servers that the settings do not name, and walletq; Ctrl-C stops them and keeps the data."""
    import asyncio

    from operations.logs import configure_logs
    from operations.up import up as run_up
    from schemas.settings import read_settings

    settings = read_settings(connection_file=False)
    configure_logs(settings.log_level)
    raise typer.Exit(asyncio.run(run_up(settings, ROOT, servers_only=servers_only, report=_report)))


@app.command(epilog="Example: WALLETQ_MEMBER_ID=allocator-1 walletq allocate")
def allocate() -> None:
    """Run the allocator: give wallets to orders, in the order of the log, until SIGTERM or Ctrl-C."""
    from consumers.allocator import run_allocator
    from operations.process import run_process
    from schemas.settings import read_settings

    raise typer.Exit(run_process(read_settings(), run_allocator))


@app.command(epilog="Example: WALLETQ_SMTP_URL=smtp://user:password@mail.example.com:587 walletq mail")
def mail() -> None:
    """Run the mailer: tell customers about their wallets, until SIGTERM or Ctrl-C."""
    from consumers.mailer import run_mailer
    from operations.process import run_process
    from schemas.settings import read_settings

    raise typer.Exit(run_process(read_settings(), run_mailer))


@app.command(epilog="Example: WALLETQ_CLOCK_INTERVAL_SECONDS=1 walletq clock")
def clock() -> None:
    """Run the clock: cancel orders that have expired, end the cooling of wallets, until SIGTERM or Ctrl-C."""
    from operations.process import run_process
    from producers.clock import run_clock
    from schemas.settings import read_settings

    raise typer.Exit(run_process(read_settings(), run_clock))


def _report(line: str) -> None:
    print(line, flush=True)
