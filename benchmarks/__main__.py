"""`make bench`: all figures with a floor, in one table. The exit status is 1 if a figure misses its floor.

`python -m benchmarks NAME …` runs single benchmarks, also those without floors. docs/benchmarks.md describes them.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module

from agent.runtime import logging_setup
from benchmarks._figures import Figure, table

SUITE = (
    "startup",
    "beside",
    "rates",
    "messages",
    "endpoints",
    "isolation",
    "delivery",
    "delivery_disk",
    "aggregate",
    "profiles",
    "hops",
)


def suite() -> int:
    """Run the suite. Return 1 if a floor is missed."""
    found: list[Figure] = []
    began = time.monotonic()
    for name in SUITE:
        at = time.monotonic()
        found += import_module(f"benchmarks.{name}").figures()
        print(f"{name}: {time.monotonic() - at:.0f} s", file=sys.stderr, flush=True)
    print(table(found))
    missed = [figure.name.strip() for figure in found if not figure.holds]
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"\n{time.monotonic() - began:.0f} s on {os.cpu_count()} cores, load {load}; Python {sys.version.split()[0]}")
    print(f"{len(missed)} floors missed: {'; '.join(missed)}" if missed else "all floors hold")
    return 1 if missed else 0


def main() -> None:
    logging_setup.configure("critical", "json")
    if not sys.argv[1:]:
        sys.exit(suite())
    for name in sys.argv[1:]:
        print(f"== {name}", flush=True)
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
