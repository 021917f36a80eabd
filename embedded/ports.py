"""Loopback ports that a folder keeps, so that a restarted stack has the same addresses."""

import json
import os
import random
import socket
from collections.abc import Collection
from pathlib import Path

HOST = "127.0.0.1"
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what servers do: TIME_WAIT does not matter
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


class Ports:
    """The ports of one folder, kept in `ports.json`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ports.json"

    def take(self, name: str) -> int:
        """The port of that name: the known one where it is free, else another, which is known from then on."""
        known = self._read()
        port = known.get(name)
        if port is None or not is_free(port):
            port = known[name] = _choose(set(known.values()))
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(known))
            os.replace(new, self._path)
        return port

    def _read(self) -> dict[str, int]:
        try:
            known = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: port for name, port in known.items() if isinstance(port, int)}


def _choose(taken: Collection[int]) -> int:
    # Below the range of outgoing connections: a client that keeps trying a dead server's port in that range
    # ends up connected to itself one day, and then holds the port against the server's return.
    for port in random.sample(range(LOWEST, HIGHEST), ATTEMPTS):
        if port not in taken and is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
