"""Runs the daemon for eight simulated hours, with faults of endpoints, devices and disk in each hour.

The bounds: memory, descriptors, tasks, files and log grow little from hour to hour, and every message is accepted once
or counted. The time jumps, so this takes some minutes. `python -m benchmarks.soak 24` simulates 24 hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.service.supervisor import collect_rarely
from benchmarks._figures import Figure, table
from tests.faults.disk import small_disk
from tests.support.simulated_loop import SimulatedLoop
from tests.support.soak import BOUNDS, Figures, Soak, growth
from tests.support.soak_peers import ACCEPTANCES, FAILURES

HOURS = 8
WARM_UP_H = 2
# The agent's own memory does not grow (see `blocks of memory`). The growth is free memory that malloc cannot return,
# because the eight reloads and the answers of an hour fragment it. It grows less from hour to hour.
RSS_KIB_PER_H = 512
# An hour has about 60 events of 200 bytes: the log has at most five repeats of an event, and one report.
LOG_KIB_PER_H = 24


@contextlib.contextmanager
def disk_for(folder: Path) -> Iterator[Path]:
    """Yield a directory on a small disk of its own. Without root, it is on the disk of `folder`."""
    if os.geteuid() == 0:
        with small_disk(folder) as state:
            yield state
        return
    print("no root: the disk is not filled")
    folder.mkdir()
    yield folder


async def run(folder: Path, state: Path, hours: int) -> list[Figure]:
    soak = Soak(folder, state, small_disk=os.geteuid() == 0)
    figures = []
    async with soak.running():
        for _ in range(hours):
            await soak.round(60)
            figures.append(await soak.figures())
            print(_line(figures[-1]), flush=True)
        left = await soak.counted()
    before, after = figures[WARM_UP_H - 1], figures[-1]
    passed = after.hours - before.hours
    ledger = soak.receiver.ledger
    return [
        Figure("memory (RSS)", (after.rss_kib - before.rss_kib) / passed, "KiB/h", RSS_KIB_PER_H),
        *(Figure(name, grown, "", BOUNDS[name]) for name, grown in growth(before, after).items()),
        Figure("log", (after.log_bytes - before.log_bytes) / passed / 1024, "KiB/h", LOG_KIB_PER_H),
        Figure("messages", ledger.stored),
        Figure("accepted", ledger.accepted),
        *(Figure(name, count) for name, count in left.items()),
        Figure("neither accepted nor counted", ledger.stored - ledger.accepted - sum(left.values()), "", 0),
        Figure("accepted twice", ledger.twice + soak.renamed.ledger.twice, "", 0),
        Figure("kinds of answers that were met", len(soak.receiver.met), "", len(FAILURES + ACCEPTANCES), "higher"),
        Figure("defects in the log", len(soak.log.defects), "", 0),
    ]


def _line(at: Figures) -> str:
    return (
        f"{at.hours:4.0f} h: {at.rss_kib / 1024:.1f} MiB, {at.blocks} blocks, {at.objects.total()} objects, "
        f"{at.descriptors} descriptors, {at.tasks} tasks, {at.threads} threads, "
        f"{at.disk_bytes / 1024:.0f} KiB of files, {at.log_bytes / 1024:.1f} KiB of log"
    )


def main() -> None:
    given = sys.argv[1:]
    hours = int(given[0]) if given and given[0].isdecimal() else HOURS
    collect_rarely()
    with (
        TemporaryDirectory() as name,
        disk_for(Path(name, "state")) as state,
        asyncio.Runner(loop_factory=SimulatedLoop) as runner,
    ):
        print(table(runner.run(run(Path(name), state, hours))))


if __name__ == "__main__":
    main()
