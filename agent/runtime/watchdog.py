"""The watchdog finds stuck work: work that is not done at its deadline.

While work is stuck, the service manager gets no WATCHDOG=1, and restarts the agent. A request without an answer and a
write to a full disk are not stuck: they end with an error before their deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from agent.runtime.clock import Clock

# Seconds from the start of work to its deadline. An attempt, and a message that waits for the live worker, have more
# time: the time-out of an attempt is added.
STUCK_S = 120.0


class Watchdog:
    """The running work with its deadlines. For one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[object, tuple[str, float]] = {}
        self._sources: list[Callable[[], Iterable[tuple[str, float]]]] = []

    def watch(self, source: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """Watch work that starts too often to be registered here, so the caller records it.

        `source` returns the work in progress: name and deadline (monotonic seconds) of each.
        """
        self._sources.append(source)

    @contextmanager
    def running(self, what: str, within_s: float) -> Iterator[None]:
        """Register `what` while the block runs. It is overdue if the block takes longer than `within_s` seconds."""
        work = object()
        self._due[work] = (what, self._clock.monotonic() + within_s)
        try:
            yield
        finally:
            del self._due[work]

    def expect(self, what: str, within_s: float) -> None:
        """Register `what`. It is overdue if `done` is not called within `within_s` seconds.

        A second call before `done` changes nothing.
        """
        self._due.setdefault(what, (what, self._clock.monotonic() + within_s))

    def done(self, what: str) -> None:
        """Report that `what` is done, whether it was expected or not."""
        self._due.pop(what, None)

    def overdue(self) -> list[str]:
        """Return the names of the work past its deadline, sorted."""
        now = self._clock.monotonic()
        due_work = [*self._due.values(), *(work for source in self._sources for work in source())]
        return sorted({what for what, due in due_work if due < now})
