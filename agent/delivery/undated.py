"""Stores messages while the time is not known, and dates them when it is known.

Within one boot, the monotonic clock gives the exact age of a message. The time between two boots is not known. So a
message of an earlier boot keeps the date that the wall clock had when the message was stored. If this date is
impossible (before 2023-11-14, or later than now), the message becomes a dead letter, and a person decides about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from agent.contract.envelope import compressed, with_time
from agent.delivery.queue import DeliveryQueue
from agent.delivery.stats import DeliveryStats
from agent.outbox import Record
from agent.runtime import Clock, ClockTrust, WakeEvent, plausible, sleep_unless

log = structlog.get_logger(__name__)

TIME_UNKNOWN = "measured in an earlier boot, before the clock was set, so the time is unknown"

# Seconds between two reads of the clock while it is not set.
_CLOCK_S = 1.0
# Seconds between two reads of the clock while it is set. A kernel driver that is loaded late can set the clock to 1970,
# from a clock chip with an empty battery.
_WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class Now:
    """Both clocks at one moment: monotonic seconds of the boot with the id `boot`, and trusted Unix seconds."""

    boot: str
    mono: float
    wall: float


def dated(record: Record, now: Now, retimed: Callable[[bytes, int], bytes]) -> Record:
    """Return the record with its date, or as a dead letter if the date cannot be known.

    `retimed(body, time)` returns the body with another `time`. A message of an earlier boot keeps its body.
    """
    if record.boot == now.boot:
        at = now.wall - (now.mono - record.mono)
        return replace(record, body=retimed(record.body, round(at)), created=at, boot=None)
    if plausible(record.created) and record.created <= now.wall:
        return replace(record, boot=None)
    return replace(record, boot=None, parked=TIME_UNKNOWN)


class Undated:
    """Stores undated messages and dates them later. A body is not compressed while its message is undated."""

    def __init__(self, queue: DeliveryQueue, trust: ClockTrust, stats: DeliveryStats, *, clock: Clock) -> None:
        self._queue = queue
        self._trust = trust
        self._stats = stats
        self._clock = clock
        self._stop = WakeEvent()
        self._may_have_undated = True
        """Whether the queue may have undated messages. True at the start, because of earlier runs."""

    async def put(self, bodies: Sequence[bytes], at: float) -> None:
        """Store messages that were measured at monotonic second `at`."""
        self._may_have_undated = True
        await self._queue.put_undated(bodies, self._trust.boot, at)

    async def run(self, on_dated: Callable[[], Awaitable[None]]) -> None:
        """Run until stopped. When the time is known, date the undated messages. If there were some, call `on_dated`."""
        while True:
            if not self._trust.is_trusted():
                log.warning("clock_not_set", clock=_iso(self._clock.time()), effect="messages are kept until it is set")
            while not self._trust.is_trusted():
                if await sleep_unless(self._clock, _CLOCK_S, self._stop):
                    return
            if self._may_have_undated:
                self._may_have_undated = False
                if await self._date_all():
                    await on_dated()
            if await sleep_unless(self._clock, _WATCH_S, self._stop):
                return

    def stop(self) -> None:
        self._stop.set()

    async def _date_all(self) -> int:
        """Date all undated messages, or make them dead letters. Return their number."""
        messages = 0
        after = 0
        while records := await self._queue.undated(after):
            now = Now(self._trust.boot, self._clock.monotonic(), self._clock.time())
            await self._queue.update(*(self._dated(record, now) for record in records))
            messages += len(records)
            after = records[-1].seq
        if messages:
            log.info("messages_dated", clock=_iso(self._clock.time()), messages=messages)
        return messages

    def _dated(self, record: Record, now: Now) -> Record:
        result = dated(record, now, with_time)
        if result.parked is not None:
            self._stats.parked += 1
            log.warning("message_parked", id=record.id, reason=result.parked)
        return replace(result, body=compressed(result.body) if self._queue.compress else result.body)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
