"""A fresh, migrated database for each test, cloned from a template that is made once."""

import itertools
import uuid
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from storage.database import connect
from storage.migrations import migrate


class Databases:
    """The databases of one test session. Names are unique, so sessions can share a server."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._session = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)
        self._template: str | None = None

    async def create(self) -> str:
        """Make a database and return its URL."""
        admin = await self._connect()
        try:
            if self._template is None:
                self._template = await self._make_template(admin)
            name = f"walletq_test_{self._session}_{next(self._numbers)}"
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        finally:
            await admin.close()
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        await self._drop(urlsplit(url).path.lstrip("/"))

    async def close(self) -> None:
        """Drop the template."""
        if self._template is not None:
            await self._drop(self._template)
            self._template = None

    def url(self, name: str) -> str:
        """The URL of a database of this server."""
        return urlunsplit(urlsplit(self._admin_url)._replace(path=f"/{name}"))

    async def _make_template(self, admin: asyncpg.Connection) -> str:
        name = f"walletq_template_{self._session}"
        await admin.execute(f"CREATE DATABASE {name}")
        await migrate(self.url(name))
        return name

    async def _drop(self, name: str) -> None:
        admin = await self._connect()
        try:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        finally:
            await admin.close()

    async def _connect(self) -> asyncpg.Connection:
        return await connect(self._admin_url, application="walletq tests")
