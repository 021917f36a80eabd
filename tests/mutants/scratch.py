"""A copy of the project with one mutant in it, and what its tests say."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.mutants.mutants import SIMULATION, Mutant

PROJECT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "docs", "*.egg-info", "dist", "build")
SEEDS = 3_000
LONGEST_SECONDS = 600

Verdict = Literal["killed", "survived", "broken"]
"broken: the tests could not even run, which says nothing."


class WrongMutantError(Exception):
    """The file does not say what the mutant is to change, or not exactly once."""


@contextmanager
def scratch(mutant: Mutant | None) -> Iterator[Path]:
    """A copy of the project; None for one that is as it should be.

    Raises:
        WrongMutantError: the code has changed, and the list of mutants has not.
    """
    with tempfile.TemporaryDirectory(prefix="walletq-mutant-") as folder:
        copy = Path(folder) / "walletq"
        shutil.copytree(PROJECT, copy, ignore=LEFT_OUT)
        if mutant is not None:
            file = copy / mutant.file
            text = file.read_text()
            if text.count(mutant.before) != 1:
                raise WrongMutantError(
                    f"{mutant.name}: {mutant.file} says {text.count(mutant.before)} times what it changes"
                )
            file.write_text(text.replace(mutant.before, mutant.after))
        yield copy


def judge(copy: Path, seen_by: str) -> tuple[Verdict, str]:
    """Whether the tests see that something is wrong, and the end of what they say."""
    if seen_by == SIMULATION:
        command = [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS), "--until-violation"]
    else:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *seen_by.split()]
    environ = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=copy, env=environ, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    if done.returncode == 0:
        return "survived", said
    failed = "violations" in said if seen_by == SIMULATION else done.returncode == 1 and " failed" in said
    return "killed" if failed else "broken", said
