"""What a further endpoint costs: the daemon of `daemon_load` with one endpoint and with two, in turn.

Both endpoints receive the device types of 50 devices every 5 s. The floors: 1.2 x the CPU of one endpoint, 3 MB more
memory, and the same number of requests to devices.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from multiprocessing import Process, Queue
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.daemon_load import _CONTEXT, DEVICES, measure, serve_devices, serve_endpoint, site

ROUNDS = 2


def run(ports: list[int], endpoint: int, endpoints: int, counts: Queue[int]) -> tuple[float, float, float]:
    """Per cent of one core, MB of PSS, and requests to devices a second."""
    with TemporaryDirectory() as name:
        config = site(Path(name), ports, endpoint, endpoints)
        command = [sys.executable, "-m", "agent", "run", "--config", str(config)]
        daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        cpu, memory = measure(daemon.pid)
        seen = []
        while not counts.empty():
            seen.append(counts.get())
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)
    return cpu, memory, median(seen)


def main() -> None:
    ports_queue: Queue[list[int]] = _CONTEXT.Queue()
    counts: Queue[int] = _CONTEXT.Queue()
    endpoint_queue: Queue[int] = _CONTEXT.Queue()
    helpers: list[Process] = [
        _CONTEXT.Process(target=serve_devices, args=(ports_queue, counts), daemon=True),  # type: ignore[list-item]
        _CONTEXT.Process(target=serve_endpoint, args=(endpoint_queue,), daemon=True),  # type: ignore[list-item]
    ]
    for helper in helpers:
        helper.start()
    ports, endpoint = ports_queue.get(), endpoint_queue.get()
    runs: dict[int, list[tuple[float, float, float]]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for endpoints, found in runs.items():
            found.append(run(ports, endpoint, endpoints, counts))
    for helper in helpers:
        helper.terminate()
    means = {endpoints: [sum(each) / ROUNDS for each in zip(*found, strict=True)] for endpoints, found in runs.items()}
    for endpoints, (cpu, memory, requests) in means.items():
        print(
            f"{DEVICES} devices, endpoints: {endpoints}: {cpu:.2f} % of one core, {memory:.1f} MB, {requests:g} req/s"
        )
    (cpu_1, memory_1, _), (cpu_2, memory_2, _) = means[1], means[2]
    print(f"a further endpoint: {cpu_2 / cpu_1:.2f} x the CPU (at most 1.2)")
    print(f"and {memory_2 - memory_1:.1f} MB more (at most 3)")


if __name__ == "__main__":
    main()
