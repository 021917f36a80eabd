"""Which servers the tests run on."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

import pytest

from tests.servers.servers import Report, Servers

VARIABLE = "WALLETQ_TEST_SERVERS"
Choice = Literal["embedded", "containers", "external"]


def choose(environ: Mapping[str, str]) -> Choice:
    """The choice of the environment; containers where they can be, else embedded, where it says nothing."""
    choice = environ.get(VARIABLE)
    if not choice:
        from tests.servers.containers import why_not

        return "embedded" if why_not() else "containers"
    if choice not in ("embedded", "containers", "external"):
        raise pytest.UsageError(f"{VARIABLE}={choice}: expected embedded, containers or external")
    return cast(Choice, choice)


def prepare(choice: Choice, report: Report) -> None:
    """Do what may take minutes on a new machine, outside of any test's timeout."""
    if choice == "embedded":
        from tests.servers import embedded

        embedded.prepare(report)


@contextlib.contextmanager
def running(choice: Choice, folder: Path, environ: Mapping[str, str]) -> Iterator[Servers]:
    """The chosen servers, until the end of the block; what they keep on disk is in the folder."""
    if choice == "embedded":
        from tests.servers.embedded import embedded_servers

        with embedded_servers(folder) as servers:
            yield servers
    elif choice == "containers":
        from tests.servers.containers import container_servers

        with container_servers(folder) as servers:
            yield servers
    else:
        from tests.servers.external import external_servers

        with external_servers(environ) as servers:
            yield servers
