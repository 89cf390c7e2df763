"""Delivery: the newest message first, the backlog behind it, nothing given up.

The live worker owns the messages of the newest tick: it retries them with full jitter until they are delivered or a
newer tick supersedes them; what is superseded is backlog. The backlog worker goes oldest first at its own pace while
the endpoint takes messages. Each has its own connection, so that neither waits for the other; what both learn about
the endpoint they share (`push_health`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from agent.clock import Clock, sleep_unless
from agent.clock_sync import ClockTrust
from agent.config import PushConfig
from agent.dating import Now, dated
from agent.outbox import Outbox, Record
from agent.payload import with_time
from agent.pulse import STUCK_S, Pulse
from agent.push_health import Backoff, Health, State
from agent.push_http import Endpoint, encoded
from agent.push_outcome import Delivered, Misconfigured, Outcome, Refused, Retry, Stopped
from agent.push_pace import Pace
from agent.token import Token

log = structlog.get_logger(__name__)

T = TypeVar("T")

# How soon a message of the backlog is looked at after its due time; a dead letter that was revived from outside, when
# nothing else waits.
_IDLE_S = 1.0
_ASLEEP_S = 30.0
_TICKS_UNDER_WAY = 2
# Of the backlog, where it goes fast.
_READ_AT_ONCE = 16
# How often the clock is looked at while it is not set.
_CLOCK_S = 1.0
# How often the token is looked at while the endpoint takes none.
_TOKEN_S = 5.0
# What a new message waits for: whatever the live worker does, it looks up for it.
_LIVE = "live push"


@dataclass(slots=True)
class Stats:
    """Counted since the start."""

    attempts: int = 0
    delivered: int = 0
    refused: int = 0
    parked: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Attempts that did not deliver, by kind: `http_503`, `timeout`, `dns`, …"""
    last_delivery: float | None = None
    """Unix seconds."""
    last_failure: str | None = None
    """In words; None while the endpoint is well."""


class Sender:
    """Takes messages, stores them, delivers them."""

    def __init__(
        self,
        config: PushConfig,
        outbox: Outbox,
        *,
        backlog_rate_per_s: float | None = None,
        clock: Clock,
        environ: Mapping[str, str],
        user_agent: str,
        trust: ClockTrust | None = None,
        on_outcome: Callable[[Record, Outcome], None] | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self.stats = Stats()
        self._pulse = pulse or Pulse(clock)
        self.health = Health(Backoff(config.retry.initial_s, config.retry.max_s))
        self._config = config
        self._outbox = outbox
        self._clock = clock
        self._trust = trust or ClockTrust(clock, config.wait_for_clock_s)
        # Next tries are kept in a time that never steps while the agent runs.
        self._steady = clock.time() - clock.monotonic()
        self._pace = Pace(config.interval_s, backlog_rate_per_s)
        self._per_tick = 1
        self._token = Token(config, environ)
        self._endpoint = Endpoint(config, self._token, clock, user_agent)
        self._on_outcome = on_outcome
        self._disk_thread = ThreadPoolExecutor(1, "outbox")
        self._tick = 0
        self._live_waits = False
        self._slot = 0.0
        """Before this monotonic second no message of the backlog goes."""
        self._fresh = asyncio.Event()
        self._backlog_changed = asyncio.Event()
        self._in_flight: set[int] = set()
        self._settled: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._stop = asyncio.Event()

    @property
    def waits_for_clock(self) -> bool:
        """New messages are stored and not sent, because nobody knows the time yet."""
        return not self._trust()

    async def submit(self, bodies: Sequence[bytes], at: float | None = None) -> None:
        """Store messages durably and deliver them before everything else.

        `at` is the monotonic second that their `time` stands for, should nobody know the time yet; now by default.
        """
        await self._disk(self._put, bodies, self._clock.monotonic() if at is None else at)
        self._tick += 1
        self._live_waits = True
        self._per_tick = len(bodies)
        self._pulse.expect(_LIVE, self._config.timeout_s + STUCK_S)
        self._fresh.set()
        self._backlog_changed.set()

    async def run(self) -> None:
        """Deliver until cancelled or stopped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._date_messages())
            group.create_task(self._deliver_live())
            group.create_task(self._deliver_backlog())

    async def stop(self, grace_s: float) -> None:
        """Let the attempt in flight end, `grace_s` at most; start no other. What is not delivered stays queued."""
        self._stopping = True
        self._pulse.met(_LIVE)
        self._stop.set()
        self._fresh.set()
        self._backlog_changed.set()
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            log.info("attempt_left_in_queue")

    async def close(self) -> None:
        """After `run` has ended."""
        await self._endpoint.close()
        await asyncio.to_thread(self._disk_thread.shutdown)

    def _put(self, bodies: Sequence[bytes], at: float) -> None:
        if self._trust():
            self._outbox.put([encoded(body, self._config) for body in bodies])
        else:
            self._outbox.put(bodies, self._trust.boot, at)

    async def _date_messages(self) -> None:
        """As soon as the time is known, give it to what was measured before."""
        if self.waits_for_clock:
            log.warning("clock_not_set", clock=_iso(self._clock.time()), effect="messages are kept until it is")
        while not self._trust():
            await sleep_unless(self._clock, _CLOCK_S, self._stop)
            if self._stopping:
                return
        messages = 0
        after = 0
        while records := await self._disk(self._outbox.undated, after):
            now = Now(self._trust.boot, self._clock.monotonic(), self._clock.time())
            await self._disk(self._outbox.update, *(self._dated(record, now) for record in records))
            messages += len(records)
            after = records[-1].seq
        if messages:
            log.info("messages_dated", clock=_iso(self._clock.time()), messages=messages)
            self._fresh.set()
            self._backlog_changed.set()

    def _dated(self, record: Record, now: Now) -> Record:
        result = dated(record, now, with_time)
        if result.parked is not None:
            self.stats.parked += 1
            log.warning("message_parked", id=record.id, reason=result.parked)
        return replace(result, body=encoded(result.body, self._config))

    async def _deliver_live(self) -> None:
        """A newer tick does not wait for an attempt of an older one that hangs; but at most two are under way."""
        ticks: set[asyncio.Task[None]] = set()
        # By seq, the tick that a message was handed out for: dating wakes this loop too, and a message in two hands
        # would be sent twice.
        handed: dict[int, int] = {}
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                await self._fresh.wait()
                if len(ticks) >= _TICKS_UNDER_WAY:
                    await asyncio.wait(ticks, return_when=asyncio.FIRST_COMPLETED)
                self._fresh.clear()
                self._pulse.met(_LIVE)
                tick = self._tick
                records = await self._disk(self._outbox.live)
                new = [record for record in records if handed.get(record.seq) != tick]
                handed = {record.seq: tick for record in records}
                ticks = {each for each in ticks if not each.done()}
                if new or not records:
                    self._live_waits = True
                    ticks.add(group.create_task(self._deliver_tick(tick, dict.fromkeys(new, 0.0))))

    async def _deliver_tick(self, tick: int, due: dict[Record, float]) -> None:
        """Until all are delivered or parked, or a newer tick is there; `due` in monotonic seconds."""
        while due and tick == self._tick and not self._stopping:
            record = min(due, key=lambda each: due[each])
            wait_s = max(due[record] - self._clock.monotonic(), self._held_s())
            if wait_s > 0:
                await sleep_unless(self._clock, min(wait_s, _TOKEN_S) if self._held_s() else wait_s, self._fresh)
                continue
            outcome, again_s = await self._attempt(record)
            del due[record]
            now = await self._disk(self._outbox.get, record)
            if now is None or now.parked is not None or isinstance(outcome, Stopped):
                continue
            again = self._clock.monotonic() + again_s
            if self.health.state is State.MISCONFIGURED:
                again = 0.0  # `_held_s` says when
            elif isinstance(outcome, Retry):
                due = dict.fromkeys(due, again)  # the others would fare no better
            due[now] = again
        if tick == self._tick:
            self._live_waits = False

    async def _deliver_backlog(self) -> None:
        self._slot = await self._first_slot(self._clock.monotonic())
        read: deque[Record] = deque()
        waiting = 0
        while not self._stopping:
            self._backlog_changed.clear()
            now = self._clock.monotonic()
            wait_s = max(self._slot, self.health.retry_at, self.health.held_until) - now
            if wait_s > 0:
                if wait_s > _IDLE_S:
                    read.clear()
                await sleep_unless(self._clock, wait_s, self._backlog_changed)
                continue
            if self.health.state is not State.WELL and self._live_waits:
                await sleep_unless(self._clock, _IDLE_S, self._backlog_changed)  # the newest tries the endpoint
                continue
            if not read:
                self._settled.clear()
                records, waiting = await self._disk(self._oldest_due, frozenset(self._in_flight))
                read.extend(records)
            if not read:
                await sleep_unless(self._clock, _IDLE_S if waiting else _ASLEEP_S, self._backlog_changed)
                continue
            record = read.popleft()
            if record.seq in self._settled:
                continue  # by the live worker, since the disk was asked
            self._slot = max(self._slot + self._pace.gap_s(waiting, self._per_tick), now)
            outcome, _ = await self._attempt(record, waiting)
            if not isinstance(outcome, Delivered):
                read.clear()  # it is the oldest again
            waiting -= 1

    def _oldest_due(self, skip: frozenset[int]) -> tuple[list[Record], int]:
        return self._outbox.backlog(self._due_time(), skip, _READ_AT_ONCE), self._outbox.counts().waiting

    async def _first_slot(self, at: float) -> float:
        """When the backlog begins, if the endpoint takes messages from monotonic second `at` on."""
        waiting = (await self._disk(self._outbox.counts)).waiting
        return at + self._pace.start_s(waiting, self._per_tick)

    def _held_s(self) -> float:
        """How long nothing at all may be sent. A new token is reason enough to try at once."""
        held_s = self.health.held_until - self._clock.monotonic()
        if held_s > 0 and self.health.state is State.MISCONFIGURED and self._endpoint.token_changed():
            self.health.release()
            return 0.0
        return max(0.0, held_s)

    async def _attempt(self, record: Record, waiting: int | None = None) -> tuple[Outcome, float]:
        """The outcome, and in how many seconds another attempt makes sense; `waiting` as it was just counted."""
        if self._stopping or record.seq in self._in_flight:
            return Stopped(), 0.0
        self._in_flight.add(record.seq)
        self._idle.clear()
        try:
            if waiting is None:
                waiting = (await self._disk(self._outbox.counts)).waiting
            with self._pulse.busy("push", self._config.timeout_s + STUCK_S):
                outcome = await self._endpoint.post(record, max(0, waiting - 1))
            again_s = await self._settle(record, outcome)
        finally:
            self._in_flight.discard(record.seq)
            self._settled.add(record.seq)
            if not self._in_flight:
                self._idle.set()
        if self._on_outcome is not None:
            self._on_outcome(record, outcome)
        return outcome, again_s

    async def _settle(self, record: Record, outcome: Outcome) -> float:
        self.stats.attempts += 1
        if isinstance(outcome, Delivered):
            await self._disk(self._outbox.ack, record)
            await self._delivered()
            return 0.0
        self.stats.failures[outcome.kind] += 1
        if isinstance(outcome, Refused):
            return await self._refused(record, outcome)
        if isinstance(outcome, Misconfigured):
            again_s = self._misconfigured(record, outcome.reason)
            await self._tried(record, 0.0)
            return again_s
        if isinstance(outcome, Retry):
            again_s = self._failed(record, outcome)
            if outcome.after_s:
                self._slot = max(self._slot, await self._first_slot(self.health.held_until))
            # A message that alone makes the receiver fail falls behind the others.
            again_s_alone = max(again_s, self.health.backoff(record.attempts + 1)) if outcome.reached else 0.0
            await self._tried(record, again_s_alone)
            return again_s
        return 0.0

    def _due_time(self) -> float:
        return self._steady + self._clock.monotonic()

    async def _tried(self, record: Record, again_s: float, **changes: Any) -> Record:
        tried = replace(record, attempts=record.attempts + 1, next_try=self._due_time() + again_s, **changes)
        await self._disk(self._outbox.update, tried)
        return tried

    async def _delivered(self) -> None:
        now = self._clock.monotonic()
        self.stats.delivered += 1
        self.stats.last_delivery = self._clock.time()
        self.stats.last_failure = None
        if self.health.state is not State.WELL:
            backlog = (await self._disk(self._outbox.counts)).waiting
            log.info("push_recovered", after_s=round(now - self.health.since, 1), backlog=backlog)
            self._slot = now + self._pace.start_s(backlog, self._per_tick)
            self._backlog_changed.set()
        self.health.delivered()

    def _failed(self, record: Record, outcome: Retry) -> float:
        news, again_s = self.health.failed(self._clock.monotonic(), outcome.after_s)
        self.stats.last_failure = outcome.reason
        (log.warning if news else log.debug)(
            "push_failed", id=record.id, url=self._config.shown_url, reason=outcome.reason, again_s=round(again_s, 1)
        )
        return again_s

    def _misconfigured(self, record: Record, reason: str) -> float:
        news, again_s = self.health.misconfigured(self._clock.monotonic())
        self.stats.last_failure = reason
        (log.error if news else log.debug)(
            "endpoint_misconfigured", id=record.id, url=self._config.shown_url, reason=reason, again_s=round(again_s, 1)
        )
        return again_s

    async def _refused(self, record: Record, outcome: Refused) -> float:
        self.stats.refused += 1
        refusals = record.refusals + 1
        if self.health.refuse(record.id):
            await self._tried(record, 0.0, refusals=refusals)
            await self._revive()
            return self._misconfigured(record, f"several different messages refused, the last with {outcome.reason}")
        if refusals >= self._config.retry.dead_letter_after:
            parked = await self._tried(record, 0.0, refusals=refusals, parked=outcome.reason)
            self.health.parked.append(parked)
            self.stats.parked += 1
            log.warning("message_parked", id=record.id, reason=outcome.reason, refusals=refusals)
            return 0.0
        again_s = self.health.backoff(refusals)
        await self._tried(record, again_s, refusals=refusals)
        (log.warning if refusals == 1 else log.debug)("message_refused", id=record.id, reason=outcome.reason)
        return again_s

    async def _revive(self) -> None:
        """It was not the fault of those that were parked since the last delivery."""
        for record in self.health.parked:
            self.stats.parked -= 1
            await self._disk(self._outbox.update, replace(record, parked=None))
            log.info("message_revived", id=record.id)
        self.health.parked.clear()

    async def _disk(self, call: Callable[..., T], *arguments: Any) -> T:
        """The outbox may wait for the disk, the event loop may not. What was begun is finished, cancelled or not."""
        work = asyncio.get_running_loop().run_in_executor(self._disk_thread, call, *arguments)
        with self._pulse.busy("disk", STUCK_S):
            return await asyncio.shield(work)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
