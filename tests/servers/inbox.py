"""The mails that arrived: one mail server for all tests, a view of its own for each."""

import asyncio
import email
import email.policy
import json
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Protocol
from urllib.parse import quote
from urllib.request import urlopen

from tests.servers.wait import until

PAGE = 200


class Mails(Protocol):
    """What a mail server has accepted."""

    def arrived(self, sender: str, known: set[str]) -> AsyncIterator[tuple[str, EmailMessage]]:
        """The id and content of each mail from a sender's address that is not known yet, oldest first.

        Ids that turn out to be of another sender may be added to `known`.
        """
        ...


class MailFolder:
    """The folder of .eml files of the embedded inbox."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def arrived(self, sender: str, known: set[str]) -> AsyncIterator[tuple[str, EmailMessage]]:
        """See Mails: names sort by arrival."""
        for path in sorted(self._folder.glob("*.eml")):
            if path.name in known:
                continue
            mail = parse(path.read_bytes())
            if sender_of(mail) == sender:
                yield path.name, mail
            else:
                known.add(path.name)


class Mailpit:
    """The HTTP API of Mailpit."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def arrived(self, sender: str, known: set[str]) -> AsyncIterator[tuple[str, EmailMessage]]:
        """See Mails: Mailpit lists the newest first."""
        query = quote(f'from:"{sender}"')
        ids: list[str] = []
        while True:
            page = json.loads(await self._get(f"/api/v1/search?query={query}&start={len(ids)}&limit={PAGE}"))
            found = [entry["ID"] for entry in page["messages"]]
            ids += found
            if len(found) < PAGE or any(one in known for one in found):
                break
        for one in dict.fromkeys(reversed(ids)):  # a mail that arrives between two pages moves the others
            if one not in known:
                yield one, parse(await self._get(f"/api/v1/message/{one}/raw"))

    async def _get(self, path: str) -> bytes:
        return await asyncio.to_thread(self._get_now, path)

    def _get_now(self, path: str) -> bytes:
        with urlopen(self._url + path, timeout=10) as response:
            content: bytes = response.read()
        return content


class Inbox:
    """The mails of one test: those whose From is the test's own address, `settings.mail_from`.

    The mail server is shared by all tests, and a mail of an earlier test may come late; the address is what
    tells them apart. The tests' rows of X-… headers differ between mail servers: look at the mail itself.
    """

    def __init__(self, mails: Mails, mail_from: str) -> None:
        self._mails = mails
        self._sender = parseaddr(mail_from)[1]
        self._known: set[str] = set()
        self._arrived: list[EmailMessage] = []

    async def mails(self) -> list[EmailMessage]:
        """All that have arrived so far, oldest first."""
        async for one, mail in self._mails.arrived(self._sender, self._known):
            self._known.add(one)
            self._arrived.append(mail)
        return list(self._arrived)

    async def wait_for(self, n: int, timeout: float = 30) -> list[EmailMessage]:  # noqa: ASYNC109
        """Wait until at least `n` have arrived, and return all.

        Raises:
            AssertionError: fewer arrived in that many seconds.
        """

        async def enough() -> list[EmailMessage]:
            mails = await self.mails()
            return mails if len(mails) >= n else []

        if n == 0:
            return await self.mails()
        try:
            return await until(enough, timeout, f"{n} mails")
        except AssertionError:
            raise AssertionError(f"waited {timeout:g} s for {n} mails; {len(self._arrived)} arrived") from None


def parse(content: bytes) -> EmailMessage:
    """A mail as the standard library's modern API reads it."""
    return email.message_from_bytes(content, policy=email.policy.default)


def sender_of(mail: EmailMessage) -> str:
    """The address in From."""
    return parseaddr(str(mail["From"]))[1]
