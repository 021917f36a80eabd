"""What can go wrong with the embedded servers: what was found, where, and what to do about it."""

from pathlib import Path


class StackError(Exception):
    """An embedded server cannot start or go on. The message is for the operator; no traceback is needed.

    Attributes:
        what: what happened.
        where: the file or folder to look at, where there is one.
        advice: what to do, where that is known.
        details: the last lines of the server's log, where there is one.
        exit_code: what a command that meets it exits with.
    """

    exit_code = 3

    def __init__(
        self, what: str, *, where: Path | None = None, advice: str | None = None, details: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.advice = advice
        self.details = details
        super().__init__(self._message())

    def _message(self) -> str:
        lines = [self.what]
        if self.details:
            lines += ["  | " + line for line in self.details.splitlines()]
        if self.where:
            lines.append(f"See {self.where}")
        if self.advice:
            lines.append(self.advice)
        return "\n".join(lines)


class ServerStopped(StackError):
    """A child ended that should be running."""


class FolderInUse(StackError):
    """Another live process runs the servers of this folder."""

    exit_code = 1

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.pid = pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{folder} is in use: {holder} runs the servers of this folder",
            advice="Use what it started from this folder, or stop it first; another folder runs beside it.",
        )


class DownloadFailed(StackError):
    """Kafka's jars are not in the cache and cannot be fetched."""
