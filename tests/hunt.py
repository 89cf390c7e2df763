"""Runs the property tests and the tests with seeds at random until the time is up; `make hunt` starts it.

    python -m tests.hunt --minutes 10 [--seed N] [PYTEST ARGUMENT ...]

A round runs each of these tests once, with a seed of its own. The first round with a failure ends the hunt, exit status
1. Its output says what to commit: an `@example` or `@reproduce_failure` for a property, a further number in
`@pytest.mark.seeds` for the others. `--seed` repeats one round.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time

SELECTED = "hypothesis or seeds"
SEED = "HUNT_SEED"
"""Set in a hunt, the same for all workers of a round: `conftest` draws the seeds of `@pytest.mark.seeds` from it."""
UNTIL = "HUNT_UNTIL"
"""Unix seconds; no test of a round starts later."""
NOTHING_RAN = 5
"""Exit status of pytest."""


def command(seed: int, arguments: list[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", "--quiet", "--maxfail=1", "-rfE", "--numprocesses=2", "--dist=worksteal"),
        *("-m", SELECTED, "--hypothesis-profile=hunt", f"--hypothesis-seed={seed}", *arguments),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="hunt", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="repeat one round")
    options, arguments = parser.parse_known_args()
    until = time.time() + 60 * options.minutes
    rounds = 0
    while rounds == 0 or (time.time() < until and options.seed is None):
        rounds += 1
        seed = random.randrange(1 << 32) if options.seed is None else options.seed
        environ = os.environ | {SEED: str(seed), UNTIL: "inf" if options.seed is not None else str(until)}
        print(f"hunt: round {rounds}, seed {seed}", flush=True)
        status = subprocess.run(command(seed, arguments), env=environ, check=False).returncode
        if status:
            print(
                f"hunt: round {rounds} failed. To repeat it: python -m tests.hunt --seed {seed}\n"
                "To commit: the @example of the falsifying arguments above (or the @reproduce_failure line), or the\n"
                "seed in the name of the failed test as a further number of its @pytest.mark.seeds.",
                flush=True,
            )
            return 1 if status != NOTHING_RAN else status
    print(f"hunt: {rounds} rounds, no failure")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
