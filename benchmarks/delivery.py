"""Two days without an endpoint, and what follows: memory, start, the live message's delay, the pace of the backlog.

10 080 messages (7 days at one a minute) are submitted to the daemon's own Sender against a closed port, its clock
running faster. The queue that is left is then started with, and delivered to an endpoint in a process of its own;
beside it, in the same run, bare httpx posts the same bodies one after the other on one kept-alive connection.
"""
# ruff: noqa: ASYNC110 - the queue has no event

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.runtime import logging_setup
from benchmarks._endpoint import BODY, Endpoint
from benchmarks._figures import Figure, table

MESSAGES = 2 * 24 * 60
FACTOR = 60_000.0
LIVE_A_TURN = 20
LIVE_EVERY_S = 0.1
TURNS = 4
WARM_UP = 20
SLICE = 200
SLICES = 5
PACED_S = 10.0

STARTS = 3


class FastClock:
    """The clock of two simulated days: seconds that are shorter."""

    def monotonic(self) -> float:
        return time.monotonic() * FACTOR

    def time(self) -> float:
        return 1_700_000_000.0 + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / FACTOR)


def sender_on(path: Path, url: str, rate_per_s: float, clock: Any = None) -> tuple[Any, Any]:
    """The daemon's queue and sender."""
    from agent.config.push import PushConfig
    from agent.delivery.sender import Sender
    from agent.outbox.queue import Outbox
    from agent.runtime.clock import SystemClock

    clock = clock or SystemClock()
    outbox = Outbox.open(path, max_age_s=1e12, max_size_mb=64, now=clock.time)
    sender = Sender(
        PushConfig.model_validate({"url": url, "token": "t"}),
        outbox,
        backlog_rate_per_s=rate_per_s,
        clock=clock,
        environ={},
        user_agent="benchmark",
    )
    return outbox, sender


def memory_kb() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))


async def outage(path: Path, url: str) -> dict[str, float]:
    """Memory before and after two days without an endpoint."""
    clock = FastClock()
    outbox, sender = sender_on(path, url, 20, clock)
    running = asyncio.create_task(sender.run())
    sizes = []
    begun = time.monotonic()
    for number in range(MESSAGES):
        await sender.submit([BODY % number])
        await clock.sleep(60)
        if number % 500 == 499:
            sizes.append(memory_kb())
    seconds = time.monotonic() - begun
    waiting = outbox.counts().waiting
    await end(sender, running)
    outbox.close()
    assert waiting == MESSAGES
    return {"first_kb": sizes[0], "last_kb": sizes[-1], "seconds": seconds, "attempts": sender.stats.attempts}


async def start(path: Path, url: str) -> dict[str, float]:
    """Seconds from here to a delivered live message."""
    begun = time.monotonic()
    outbox, sender = sender_on(path, url, 20)
    running = asyncio.create_task(sender.run())
    await sender.submit([BODY % 0])
    await until_delivered(sender, 1)
    seconds = time.monotonic() - begun
    await end(sender, running)
    outbox.close()
    return {"seconds": seconds}


async def live(path: Path, url: str, rate_per_s: str, turns: str) -> dict[str, float]:
    """When each live message was submitted (monotonic seconds), by turns with and without a backlog before it; the
    endpoint knows when it arrived."""
    submitted: dict[str, float] = {}
    for turn in range(int(turns)):
        for kind, place in (("empty", path.with_name(f"{path.name}-empty-{turn}")), ("behind", path)):
            outbox, sender = sender_on(place, url, float(rate_per_s))
            running = asyncio.create_task(sender.run())
            await sender.submit([b"warm-up"])
            await asyncio.sleep(0.5)
            for number in range(LIVE_A_TURN):
                name = f"live-{kind}-{turn}-{number}"
                submitted[name] = time.monotonic()
                await sender.submit([name.encode() + BODY % number])
                await asyncio.sleep(LIVE_EVERY_S)
            assert kind == "empty" or outbox.counts().waiting > 100, "the backlog was gone too early"
            await end(sender, running)
            outbox.close()
    return submitted


async def paced(path: Path, url: str, rate_per_s: str) -> dict[str, float]:
    """Messages of the backlog delivered a second, at a configured pace."""
    outbox, sender = sender_on(path, url, float(rate_per_s))
    running = asyncio.create_task(sender.run())
    await sender.submit([b"the backlog waits for a live message"])
    await until_delivered(sender, 20)
    first, begun = sender.stats.delivered, time.monotonic()
    await asyncio.sleep(PACED_S)
    rate = (sender.stats.delivered - first) / (time.monotonic() - begun)
    await end(sender, running)
    outbox.close()
    return {"rate": rate}


async def unpaced(path: Path, url: str) -> dict[str, list[float]]:
    """Messages a second from the backlog without a pace, and by bare posts; slices of both by turns, because other work
    on the machine slows down both."""
    import httpx

    drained, posted = [], []
    async with httpx.AsyncClient(limits=httpx.Limits(keepalive_expiry=60), trust_env=False) as client:
        for _ in range(SLICES):
            outbox, sender = sender_on(path, url, 1e6)
            running = asyncio.create_task(sender.run())
            await sender.submit([b"the backlog waits for a live message"])
            drained.append(await rate(lambda count, sender=sender: until_delivered(sender, count)))  # type: ignore[misc]
            await end(sender, running)
            outbox.close()
            sent = Sent(client, url)
            absent = sys.modules.pop("sniffio", None)  # bare is httpx as it is: see `push_http`
            posted.append(await rate(sent.until))
            sys.modules["sniffio"] = absent  # type: ignore[assignment]  # None, as `push_http` entered it
    return {"drained": drained, "posted": posted}


class Sent:
    """Bare posts, one after the other."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url
        self._count = 0

    async def until(self, count: int) -> None:
        headers = {"Authorization": "Bearer t", "Content-Type": "application/json"}
        while self._count < count:
            response = await self._client.post(self._url, content=BODY % self._count, headers=headers)
            assert response.status_code == 204
            self._count += 1


async def rate(until: Callable[[int], Awaitable[None]]) -> float:
    """Messages a second, without the first: they open the connection."""
    await until(WARM_UP)
    begun = time.monotonic()
    await until(WARM_UP + SLICE)
    return SLICE / (time.monotonic() - begun)


async def until_delivered(sender: Any, count: int) -> None:
    while sender.stats.delivered < count:
        await asyncio.sleep(0.001)


async def end(sender: Any, running: asyncio.Task[None]) -> None:
    await sender.stop(2.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await sender.close()


PARTS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    part.__name__: part for part in (outage, start, live, paced, unpaced)
}


def run(part: str, path: Path, url: str, *arguments: object) -> dict[str, Any]:
    """One part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.delivery", part, str(path), url, *map(str, arguments)]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def delays(endpoint: Endpoint, path: Path, rate_per_s: float, turns: int) -> tuple[float, float]:
    """Median milliseconds from `submit` to the endpoint, without a backlog and with one that is delivered meanwhile."""
    submitted = run("live", path, endpoint.url, rate_per_s, turns)
    arrived = endpoint.arrivals()
    took = {name: 1000 * (arrived[name] - at) for name, at in submitted.items()}
    empty, behind = (statistics.median(took[name] for name in took if kind in name) for kind in ("empty", "behind"))
    endpoint.forget()
    return empty, behind


def figures() -> Iterator[Figure]:
    with TemporaryDirectory() as name, Endpoint() as endpoint:
        folder = Path(name)
        full = folder / "full.sqlite3"
        days = run("outage", full, "http://127.0.0.1:9/")
        yield Figure("memory growth in two days without endpoint", (days["last_kb"] - days["first_kb"]) / 1024, "MB", 5)

        def copy() -> Path:
            return Path(shutil.copy(full, folder / f"{time.monotonic_ns()}.sqlite3"))

        with_backlog = statistics.median(run("start", copy(), endpoint.url)["seconds"] for _ in range(STARTS))
        without = statistics.median(
            run("start", folder / f"empty-{n}.sqlite3", endpoint.url)["seconds"] for n in range(STARTS)
        )
        yield Figure("start to a delivered message, with this backlog - without", with_backlog - without, "s", 2)
        empty, behind = delays(endpoint, copy(), 20, TURNS)
        yield Figure("live delay, backlog at 20/s / no backlog", behind / empty, "x", 1.2)
        paced = run("paced", copy(), endpoint.url, 20)["rate"]
        yield Figure("backlog at backlog_rate_per_s = 20", paced, "/s", 19.5, "higher")
        rates = run("unpaced", copy(), endpoint.url)
        ratio = statistics.median(ours / bare for ours, bare in zip(rates["drained"], rates["posted"], strict=True))
        yield Figure("backlog without limit / sequential httpx posts", ratio, "x", 0.6, "higher")


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        logging_setup.configure("critical", "json")
        print(json.dumps(asyncio.run(PARTS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:]))))  # type: ignore[arg-type]
    else:
        main()
