"""Servers that somebody else runs."""

import contextlib
from collections.abc import Iterator, Mapping

import pytest

from tests.servers.inbox import Mailpit
from tests.servers.servers import Servers

NEEDED = ("WALLETQ_TEST_KAFKA", "WALLETQ_TEST_DATABASE_URL", "WALLETQ_TEST_SMTP_URL")


@contextlib.contextmanager
def external_servers(environ: Mapping[str, str]) -> Iterator[Servers]:
    """The servers that the environment names.

    WALLETQ_TEST_KAFKA=host:port, WALLETQ_TEST_DATABASE_URL=postgresql://… (a superuser, any database) and
    WALLETQ_TEST_SMTP_URL=smtp://…; with WALLETQ_TEST_MAILPIT_URL=http://… the tests read the mails there,
    otherwise those that look at mails are skipped.
    """
    missing = [name for name in NEEDED if not environ.get(name)]
    if missing:
        pytest.fail(f"WALLETQ_TEST_SERVERS=external needs {', '.join(missing)}", pytrace=False)
    mailpit = environ.get("WALLETQ_TEST_MAILPIT_URL")
    yield Servers(
        kafka_bootstrap_servers=environ["WALLETQ_TEST_KAFKA"],
        database_admin_url=environ["WALLETQ_TEST_DATABASE_URL"],
        smtp_url=environ["WALLETQ_TEST_SMTP_URL"],
        mails=Mailpit(mailpit) if mailpit else None,
        control=None,
    )
