"""Order and gaps of one stream of messages. Pure.

A stream has the messages of one node, the messages with the totals of the device types, or the snapshots.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_MAX_HOLES = 1000
"""If there are more holes, the one that was added first is forgotten."""
_MAX_STEPS = 100
"""At most this many different steps are counted. A step is the difference in seconds between the times of two messages
that arrived one after the other."""
_SURE_STEPS = 10
"""After this many steps, the learned interval is reliable."""


@dataclass(frozen=True, slots=True)
class Hole:
    """The times of two received messages, in Unix seconds. Messages between them are missing, or may be missing."""

    after: int
    before: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """The position of a message in the sequence."""

    late: bool = False
    """Whether the message is older than the newest received message, such as backlog after an outage."""
    missing: int = 0
    """The number of messages missing between the newest received message and this one; 0 if this one is late."""
    surplus: bool = False
    """Whether no message with this time was missing: the time is in no hole, and it is neither before the oldest nor
    after the newest received message. Usually a received message with another id has the same time."""


@dataclass(slots=True)
class Sequence:
    """The times of one stream of messages. If `interval_s` is None, the interval is the most frequent step."""

    interval_s: float | None = None
    oldest: int | None = None
    newest: int | None = None
    holes: list[Hole] = field(default_factory=list)
    _last: int | None = None
    """The time of the message that arrived last."""
    _steps: Counter[int] = field(default_factory=Counter)
    """Seconds → how often this step occurred."""

    @property
    def missing(self) -> int:
        return sum(map(self._missing_in, self.holes))

    def arrived(self, time: int) -> Arrival:
        """Add a message with `time` in Unix seconds. Return its position."""
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
        # While the interval is learned from few steps, a hole without a missing message is kept too. If the interval
        # becomes shorter later, messages can be missing in the hole.
        if self._missing_in(hole) or (self.interval_s is None and self._steps.total() < _SURE_STEPS):
            self.holes = [*self.holes[1 - _MAX_HOLES :], hole]
        return self._missing_in(hole)

    def _split_hole(self, time: int) -> bool:
        """Replace the hole that contains `time` by the holes before and after it. Return False if there is none."""
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
