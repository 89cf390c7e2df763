"""Whether 200 messages a push arrive in time at an endpoint that is 100 or 300 ms away, with the default settings.

The daemon's queue and sender in this process, an endpoint in another one. The figure is how old the values of the last
message are when it arrives: the time since the tick of its push.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.config.push import PushConfig
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from agent.runtime.clock import SystemClock
from benchmarks._endpoint import Endpoint
from benchmarks._figures import Figure, table

NODES = 200
LEAST_S = 1.0


async def ages_s(path: Path, endpoint: Endpoint, interval_s: int, ticks: int) -> list[float]:
    """Return the age of each message of the last `ticks` pushes at its arrival. A first push warms up."""
    clock = SystemClock()
    outbox = Outbox.open(path, max_age_s=1e12, max_size_mb=64, now=clock.time)
    settings = {"url": endpoint.url, "token": "t", "interval_s": interval_s, "wait_for_clock_s": 0}
    sender = Sender(PushConfig.model_validate(settings), outbox, clock=clock, environ={}, user_agent="benchmark")
    running = asyncio.create_task(sender.run())
    begun: list[float] = []
    for tick in range(ticks + 1):
        begun.append(time.monotonic())
        nodes = NODES if tick else 1
        await sender.submit([b"live-%d-%d{}" % (tick, node) for node in range(nodes)])
        until = begun[-1] + (min(interval_s, 20) if tick else LEAST_S)
        await asyncio.sleep(max(0.0, until - time.monotonic()))
    await sender.stop(1.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await sender.close()
    outbox.close()
    arrived = {tuple(map(int, name.split("-")[1:])): at for name, at in endpoint.arrivals().items()}
    never = float("inf")
    return [arrived.get((tick, n), never) - begun[tick] for tick in range(1, ticks + 1) for n in range(NODES)]


def figures() -> Iterator[Figure]:
    for interval_s, round_trip_s, ticks, floor_s in ((5, 0.1, 3, 6.0), (60, 0.3, 1, 20.0)):
        with TemporaryDirectory() as name, Endpoint(round_trip_s) as endpoint:
            ages = asyncio.run(ages_s(Path(name) / "outbox.sqlite3", endpoint, interval_s, ticks))
        what = f"{NODES} messages every {interval_s} s, {1000 * round_trip_s:.0f} ms away: age at the arrival"
        yield Figure(what, max(ages), "s", floor_s)


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
