"""Order and gaps of the messages of one site or node. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_MAX_HOLES = 1000
_MAX_STEPS = 100
_SURE_STEPS = 10


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap between two messages that are more than an interval apart: their times, in Unix seconds."""

    after: int
    before: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """The position of a message in the sequence."""

    late: bool = False
    """Whether the message is older than the newest message. It is then backlog after an outage."""
    missing: int = 0
    """The number of messages that are missing between the newest earlier message and this one."""
    surplus: bool = False
    """Whether no message was missing at this time. A message with another id then has the same time."""


@dataclass(slots=True)
class Sequence:
    """The times of one stream of messages. Without `interval_s`, the most frequent step is the interval."""

    interval_s: float | None = None
    oldest: int | None = None
    newest: int | None = None
    holes: list[Hole] = field(default_factory=list)
    _last: int | None = None
    _steps: Counter[int] = field(default_factory=Counter)

    @property
    def missing(self) -> int:
        """The number of messages that are missing now."""
        return sum(map(self._missing_in, self.holes))

    def arrived(self, time: int) -> Arrival:
        """Add a message with `time` in Unix seconds."""
        self._learn(time)
        if self.oldest is None or self.newest is None:
            self.oldest = self.newest = time
            return Arrival()
        if time > self.newest:
            missing = self._add_hole(self.newest, time)
            self.newest = time
            return Arrival(missing=missing)
        if time < self.oldest:
            self._add_hole(time, self.oldest)
            self.oldest = time
            return Arrival(late=True)
        return Arrival(late=time < self.newest, surplus=not self._split_hole(time))

    def _learn(self, time: int) -> None:
        step = abs(time - self._last) if self._last is not None else 0
        if step and (step in self._steps or len(self._steps) < _MAX_STEPS):
            self._steps[step] += 1
        self._last = time

    def _add_hole(self, after: int, before: int) -> int:
        hole = Hole(after, before)
        # Keep the gap while the interval is learned from few steps, because the interval can still become shorter.
        if self._missing_in(hole) or (self.interval_s is None and self._steps.total() < _SURE_STEPS):
            self.holes = [*self.holes[1 - _MAX_HOLES :], hole]
        return self._missing_in(hole)

    def _split_hole(self, time: int) -> bool:
        for hole in self.holes:
            if hole.after < time < hole.before:
                self.holes.remove(hole)
                self._add_hole(hole.after, time)
                self._add_hole(time, hole.before)
                return True
        return False

    def _missing_in(self, hole: Hole) -> int:
        interval = self.interval_s or min(self._steps, key=lambda step: (-self._steps[step], step), default=0)
        return max(0, round((hole.before - hole.after) / interval) - 1) if interval else 0
