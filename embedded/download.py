"""Download pinned jars: several at once, checked, moved into the cache only when whole."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from embedded.pins import Jar, artifact

AT_ONCE = 4
ATTEMPTS = 3
TIMEOUT_SECONDS = 20

Count = Callable[[int], None]
"Is told the bytes as they arrive."
Fetch = Callable[[str, Path, Count], Path]
"Fetches a coordinate into a folder and returns the file's path; OSError or RuntimeError where it cannot."
Advance = Callable[[int, int], None]
"Is told the bytes and the whole jars that have arrived since the last call."


class Stopped(RuntimeError):
    """Nobody waits for the download any more."""


def download(jars: Sequence[Jar], cache: Path, fetch: Fetch, stopped: threading.Event, *, what: str = "Kafka") -> None:
    """Fetch them all into the cache.

    Args:
        what: they are, for the progress bar.

    Raises:
        OSError, RuntimeError: one of them cannot be fetched; what is whole stays in the cache.
    """
    with (
        _progress_bar(jars, what) as advance,
        tempfile.TemporaryDirectory(dir=cache, prefix="download-") as temporary,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        largest_first = sorted(jars, key=lambda jar: -jar.size)
        futures = [
            pool.submit(_fetch_whole, jar, cache, Path(temporary), fetch, advance, stopped) for jar in largest_first
        ]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_whole(
    jar: Jar, cache: Path, temporary: Path, fetch: Fetch, advance: Advance, stopped: threading.Event
) -> None:
    """Fetch one jar beside the cache, check it, and only then move it in."""
    problem = ""
    for attempt in range(ATTEMPTS):
        arrived = 0

        def count(size: int) -> None:
            nonlocal arrived
            if stopped.is_set():
                raise Stopped
            arrived += size
            advance(size, 0)

        try:
            count(0)
            path = fetch(jar.coordinate, temporary / f"{jar.file_name}.{attempt}", count)
            if jar.is_whole(path):
                os.replace(path, cache / jar.file_name)
                advance(0, 1)
                return
            problem = f"what arrived is not the pinned file (sha256 {jar.sha256})"
        except Stopped:
            raise
        except (OSError, RuntimeError) as error:
            problem = str(error) or type(error).__name__
        advance(-arrived, 0)
    raise RuntimeError(f"{jar.coordinate}: {problem}")


def fetch_with_jgo(coordinate: str, folder: Path, count: Count) -> Path:
    """Fetch one artifact from Maven's central repository."""
    from jgo.maven import MavenContext, PythonResolver

    @contextlib.contextmanager
    def progress(_name: str, _size: int) -> Iterator[Count]:
        yield count

    resolver = PythonResolver(progress_callback=progress)
    context = MavenContext(resolver=resolver, repo_cache=folder, timeout=TIMEOUT_SECONDS)
    path: Path = artifact(context, coordinate).resolve()
    return path


@contextlib.contextmanager
def _progress_bar(jars: Sequence[Jar], what: str) -> Iterator[Advance]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[whole]}/{task.fields[jars]} jars"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("jars", total=sum(jar.size for jar in jars), whole=0, jars=len(jars))
        whole = 0
        counting = threading.Lock()

        def advance(size: int, more: int) -> None:
            nonlocal whole
            with counting:
                whole += more
                bar.update(task, advance=size, whole=whole)

        yield advance
