"""Messages that are stored before the time is known, and their dates once it is known.

Within one boot the monotonic clock tells exactly how long ago a message was measured. The end of an earlier boot is not
known: its messages keep the date that the host had then. If that date is impossible (1970), they become dead letters,
so that a person decides about them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from agent.config import PushConfig
from agent.contract import with_time
from agent.delivery.http_client import encoded
from agent.delivery.queue import OutboxExecutor
from agent.delivery.outcome_handler import DeliveryStats
from agent.outbox import Outbox, Record
from agent.runtime import Clock, ClockTrust, plausible, sleep_unless

log = structlog.get_logger(__name__)

NOBODY_KNOWS_WHEN = "measured in an earlier boot, before its clock was set: nobody knows when"

# How often the clock is looked at while it is not set.
_CLOCK_S = 1.0
# And how often while it is: a clock chip that is found late, with an empty battery, may set it to 1970 or 2000.
_WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class Now:
    """Both clocks at one moment: seconds of this boot, and trusted Unix seconds."""

    boot: str
    mono: float
    wall: float


def dated(record: Record, now: Now, retimed: Callable[[bytes, int], bytes]) -> Record:
    """`record` as it can be sent, or as a dead letter; `retimed(body, time)` puts another `time` into a body."""
    if record.boot == now.boot:
        at = now.wall - (now.mono - record.mono)
        return replace(record, body=retimed(record.body, round(at)), created=at, boot=None)
    if plausible(record.created) and record.created <= now.wall:
        return replace(record, boot=None)
    return replace(record, boot=None, parked=NOBODY_KNOWS_WHEN)


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
