"""Progress of delivery: what ends in time is never stuck, what nobody works on is."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agent.config.push import PushConfig
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from agent.runtime.watchdog import STUCK_S, Watchdog


class LeapingClock:
    """Real time, and as much more as the test says."""

    leap_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.leap_s

    def time(self) -> float:
        return time.time() + self.leap_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def sender(folder: Path, clock: LeapingClock, watchdog: Watchdog, url: str) -> tuple[Sender, Outbox]:
    retry = {"initial_s": 0.02, "max_s": 0.02}
    config = PushConfig.model_validate({"url": url, "token": "t", "wait_for_clock_s": 0.0, "retry": retry})
    outbox = Outbox.open(folder / "outbox.sqlite3", max_age_s=1e6, max_size_mb=1, now=clock.time)
    return Sender(config, outbox, clock=clock, environ={}, user_agent="test", watchdog=watchdog), outbox


async def test_an_outage_is_progress(tmp_path: Path) -> None:
    clock = LeapingClock()
    watchdog = Watchdog(clock)
    push, outbox = sender(tmp_path, clock, watchdog, "http://127.0.0.1:9/")
    task = asyncio.create_task(push.run())
    for _ in range(3):
        wanted = push.stats.attempts + 3
        await push.submit([b'{"time": 1}'])
        async with asyncio.timeout(60):
            while push.stats.attempts < wanted or watchdog._due:  # noqa: ASYNC110 - between two attempts
                await asyncio.sleep(0.001)
        clock.leap_s += 2 * STUCK_S
        assert watchdog.overdue() == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await push.close()
    outbox.close()


async def test_a_push_that_never_ends_and_a_message_that_nobody_takes_are_stuck(tmp_path: Path) -> None:
    clock = LeapingClock()
    watchdog = Watchdog(clock)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    asked = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    push, outbox = sender(tmp_path, clock, watchdog, url)
    task = asyncio.create_task(push.run())
    await push.submit([b'{"time": 1}'])
    await asked.wait()
    assert watchdog.overdue() == []
    clock.leap_s = 30 + STUCK_S + 1  # and yet the attempt did not end after 30 s
    async with asyncio.timeout(60):
        while watchdog.overdue() != ["push"]:  # noqa: ASYNC110 - a call of the queue may be about to end
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert watchdog.overdue() == []

    await push.submit([b'{"time": 2}'])
    assert watchdog.overdue() == []
    clock.leap_s *= 2
    assert watchdog.overdue() == ["live push"]
    await push.stop(0)
    assert watchdog.overdue() == [], "a reload puts another sender in its place"
    await push.close()
    outbox.close()
    server.close()
    await server.wait_closed()
