"""The cache of Kafka's jars: whole, or filled first.

`python -m embedded.jars` fills it, so that everything works without a network afterwards.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from embedded.download import Fetch, Stopped, download, fetch_with_jgo
from embedded.errors import DownloadFailed
from embedded.pins import Jar, pinned_jars

ADVICE = (
    "Start again where the network allows it, or use a Kafka that you have: WALLETQ_KAFKA_BOOTSTRAP_SERVERS=host:9092"
)

Report = Callable[[str], None]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where downloads are kept: WALLETQ_CACHE, else the user's cache folder."""
    if folder := environ.get("WALLETQ_CACHE"):
        return Path(folder).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("walletq", appauthor=False)


async def kafka_jars(report: Report, cache: Path | None = None, fetch: Fetch = fetch_with_jgo) -> list[Path]:
    """The paths of all jars, whole and in order; what is missing or damaged is fetched first.

    No network is touched when the cache is whole.

    Args:
        report: is told of a download.
        cache: where the jars are kept; `cache_folder` where it is left out.
        fetch: gets one jar from elsewhere.

    Raises:
        DownloadFailed: something is missing and cannot be fetched.
    """
    stopped = threading.Event()
    folder = cache_folder(os.environ) if cache is None else cache
    try:
        return await asyncio.to_thread(_fill, folder / "kafka", report, fetch, stopped)
    finally:
        stopped.set()  # the thread cannot be ended from here, but it looks at this between two blocks


def _fill(cache: Path, report: Report, fetch: Fetch, stopped: threading.Event) -> list[Path]:
    jars = pinned_jars()
    try:
        if missing := _missing(jars, cache):
            cache.mkdir(parents=True, exist_ok=True)
            with _only_one(cache, report, stopped):
                if missing := _missing(missing, cache):  # another process may have fetched them meanwhile
                    size = sum(jar.size for jar in missing) / 1e6
                    report(f"Downloading Kafka, once: {len(missing)} jars, {size:.1f} MB, into {cache}")
                    download(missing, cache, fetch, stopped)
    except (OSError, RuntimeError) as error:
        raise DownloadFailed(f"Kafka is not in {cache} and cannot be fetched: {error}", advice=ADVICE) from error
    return [cache / jar.file_name for jar in jars]


def _missing(jars: list[Jar], cache: Path) -> list[Jar]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = pool.map(lambda jar: jar.is_whole(cache / jar.file_name), jars)
        return [jar for jar, is_whole in zip(jars, whole, strict=True) if not is_whole]


@contextlib.contextmanager
def _only_one(cache: Path, report: Report, stopped: threading.Event) -> Iterator[None]:
    """Only one process downloads; the others wait for it."""
    with (cache / "lock").open("w") as lock:
        waiting = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    report("Another process is downloading Kafka; waiting for it")
                    waiting = True
                if stopped.wait(0.1):
                    raise Stopped from None
        for leftover in cache.glob("download-*"):  # of a process that was killed: we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        yield


if __name__ == "__main__":
    try:
        asyncio.run(kafka_jars(functools.partial(print, file=sys.stderr)))
    except DownloadFailed as problem:
        sys.exit(str(problem))
