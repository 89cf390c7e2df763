"""A real Sender with a real outbox for tests of delivery, and a clock that can run fast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from agent.config.push import PushConfig
from agent.delivery.outcome import Outcome
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from agent.outbox.record import Record
from agent.runtime.clock import Clock

TOKEN = "a-token-that-nobody-may-read"
FAST = {"initial_s": 0.01, "max_s": 0.02}

UP_S = 1e6
"""Seconds since boot at the start: enough for the agent to trust the wall clock."""


class FastClock:
    """A clock that is `factor` times as fast as the event loop. It begins at `start`, in Unix seconds."""

    def __init__(self, factor: float, start: float = 1_700_000_000.0) -> None:
        self._factor = factor
        self._start = start
        self._now = asyncio.get_running_loop().time
        self._begun = self._now()

    def monotonic(self) -> float:
        return UP_S + (self._now() - self._begun) * self._factor

    def time(self) -> float:
        return self._start + self.monotonic() - UP_S

    def leap(self, seconds: float) -> None:
        """Advance the time in one step, which no sleep notices."""
        self._begun -= seconds / self._factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._factor)


@dataclass(slots=True)
class Sending:
    """A sender, and the outcomes of its attempts."""

    sender: Sender
    outbox: Outbox
    outcomes: list[tuple[Record, Outcome]] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)
    """Log events of structlog."""

    async def submit(self, *bodies: bytes) -> None:
        await self.sender.submit(list(bodies))

    async def attempt(self, body: bytes) -> Outcome:
        """Store one message and send it once. Use only with `run=False`."""
        await self.sender.submit([body])
        (record,) = self.outbox.live()
        return await self.sender._endpoint.post(record, 0)

    @property
    def kinds(self) -> list[str]:
        return [type(outcome).__name__ for _, outcome in self.outcomes]

    @property
    def waiting(self) -> int:
        return self.outbox.counts().waiting

    async def all_delivered(self, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while self.waiting or self.sender._attempts.in_flight:  # noqa: ASYNC110 - the queue has no event
                await asyncio.sleep(0.005)


@asynccontextmanager
async def at_work(sender: Sender, outbox: Outbox, *, run: bool = True) -> AsyncIterator[None]:
    """Run the sender until the block ends. Then close sender and outbox."""
    running = asyncio.create_task(sender.run() if run else asyncio.sleep(0))
    try:
        yield
    finally:
        await sender.stop(1.0)
        running.cancel()
        results = await asyncio.gather(running, return_exceptions=True)
        await sender.close()
        outbox.close()
    assert not isinstance(results[0], Exception), results


@asynccontextmanager
async def sending(
    folder: Path,
    url: str,
    *,
    clock: Clock | None = None,
    run: bool = True,
    rate_per_s: float = 1000.0,
    push: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Sending]:
    """Deliver to `url` until the block ends. `push` and `more` have keys of [push].

    Raises AssertionError if a log event contains the token.
    """
    clock = clock or FastClock(1.0, time.time())
    outbox = Outbox.open(folder / "outbox.sqlite3", max_age_s=1e9, max_size_mb=8, now=clock.time)
    defaults = {
        "token": TOKEN,
        "retry": FAST,
        "interval_s": 1,
        "timeout_s": 10,
        "connect_timeout_s": 10,
        "wait_for_clock_s": 0,
    }
    settings = {"url": url} | defaults | dict(push or {}) | more
    outcomes: list[tuple[Record, Outcome]] = []
    sender = Sender(
        PushConfig(**settings),
        outbox,
        backlog_rate_per_s=rate_per_s,
        clock=clock,
        environ={},
        user_agent="telemetry-push-agent/0",
        on_outcome=lambda record, outcome: outcomes.append((record, outcome)),
    )
    with capture_logs() as logs:
        async with at_work(sender, outbox, run=run):
            yield Sending(sender, outbox, outcomes, logs)
    assert TOKEN not in repr(logs) + repr(outcomes) + repr(sender)
