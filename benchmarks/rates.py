"""Whether the daemon holds one poll a second on a thousand healthy devices, each on a link of its own, on one core.

The devices are one process that listens on a thousand loopback addresses and counts the requests of each second. The
log of the daemon must name no lost device.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import Process, Queue
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._daemon import CONTEXT, Device, cpu_s, memory_mb, profile, serve_endpoint
from benchmarks._figures import Figure, table

DEVICES = 1000
WARM_UP_S = 8.0
MEASURED_S = 30.0


def serve_devices(ports: Queue[int], counts: Queue[tuple[float, int]]) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Device, "0.0.0.0", 0, backlog=2 * DEVICES)
        ports.put(server.sockets[0].getsockname()[1])
        while True:
            await asyncio.sleep(1)
            counts.put((time.monotonic(), Device.requests))

    asyncio.run(run())


def site(folder: Path, port: int, endpoint: int) -> Path:
    """A configuration with `DEVICES` devices, polled once a second."""
    (folder / "benchmark.toml").write_text(profile())
    devices = "".join(
        f'[[device]]\nnode_id = "m{number}"\ntype = "variable_power_load"\ndriver = "benchmark"\n'
        f'host = "127.1.{number // 250}.{number % 250 + 1}"\nport = {port}\n'
        for number in range(DEVICES)
    )
    path = folder / "config.toml"
    path.write_text(
        f'[site]\nnode_id = "B"\n[push]\nurl = "http://127.0.0.1:{endpoint}/"\ntoken = "t"\ninterval_s = 10\n'
        f'[outbox]\npath = "{folder}/outbox.sqlite3"\n[poll]\ninterval_s = 1\n'
        f'[drivers]\nprofile_dirs = ["{folder}"]\n[log]\nformat = "json"\n{devices}'
    )
    return path


def measure(config: Path, log: Path, counts: Queue[tuple[float, int]]) -> tuple[float, float, float]:
    """Run the daemon on one core. Return the share of the polls that were made, per cent of the core, and MB of PSS."""
    core = max(os.sched_getaffinity(0))
    with log.open("w") as file:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "agent", "run", "--config", str(config)],
            stderr=file,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
        )
        time.sleep(WARM_UP_S)
        before, started = cpu_s(daemon.pid), time.monotonic()
        time.sleep(MEASURED_S)
        cpu = 100 * (cpu_s(daemon.pid) - before) / (time.monotonic() - started)
        memory = memory_mb(daemon.pid, "Pss")
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
    seen = []
    while not counts.empty():
        seen.append(counts.get())
    seen = [each for each in seen if started <= each[0] <= started + MEASURED_S]
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    return (last - first) / (last_at - first_at) / DEVICES, cpu, memory


def figures() -> Iterator[Figure]:
    ports: Queue[int] = CONTEXT.Queue()
    endpoints: Queue[int] = CONTEXT.Queue()
    counts: Queue[tuple[float, int]] = CONTEXT.Queue()
    helpers: list[Process] = [
        CONTEXT.Process(target=serve_devices, args=(ports, counts), daemon=True),  # type: ignore[list-item]
        CONTEXT.Process(target=serve_endpoint, args=(endpoints,), daemon=True),  # type: ignore[list-item]
    ]
    for helper in helpers:
        helper.start()
    with TemporaryDirectory() as name:
        folder = Path(name)
        share, cpu, memory = measure(site(folder, ports.get(), endpoints.get()), folder / "log", counts)
        events = (folder / "log").read_text()
    for helper in helpers:
        helper.terminate()
    yield Figure(f"polls made with {DEVICES} devices on one core", 100 * share, "%", 99.5, "higher")
    yield Figure("  devices that were lost", events.count('"device_lost"'), "", 0)
    yield Figure("  CPU of the core", cpu, "%")
    yield Figure("  memory", memory, "MB PSS")


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
