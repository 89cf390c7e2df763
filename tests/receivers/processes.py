"""CPU time and memory of a process and its descendants, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(root: int) -> float:
    """Return the CPU seconds of a process, its descendants, and those of its children that have ended."""
    stats = _stats()
    return sum(sum(map(int, stats[process][11:15])) for process in _family(root, stats)) / _TICKS  # utime to cstime


def memory_mb(root: int) -> float:
    """Return the memory of a process and its descendants that they do not share, in MB."""
    total = 0
    for process in _family(root, _stats()):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return total * 1024 / 1e6


def _stats() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the name, by process."""
    stats = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats[int(place.parent.name)] = place.read_text().rpartition(")")[2].split()
    return stats


def _family(root: int, stats: dict[int, list[str]]) -> list[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process, fields in stats.items():
        children[int(fields[1])].append(process)
    found = [root] if root in stats else []
    for process in found:
        found += children[process]  # the loop goes on with them
    return found
