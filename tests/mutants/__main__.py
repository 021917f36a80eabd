"""`python -m tests.mutants`: breaks a copy of walletq, one mistake at a time, and shows that the tests see each."""

import argparse
import sys
import time
from subprocess import TimeoutExpired

from tests.mutants.mutants import MUTANTS
from tests.mutants.scratch import WrongMutantError, judge, scratch

SHOWN_LINES = 15


def main() -> int:
    """1 where a mutant survives, or where the tests fail on the project as it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="words of the mutants' names; all of them where none is given")
    parser.add_argument("--list", action="store_true", help="name them, and run nothing")
    wanted = parser.parse_args()
    mutants = [m for m in MUTANTS if not wanted.names or any(name in m.name for name in wanted.names)]
    if wanted.list:
        print("\n".join(f"{mutant.name}  [{mutant.seen_by}]" for mutant in mutants))
        return 0
    bad = explained = 0
    for seen_by in dict.fromkeys(mutant.seen_by for mutant in mutants):
        with scratch(None) as copy:
            verdict, said = judge(copy, seen_by)
        print(f"{'without a mutant':<80} {seen_by}: {'passes' if verdict == 'survived' else 'FAILS'}", flush=True)
        if verdict != "survived":
            print("\n".join(said.splitlines()[-SHOWN_LINES:]))
            return 1
    for mutant in mutants:
        began = time.monotonic()
        try:
            with scratch(mutant) as copy:
                verdict, said = judge(copy, mutant.seen_by)
        except (WrongMutantError, TimeoutExpired) as error:
            verdict, said = "broken", str(error)
        print(f"{mutant.name:<80} {mutant.seen_by}: {verdict} in {time.monotonic() - began:.0f} s", flush=True)
        if verdict == "survived" and mutant.explained:
            print(f"    {mutant.explained}", flush=True)
            explained += 1
        elif verdict != "killed":
            bad += 1
            print("\n".join(said.splitlines()[-SHOWN_LINES:]), flush=True)
    killed = len(mutants) - bad - explained
    print(f"{killed} of {len(mutants)} mutants killed, {explained} survived as explained, {bad} otherwise")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
