"""Progress, told apart from waiting: who begins work says until when it will be back.

An endpoint that does not answer, a device that is silent and a full disk all end in time, as failures; that is
progress. What is not back when it said is stuck, and then the service manager's watchdog is not fed any more.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from agent.runtime.clock import Clock

# Longer than anything that ends by a time-out of its own.
STUCK_S = 120.0


class Watchdog:
    """The work in hand, each with its latest end; for one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[object, tuple[str, float]] = {}

    def running(self, what: str, within_s: float) -> AbstractContextManager[None]:
        """The block ends within `within_s` seconds from now, or `what` is stuck."""
        return _Work(self._due, (what, self._clock.monotonic() + within_s))

    def expect(self, what: str, within_s: float) -> None:
        """Somebody else will say `done`, within `within_s` seconds from the first time that this was said."""
        self._due.setdefault(what, (what, self._clock.monotonic() + within_s))

    def done(self, what: str) -> None:
        """What was expected, if it was, is there."""
        self._due.pop(what, None)

    def overdue(self) -> list[str]:
        """What should have ended by now."""
        now = self._clock.monotonic()
        return sorted({what for what, due in self._due.values() if due < now})


class _Work(AbstractContextManager[None]):
    """Stands in `due` from its beginning to its end. A class, since a generator costs twice as much, at every poll."""

    __slots__ = ("_due", "_entry")

    def __init__(self, due: dict[object, tuple[str, float]], entry: tuple[str, float]) -> None:
        self._due = due
        self._entry = entry

    def __enter__(self) -> None:
        self._due[self] = self._entry

    def __exit__(self, *_: object) -> None:
        del self._due[self]
