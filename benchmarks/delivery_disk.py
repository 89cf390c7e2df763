"""What one message costs the SD card: syncs and bytes, from `submit` to the acknowledgement written down.

Bytes are the kernel's own count of what the process caused to be written (`write_bytes` in /proc/PID/io: whole pages);
the file system's journal comes on top. Syncs are counted by strace, where it is installed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.runtime import logging_setup
from benchmarks._endpoint import BODY, Endpoint
from benchmarks._figures import Figure, table
from benchmarks.delivery import end, sender_on, until_delivered

MESSAGES = 500
WARM_UP = 20


def written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


async def deliver(path: Path, url: str, count: int) -> float:
    """KiB written for each of `count` messages, delivered one after the other."""
    outbox, sender = sender_on(path, url, 20)
    running = asyncio.create_task(sender.run())
    for number in range(WARM_UP):
        await sender.submit([BODY % number])
        await until_delivered(sender, number + 1)
    before = written()
    for number in range(count):
        await sender.submit([BODY % number])
        await until_delivered(sender, WARM_UP + number + 1)
    kib = (written() - before) / 1024 / max(1, count)
    await end(sender, running)
    outbox.close()
    return kib


def run(path: Path, url: str, count: int, *under: str) -> float:
    command = [*under, sys.executable, "-m", "benchmarks.delivery_disk", str(path), url, str(count)]
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def syncs(folder: Path, url: str, count: int) -> int:
    """How often a run of so many messages synced."""
    report = folder / "strace"
    run(folder / f"{count}.sqlite3", url, count, *("strace", "-f", "-c", "-o", str(report)), *("-e", "fsync,fdatasync"))
    columns = [line.split() for line in report.read_text().splitlines()]
    return sum(int(row[3]) for row in columns if row and row[-1] in ("fsync", "fdatasync"))


def figures() -> Iterator[Figure]:
    # On the disk of this checkout: /tmp may be memory.
    with TemporaryDirectory(dir=Path(__file__).parent) as name, Endpoint() as endpoint:
        folder = Path(name)
        yield Figure("written per message", run(folder / "io.sqlite3", endpoint.url, MESSAGES), "KiB", 16)
        if shutil.which("strace"):
            more = syncs(folder, endpoint.url, MESSAGES) - syncs(folder, endpoint.url, 0)
            yield Figure("syncs per message", more / MESSAGES, "", 2)


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        logging_setup.configure("critical", "json")
        print(json.dumps(asyncio.run(deliver(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
    else:
        main()
