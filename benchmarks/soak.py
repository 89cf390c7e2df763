"""The daemon for eight hours of its time, with faults of everything around it: memory, files and log must not grow."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.service.supervisor import collect_rarely
from tests.faults.disk import small_disk
from tests.support.compressed_loop import CompressedLoop
from tests.support.soak import Soak

HOURS = 8


async def soak(folder, state, hours, minutes):
    it = Soak(folder, state, small_disk=state.is_mount())
    rounds = []
    async with it.running():
        for number in range(hours):
            t = time.time(); c = time.process_time()
            await it.round(minutes)
            f = await it.figures()
            rounds.append(f)
            print(f"{f.hours:.2f} rss {f.rss_kib} blocks {f.blocks} objs {sum(f.objects.values())} fds {f.descriptors} tasks {f.tasks} threads {f.threads} disk {f.disk_bytes} log {f.log_bytes} real {time.time()-t:.1f} cpu {time.process_time()-c:.1f}", it.receiver.ledger, await it.counted(), it.renamed.ledger, flush=True)
    print(it.log.events)
    print(it.notified)
    print(it.log.defects[:3])
    a, b = rounds[0], rounds[-1]
    print((b.objects - a.objects).most_common(20))
    return it


def main() -> None:
    hours, minutes = int(sys.argv[1]) , int(sys.argv[2])
    collect_rarely()
    with TemporaryDirectory() as name:
        folder = Path(name)
        with small_disk(folder / "state") as state, asyncio.Runner(loop_factory=CompressedLoop) as runner:
            runner.run(soak(folder, state, hours, minutes))


if __name__ == "__main__":
    main()
