"""What processes use: processor time and memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

Roots = Mapping[str, Sequence[int]]
"Process ids by a name; their children, and the children of these, count with them."


class Memory(NamedTuple):
    """Resident memory of a process."""

    process: str
    peak_mb: float | None
    "None where the system does not tell."
    final_mb: float

    @property
    def most_mb(self) -> float:
        """The peak, as far as it is known."""
        return self.peak_mb or self.final_mb


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of the processes and of all that they have started, whether it has ended or not."""
    total = 0.0
    for process in _tree(pids):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def cpu_seconds_of(roots: Roots) -> dict[str, float]:
    """The same for each name."""
    return {name: cpu_seconds(pids) for name, pids in roots.items()}


def memory(pids: Iterable[int]) -> list[Memory]:
    """Of each of the processes, and of those that they have started; largest first."""
    found = []
    for process in _tree(pids):
        try:
            found.append(Memory(process.name(), _peak_mb(process.pid), process.memory_info().rss / 1e6))
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda one: -one.final_mb)


def alive(pids: Iterable[int]) -> bool:
    """Whether all of these processes run."""
    try:
        return all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    except psutil.NoSuchProcess:
        return False


def _tree(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        try:
            process = psutil.Process(pid)
            yield from (process, *process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue


def _peak_mb(pid: int) -> float | None:
    """The high-water mark, as Linux has it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)
