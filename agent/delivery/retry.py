"""Repeats the attempts of one live message until it is delivered or parked, or its tick is over.

tenacity runs the loop. The outcome of an attempt contains the seconds to wait; `OutcomeHandler` and `CircuitBreaker`
calculate them.
"""

from __future__ import annotations

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from agent.delivery.attempt import Attempts
from agent.delivery.circuit_breaker import CircuitBreaker
from agent.delivery.live_tick import LiveTick, attempts_needed
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry
from agent.delivery.queue import DeliveryQueue
from agent.delivery.stats import DeliveryStats, State
from agent.outbox import Record
from agent.runtime import Clock

# Seconds between two reads of the token during a pause of live messages. A new token ends the pause of a misconfigured
# endpoint.
TOKEN_S = 5.0
# Weight of the newest attempt in the mean round trip.
_WEIGHT = 0.2


class RetryLink:
    """Sends the live messages of one endpoint, each with as many attempts as it needs."""

    def __init__(
        self,
        attempts: Attempts,
        queue: DeliveryQueue,
        breaker: CircuitBreaker,
        stats: DeliveryStats,
        clock: Clock,
        *,
        connections: int,
        interval_s: float,
    ) -> None:
        """`connections` is the maximum number of parallel attempts of one tick."""
        self._attempts = attempts
        self._queue = queue
        self._breaker = breaker
        self._stats = stats
        self._clock = clock
        self._connections = connections
        self._interval_s = interval_s
        self._round_trip_s = 0.0
        """Mean seconds of the last delivered attempts, including the calls to the queue; 0 before the first one."""

    async def send(self, record: Record, tick: LiveTick) -> None:
        """Repeat the attempts until the message is delivered or parked.

        Stop earlier in one of these cases:

        - A newer tick replaces `tick`, or the sender stops.
        - The backlog worker is sending the message.
        - Between two attempts, the message left the queue or was parked.
        """

        async def sleep(seconds: float) -> None:
            await tick.sleep(self._clock, seconds)

        if tick.width < len(tick.offered):
            self._widen(tick)
        retrying = AsyncRetrying(sleep=sleep, wait=_again_s, retry=retry_if_result(_may_be_repeated))
        try:
            await retrying(self._in_turn, record, tick)
        finally:
            tick.open -= 1
            # `retrying` and its actions refer to each other. Without this line, the message stays in memory until the
            # next garbage collection.
            retrying.iter_state.actions.clear()

    async def _in_turn(self, record: Record, tick: LiveTick) -> Outcome | None:
        """Wait for one of the `tick.width` turns, until `tick.retry_at`, and until the breaker admits the message.

        Then make one attempt and return its outcome. A new token can end the wait for the breaker (`TOKEN_S`). If
        the tick is over, or if the message left the queue or was parked, make no attempt and return None.
        """
        async with tick.turns:
            while True:
                if record.seq in tick.tried:
                    now = await self._queue.get(record.seq)
                    if now is None or now.parked is not None:
                        return None  # the backlog worker delivered or parked it, or it was deleted
                    record = now
                if tick.over.is_set():
                    return None
                # Nothing is awaited between `admit_live` and the attempt: an admitted message must be sent at once.
                began = self._clock.monotonic()
                wait_s = tick.retry_at - began
                if wait_s <= 0:
                    wait_s = min(self._breaker.admit_live(began), TOKEN_S)
                    if not wait_s or self._attempts.released_by_token():
                        break
                await tick.sleep(self._clock, wait_s)
            tick.tried.add(record.seq)
            outcome = await self._attempts.send(record, live=True)
            if isinstance(outcome, Delivered):
                took_s = self._clock.monotonic() - began
                self._round_trip_s += (took_s - self._round_trip_s) * (_WEIGHT if self._round_trip_s else 1.0)
                if tick.width < len(tick.offered):
                    self._widen(tick)
            elif isinstance(outcome, Retry):
                # The other messages of the tick wait too, because they would probably fail.
                tick.retry_at = self._clock.monotonic() + outcome.again_s
            return outcome

    def _widen(self, tick: LiveTick) -> None:
        if self._stats.state is State.WELL:
            tick.widen(attempts_needed(len(tick.offered), self._round_trip_s, self._interval_s, self._connections))


def _may_be_repeated(outcome: Outcome | None) -> bool:
    if isinstance(outcome, Refused):
        return outcome.again_s is not None
    return isinstance(outcome, Retry | Misconfigured)


def _again_s(state: RetryCallState) -> float:
    """Return the seconds that tenacity waits; 0 after `Misconfigured`, because `_in_turn` waits for the breaker."""
    outcome = state.outcome.result() if state.outcome is not None else None
    return outcome.again_s or 0.0 if isinstance(outcome, Refused | Retry) else 0.0
