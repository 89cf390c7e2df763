"""Delivery: the newest message first, the backlog behind it, nothing given up.

The live worker owns the messages of the newest tick: it retries them with full jitter until they are delivered or a
newer tick supersedes them; what is superseded is backlog. The backlog worker goes oldest first at its own pace while
the endpoint takes messages, so that the two never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from tenacity import RetryCallState, wait_random_exponential

from agent.clock import Clock
from agent.config import PushConfig
from agent.outbox import Outbox, Record
from agent.push_http import Endpoint
from agent.push_outcome import Delivered, Misconfigured, Outcome, Refused, Retry, Stopped
from agent.token import Token

log = structlog.get_logger(__name__)

T = TypeVar("T")

# So many different messages refused one after the other mean that it is not the messages.
REFUSALS_THAT_MEAN_SCHEMA = 3


@dataclass(slots=True)
class Stats:
    """Counted since the start."""

    delivered: int = 0
    attempts: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    parked: int = 0
    last_delivery: float | None = None
    """Unix seconds."""


class Sender:
    """Takes messages, stores them, delivers them."""

    def __init__(
        self,
        config: PushConfig,
        outbox: Outbox,
        *,
        backlog_rate_per_s: float,
        clock: Clock,
        environ: Mapping[str, str],
        user_agent: str,
        on_outcome: Callable[[Record, Outcome], None] | None = None,
    ) -> None:
        self.stats = Stats()
        self._config = config
        self._outbox = outbox
        self._clock = clock
        self._pace_s = 1 / backlog_rate_per_s
        self._token = Token(config, environ)
        self._endpoint = Endpoint(config, self._token, clock, user_agent)
        self._on_outcome = on_outcome
        self._wait = wait_random_exponential(multiplier=config.retry.initial_s, max=config.retry.max_s)
        self._disk_thread = ThreadPoolExecutor(1, "outbox")
        self._live: list[Record] = []
        self._live_from = outbox.last_seq() + 1
        self._generation = 0
        self._fresh = asyncio.Event()
        self._healthy = asyncio.Event()
        self._healthy.set()
        self._failing_since: float | None = None
        self._refused_in_a_row: set[str] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def submit(self, bodies: Sequence[bytes]) -> None:
        """Store messages durably and deliver them before everything else."""
        first = self._live_from = await self._disk(self._outbox.last_seq) + 1
        await self._disk(self._outbox.put, bodies)
        self._live = await self._disk(self._outbox.live, first - 1)
        self._generation += 1
        self._fresh.set()

    async def push_once(self, bodies: Sequence[bytes]) -> list[Outcome]:
        """Store messages and try each once."""
        await self.submit(bodies)
        return [await self._attempt(record) for record in self._live]

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver_live())
            group.create_task(self._deliver_backlog())

    async def stop(self, grace_s: float) -> None:
        """Let the attempt in flight end, `grace_s` at most; start no other. What is not delivered stays queued."""
        self._stopping = True
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            log.info("attempt_left_in_queue")

    async def close(self) -> None:
        """After `run` has ended."""
        await self._endpoint.close()
        self._disk_thread.shutdown()

    async def _deliver_live(self) -> None:
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            generation = self._generation
            for record in self._live:
                await self._retry_until_superseded(record, generation)
                if self._generation != generation:
                    break

    async def _retry_until_superseded(self, record: Record, generation: int) -> None:
        tries = 0
        while self._generation == generation and not self._stopping:
            outcome = await self._attempt(record)
            if not isinstance(outcome, Retry):
                return
            tries += 1
            await self._sleep_until_superseded(self._delay(tries, outcome.after_s))
            stored: Record | None = await self._disk(self._outbox.get, record.seq)
            record = stored or record

    async def _sleep_until_superseded(self, seconds: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        fresh = asyncio.ensure_future(self._fresh.wait())
        both: set[asyncio.Future[Any]] = {timer, fresh}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            fresh.cancel()

    async def _deliver_backlog(self) -> None:
        failures = 0
        while True:
            if not self._healthy.is_set():
                failures += 1
                await self._wait_for_health(self._delay(failures, None) + self._config.retry.initial_s)
            record = await self._disk(self._outbox.oldest, self._live_from, self._clock.time())
            if record is None or self._stopping:
                await self._clock.sleep(_IDLE_S)
                continue
            outcome = await self._attempt(record)
            if isinstance(outcome, Delivered):
                failures = 0
            await self._clock.sleep(self._pace_s)

    async def _wait_for_health(self, seconds: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        health = asyncio.ensure_future(self._healthy.wait())
        both: set[asyncio.Future[Any]] = {timer, health}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            health.cancel()

    async def _attempt(self, record: Record) -> Outcome:
        if self._stopping:
            return Stopped()
        self._in_flight += 1
        self._idle.clear()
        try:
            waiting = await self._disk(self._outbox.waiting)
            outcome = await self._endpoint.post(record, max(0, waiting - 1))
            await self._settle(record, outcome)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        if self._on_outcome is not None:
            self._on_outcome(record, outcome)
        return outcome

    async def _settle(self, record: Record, outcome: Outcome) -> None:
        name = type(outcome).__name__.lower()
        self.stats.attempts += 1
        self.stats.outcomes[name] = self.stats.outcomes.get(name, 0) + 1
        match outcome:
            case Delivered():
                await self._disk(self._outbox.ack, record)
                await self._delivered()
            case Refused():
                await self._refused(record, outcome)
            case Retry() | Misconfigured():
                after = outcome.after_s if isinstance(outcome, Retry) else self._config.retry.max_s
                next_try = self._clock.time() + self._delay(record.attempts + 1, after)
                await self._disk(self._outbox.tried, record, next_try, False)
                self._failed(record, outcome.reason, isinstance(outcome, Misconfigured))
            case Stopped():
                pass

    async def _delivered(self) -> None:
        self.stats.delivered += 1
        self.stats.last_delivery = self._clock.time()
        self._refused_in_a_row.clear()
        self._healthy.set()
        if self._failing_since is not None:
            log.info(
                "push_recovered",
                after_s=round(self._clock.monotonic() - self._failing_since, 1),
                backlog=await self._disk(self._outbox.waiting),
            )
            self._failing_since = None

    async def _refused(self, record: Record, outcome: Refused) -> None:
        self._refused_in_a_row.add(record.id)
        schema = len(self._refused_in_a_row) >= REFUSALS_THAT_MEAN_SCHEMA
        if record.refusals + 1 >= self._config.retry.dead_letter_after and not schema:
            self.stats.parked += 1
            self._refused_in_a_row.discard(record.id)
            await self._disk(self._outbox.park, record, outcome.reason)
            log.warning("message_parked", id=record.id, reason=outcome.reason, refusals=record.refusals + 1)
            return
        next_try = self._clock.time() + self._delay(record.attempts + 1, None)
        await self._disk(self._outbox.tried, record, next_try, True)
        log.warning("message_refused", id=record.id, reason=outcome.reason)
        if schema:
            self._failed(record, f"several different messages refused, the last with {outcome.reason}", True)

    def _failed(self, record: Record, reason: str, misconfigured: bool) -> None:
        first = self._failing_since is None
        if first:
            self._failing_since = self._clock.monotonic()
        self._healthy.clear()
        if misconfigured:
            self._token.forget()
        event = "endpoint_misconfigured" if misconfigured else "push_failed"
        (log.warning if first else log.debug)(event, id=record.id, url=self._config.url, reason=reason)

    def _delay(self, tries: int, after_s: float | None) -> float:
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # only the number of tries matters
        state.attempt_number = max(1, tries)
        return max(after_s or 0.0, self._wait(state))

    async def _disk(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk_thread, call, *arguments)


# How soon after its due time a message of the backlog is looked at when nothing else happens.
_IDLE_S = 1.0
