"""Postfix as Debian packages it, in a folder of its own: it listens on loopback, delivers every mail into one Maildir,
and leaves /etc and the system's own Postfix alone.

See postfix(1), master(5), virtual(8) and postconf(5).
"""

import asyncio
import contextlib
import email
import email.policy
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from embedded.child import Child
from embedded.ports import HOST, Ports
from tests.servers.wait import until

DAEMONS = Path("/usr/lib/postfix/sbin")
START_SECONDS = 20
STOP_SECONDS = 5

MAIN = """
compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = {daemons}
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = /dev/stdout
myhostname = mail.walletq.example
inet_interfaces = {host}
inet_protocols = ipv4
mynetworks = {host}/32
mydestination =
local_recipient_maps =
virtual_mailbox_domains = static:every
virtual_mailbox_base = {folder}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
smtpd_relay_restrictions = permit_mynetworks, reject
{more}
"""
MASTER = """
{host}:{port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
tlsmgr    unix - - n 1000? 1 tlsmgr
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
proxymap  unix - - n - - proxymap
anvil     unix - - n - 1 anvil
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
postlog   unix-dgram n - n - 1 postlogd
"""
NOBODY = 65534


def why_not() -> str | None:
    """Why it cannot run here; None where it can."""
    if not (DAEMONS / "master").exists():
        return "Postfix is not installed: apt-get install postfix"
    if os.geteuid() != 0:
        return "Postfix's master process must be started by root"
    return None


@dataclass(frozen=True)
class Postfix:
    """The server at work."""

    port: int
    folder: Path

    def mails(self) -> list[EmailMessage]:
        """What has been delivered, oldest first."""
        arrived = sorted(self.folder.glob("inbox/new/*"), key=lambda path: path.stat().st_mtime_ns)
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in arrived]


@contextlib.asynccontextmanager
async def postfix(**settings: str) -> AsyncIterator[Postfix]:
    """A Postfix with these further settings of main.cf.

    Raises:
        CalledProcessError: Postfix does not like its configuration.
    """
    # Below /tmp: its daemons run as users who may not pass through a folder of pytest's.
    folder = Path(tempfile.mkdtemp(prefix="walletq-postfix-"))
    try:
        port = _configure(folder, settings)
        master = Child(
            "postfix",
            [DAEMONS / "master", "-c", folder / "etc", "-s"],
            log=folder / "postfix.log",
            kill_signal=signal.SIGTERM,  # then it ends its daemons
        )
        try:
            await until(lambda: _greets(port), START_SECONDS, f"Postfix to greet:\n{master.tail()}")
            yield Postfix(port, folder)
        except BaseException as error:
            error.add_note(f"--- the end of Postfix's log\n{master.tail(40)}")
            raise
        finally:
            await master.stop(STOP_SECONDS)
    finally:
        shutil.rmtree(folder)


def _configure(folder: Path, settings: dict[str, str]) -> int:
    """Write its files, and return its port."""
    folder.chmod(0o755)
    for name, owner in (("etc", "root"), ("queue", "root"), ("data", "postfix"), ("inbox", NOBODY)):
        (folder / name).mkdir(mode=0o755)
        shutil.chown(folder / name, owner)
    port = Ports(folder).take("smtp")
    more = "\n".join(f"{name} = {value}" for name, value in settings.items())
    values = {"folder": folder, "daemons": DAEMONS, "host": HOST, "port": port, "nobody": NOBODY, "more": more}
    (folder / "etc" / "main.cf").write_text(MAIN.format(**values))
    (folder / "etc" / "master.cf").write_text(MASTER.format(**values))
    subprocess.run(["postfix", "-c", folder / "etc", "check"], check=True, capture_output=True)
    return port


async def _greets(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        return (await reader.readline()).startswith(b"220")
    finally:
        writer.close()
