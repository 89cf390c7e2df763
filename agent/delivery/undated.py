"""Messages that are stored before anybody knows the time, and their dates once it is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from agent.config.push import PushConfig
from agent.contract.payload import with_time
from agent.delivery.dating import Now, dated
from agent.delivery.http_client import encoded
from agent.delivery.outbox_executor import OutboxExecutor
from agent.delivery.outcome_handler import DeliveryStats
from agent.outbox.queue import Outbox, Record
from agent.runtime.clock import Clock, sleep_unless
from agent.runtime.clock_sync import ClockTrust

log = structlog.get_logger(__name__)

# How often the clock is looked at while it is not set.
_CLOCK_S = 1.0
# And how often while it is: a clock chip that is found late, with an empty battery, may set it to 1970 or 2000.
_WATCH_S = 5.0


class Dating:
    """Bodies are encoded when they have their date: from then on they are final."""

    def __init__(
        self,
        config: PushConfig,
        outbox: Outbox,
        trust: ClockTrust,
        *,
        disk: OutboxExecutor,
        clock: Clock,
        stats: DeliveryStats,
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._trust = trust
        self._disk = disk
        self._clock = clock
        self._stats = stats
        self._stop = asyncio.Event()
        self._kept = True
        """There may be messages without a date, from before the start to begin with."""

    @property
    def waits(self) -> bool:
        """Nobody knows the time yet."""
        return not self._trust()

    def put(self, bodies: Sequence[bytes], at: float) -> None:
        """Store messages of monotonic second `at`. Waits for the disk."""
        if self._trust():
            self._outbox.put([encoded(body, self._config) for body in bodies])
        else:
            self._kept = True
            self._outbox.put(bodies, self._trust.boot, at)

    async def run(self, tell: Callable[[], None]) -> None:
        """Until stopped: as soon as the time is known, give it to what was measured before, and tell."""
        while True:
            if self.waits:
                log.warning("clock_not_set", clock=_iso(self._clock.time()), effect="messages are kept until it is")
            while not self._trust():
                if await sleep_unless(self._clock, _CLOCK_S, self._stop):
                    return
            if self._kept:
                self._kept = False
                await self._date_all(tell)
            if await sleep_unless(self._clock, _WATCH_S, self._stop):
                return

    async def _date_all(self, tell: Callable[[], None]) -> None:
        messages = 0
        after = 0
        while records := await self._disk(self._outbox.undated, after):
            now = Now(self._trust.boot, self._clock.monotonic(), self._clock.time())
            await self._disk(self._outbox.update, *(self._dated(record, now) for record in records))
            messages += len(records)
            after = records[-1].seq
        if messages:
            log.info("messages_dated", clock=_iso(self._clock.time()), messages=messages)
            tell()

    def stop(self) -> None:
        self._stop.set()

    def _dated(self, record: Record, now: Now) -> Record:
        result = dated(record, now, with_time)
        if result.parked is not None:
            self._stats.parked += 1
            log.warning("message_parked", id=record.id, reason=result.parked)
        return replace(result, body=encoded(result.body, self._config))


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
