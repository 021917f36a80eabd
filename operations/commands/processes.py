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
    """Start the servers that are missing, and walletq itself.

    Servers that the environment does not name are started, and .walletq/connection.env tells every other command
    in this folder of them. Ctrl-C stops all of it and keeps the data.
    """
    import asyncio

    from operations.process import settings_for_process
    from operations.up import up as run_up

    settings = settings_for_process(connection_file=False)
    raise typer.Exit(asyncio.run(run_up(settings, ROOT, servers_only=servers_only, report=_report)))


@app.command(epilog="Example: WALLETQ_MEMBER_ID=allocator-1 walletq allocate")
def allocate() -> None:
    """Run the allocator: it gives wallets to orders.

    In the order of the log, until SIGTERM or Ctrl-C. With WALLETQ_MEMBER_ID a restart has its partitions at once.
    """
    from consumers.allocator import run_allocator
    from operations.process import run_process, settings_for_process

    raise typer.Exit(run_process(settings_for_process(), "allocate", run_allocator))


@app.command(epilog="Example: WALLETQ_SMTP_URL=smtp://user:password@mail.example.com:587 walletq mail")
def mail() -> None:
    """Run the mailer: it tells customers about wallets.

    Until SIGTERM or Ctrl-C; any number of mailers share the work.
    """
    from consumers.mailer import run_mailer
    from operations.process import run_process, settings_for_process

    raise typer.Exit(run_process(settings_for_process(), "mail", run_mailer))


@app.command(epilog="Example: WALLETQ_CLOCK_INTERVAL_SECONDS=1 walletq clock")
def clock() -> None:
    """Run the clock: it ends what has expired.

    Orders past their expiry are cancelled, wallets past their cool-down are free again. Until SIGTERM or Ctrl-C;
    several clocks do no harm.
    """
    from operations.process import run_process, settings_for_process
    from producers.clock import run_clock

    raise typer.Exit(run_process(settings_for_process(), "clock", run_clock))


def _report(line: str) -> None:
    print(line, flush=True)
