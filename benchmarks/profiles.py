"""What the library of profiles costs a daemon that uses three of them, against one that has only those three.

Each measurement is a process of its own: time until the drivers are made, and the memory that their making took. What
it would cost to read all profiles is measured beside it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks._figures import Figure, table
from drivers.profile.loader import BUILT_IN

USED = ("eastron-sdm630", "huawei-sun2000", "keba-kecontact")
RUNS = 9

MEASURE = """
import json, sys, time, tracemalloc
from pathlib import Path
import drivers.profile.loader, drivers.registers, drivers.sunspec
from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
drivers.profile.BUILT_IN = Path(sys.argv[1])
names = sys.argv[2].split(",")
if sys.argv[3] == "memory":
    tracemalloc.start()
started = time.perf_counter()
catalogue = Catalogue()
made = [catalogue.create(name, ReadOptions()) for name in names]
took_s = time.perf_counter() - started
print(json.dumps([took_s, tracemalloc.get_traced_memory()[0] if sys.argv[3] == "memory" else 0]))
"""


def measure(folder: Path, names: list[str]) -> tuple[float, float]:
    """Milliseconds (the median) and MB."""

    def once(what: str) -> tuple[float, float]:
        command = [sys.executable, "-c", MEASURE, str(folder), ",".join(names), what]
        took_s, used = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        return 1000 * took_s, used / 1e6

    return median(once("time")[0] for _ in range(RUNS)), once("memory")[1]


def figures() -> Iterator[Figure]:
    everything = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
    used = [name for name in USED if name in everything]
    with TemporaryDirectory() as name:
        alone = Path(name)
        for each in used:
            shutil.copy(BUILT_IN / f"{each}.toml", alone)
        few_ms, few_mb = measure(alone, used)
        used_ms, used_mb = measure(BUILT_IN, used)
        all_ms, _ = measure(BUILT_IN, everything)
    yield Figure(f"time that the library of {len(everything)} profiles adds", used_ms - few_ms, "ms", 50)
    yield Figure("memory that the library adds", used_mb - few_mb, "MB", 5)
    yield Figure("read all profiles", all_ms, "ms")


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
