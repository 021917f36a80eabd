"""`python -m tests.simulation`: many seeds on all processors, or one plan again."""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from rich.progress import track

from tests.simulation.plan import plan_of_json, plan_of_seed
from tests.simulation.report import Tally, story
from tests.simulation.silence import silence
from tests.simulation.world import play

CHUNK = 50


def play_seeds(seeds: range) -> Tally:
    """Play the plans of these seeds."""
    silence()
    tally = Tally()
    for seed in seeds:
        tally.add(seed, play(plan_of_seed(seed)))
    return tally


def main() -> int:
    """1 where a plan fails, 2 for a wrong plan."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a processor)")
    parser.add_argument("--until-violation", action="store_true", help="stop at the first failure, unexplained")
    parser.add_argument("--plan", help="replay this plan, as a failure has printed it")
    wanted = parser.parse_args()
    silence()
    if wanted.plan is not None:
        try:
            plan = plan_of_json(wanted.plan)
        except ValueError as error:
            parser.error(str(error))
        outcome = play(plan, traced=True)
        print("\n".join(outcome.trace))
        print(outcome.violation or "no violation")
        return 1 if outcome.violation else 0
    began = time.monotonic()
    tally = Tally()
    end = wanted.start + wanted.seeds
    chunks = [range(first, min(first + CHUNK, end)) for first in range(wanted.start, end, CHUNK)]
    with ProcessPoolExecutor(wanted.jobs) as pool:
        for done in track(pool.map(play_seeds, chunks), "simulating", len(chunks), disable=not sys.stderr.isatty()):
            tally.merge(done)
            if tally.failed and wanted.until_violation:
                pool.shutdown(cancel_futures=True)
                break
    print(f"{tally} in {time.monotonic() - began:.0f} s")
    for seed in [] if wanted.until_violation else tally.failed[:3]:
        print(f"\nseed {seed}: {story(plan_of_seed(seed))}")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
