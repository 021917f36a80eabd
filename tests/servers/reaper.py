"""Removes the containers, volumes and networks of a test session when its process is gone, whatever ended it.

    python -m tests.servers.reaper SESSION < PIPE

It waits for the other end of the pipe to close, which even SIGKILL does. A session is named by host, pid and start
of its process, so that a later one can also tell what nobody will remove any more, and by a number of its own: a
process can have several.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import docker  # type: ignore[import-untyped]
import psutil

from tests.servers.session import MARK

LABEL = "walletq.tests"
LAST_LOOK_SECONDS = 2
STOP_SECONDS = 30


@contextlib.contextmanager
def removing() -> Iterator[str]:
    """The value of LABEL for what is to be removed at the end of the block, or when this process is gone."""
    remove_stale()
    session = f"{_process(psutil.Process())}/{uuid.uuid4().hex[:8]}"
    reaper = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.reaper", session],
        stdin=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != MARK},
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        start_new_session=True,  # Ctrl-C is for us alone
    )
    try:
        yield session
    finally:
        reaper.communicate(b"done", timeout=STOP_SECONDS)


def remove_stale() -> None:
    """Remove what sessions on this host have left behind whose process is gone."""
    with contextlib.closing(docker.from_env()) as client:
        filters = {"label": LABEL}
        found = {one.labels[LABEL] for one in client.containers.list(all=True, filters=filters)}
        found |= {one.attrs["Labels"][LABEL] for one in client.volumes.list(filters=filters)}
        found |= {one.attrs["Labels"][LABEL] for one in client.networks.list(filters=filters)}
    for session in found:
        if session.split("/")[0] == socket.gethostname() and not _is_alive(session):
            remove(session)


def remove(session: str) -> None:
    """Remove the containers of a session with their volumes, then its named volumes and its networks."""
    with contextlib.closing(docker.from_env()) as client:
        filters = {"label": f"{LABEL}={session}"}
        for container in client.containers.list(all=True, filters=filters):
            with contextlib.suppress(docker.errors.APIError):  # somebody else removes it in the same moment
                container.remove(force=True, v=True)
        for other in (*client.volumes.list(filters=filters), *client.networks.list(filters=filters)):
            with contextlib.suppress(docker.errors.APIError):
                other.remove()


def main(session: str) -> None:
    """Wait for the session's end."""
    in_good_order = sys.stdin.buffer.read() == b"done"
    remove(session)
    if not in_good_order:
        time.sleep(LAST_LOOK_SECONDS)  # the engine may still have been creating one
        remove(session)


def _process(process: psutil.Process) -> str:
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.0f}"


def _is_alive(session: str) -> bool:
    try:
        return _process(psutil.Process(int(session.split("/")[1]))) == session.rpartition("/")[0]
    except psutil.Error:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
