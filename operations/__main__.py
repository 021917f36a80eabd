"""The command line: `walletq`, or `python -m operations`."""

import io
import sys

import typer

from operations.commands import dead_letters, letters, looking, mailing, processes, producing, replaying, servers

app = typer.Typer(
    name="walletq",
    help="Deposit wallets for an exchange, first in, first out.",
    epilog="Try it: walletq demo. Settings are environment variables WALLETQ_…, or what `walletq up` wrote to"
    " .walletq/connection.env in this folder. Exit codes: 0 fine, 1 the answer is no, 2 bad usage or settings,"
    " 3 a server cannot be reached.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for commands in (processes, servers, producing, looking, letters, mailing, dead_letters, replaying):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command of `sys.argv`, and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does: not every terminal knows UTF-8
    try:
        " ".join(sys.argv).encode()
    except UnicodeEncodeError:  # bytes that the locale's encoding does not have are lone surrogates here
        from operations.process import BAD_USAGE, fail

        fail("an argument is not written in the locale's encoding", BAD_USAGE)
    try:
        app()
    except Exception as error:  # noqa: BLE001 - what does not explain itself is raised again
        from operations.process import explain

        explain(error)


if __name__ == "__main__":
    main()
