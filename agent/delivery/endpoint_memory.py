"""Stores what was learned of the endpoint in a file beside the queue.

A new sender restores it: after a restart, and after a reload that replaces the sender.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.delivery.circuit_breaker import CircuitBreaker
from agent.delivery.learned import AskedPause, Learned, encoded, fingerprint, parsed
from agent.delivery.queue import DeliveryQueue
from agent.runtime import Clock

if TYPE_CHECKING:
    from agent.config import PushConfig


class EndpointMemory:
    """What was learned of one endpoint.

    `recall` deletes it if the file is damaged, or if the version of the agent or the settings of the endpoint have
    changed. `learned.fingerprint` says which settings count.
    """

    def __init__(
        self,
        config: PushConfig,
        agent: str,
        queue: DeliveryQueue,
        breaker: CircuitBreaker,
        *,
        clock: Clock,
        steady_time: Callable[[], float],
    ) -> None:
        """`agent` is the name and version of the agent.

        `steady_time` returns the present Unix second, without steps of the wall clock after the start.
        """
        self._key = fingerprint(config, agent)
        self._queue = queue
        self._breaker = breaker
        self._clock = clock
        self._steady_time = steady_time
        self._live_pause: AskedPause | None = None
        self._backlog_pause: AskedPause | None = None
        self._saved = Learned()

    async def recall(self) -> float:
        """Set the breaker to what was learned. Return the remaining seconds of the pause of live messages, or 0."""
        note = await self._queue.note()
        learned = self._saved = parsed(note, self._key)
        if note and not learned:
            await self._queue.set_note(b"")
        self._breaker.refused = set(learned.refused)
        self._breaker.parked = list(learned.parked)
        self._live_pause, self._backlog_pause = learned.live_pause, learned.backlog_pause
        live_s, backlog_s = (
            pause.left_s(self._steady_time()) if pause else 0.0 for pause in (self._live_pause, self._backlog_pause)
        )
        self._breaker.resume(self._clock.monotonic(), live_s, backlog_s)
        return live_s

    def asked(self, *, live: bool) -> None:
        """Remember the present pause of the breaker. `live`: whether the answer to a live message asked for it."""
        now, until = self._steady_time(), self._breaker.asked_until if live else self._breaker.backlog_held_until
        pause = AskedPause(now, now + until - self._clock.monotonic())
        if live:
            self._live_pause = pause
        else:
            self._backlog_pause = pause

    def pause_ended(self) -> None:
        """Forget the pause of live messages, because a delivery ended it."""
        self._live_pause = None

    async def save(self) -> None:
        """Write what was learned to the disk if it changed since the last `save` or `recall`."""
        now = self._steady_time()
        self._live_pause, self._backlog_pause = (
            pause if pause and pause.left_s(now) else None for pause in (self._live_pause, self._backlog_pause)
        )
        learned = Learned(
            frozenset(self._breaker.refused), tuple(self._breaker.parked), self._live_pause, self._backlog_pause
        )
        if learned != self._saved:
            self._saved = learned
            await self._queue.set_note(encoded(learned, self._key))
