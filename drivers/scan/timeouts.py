"""How long to wait for a unit that may not exist, learned from those that do. Pure.

A gateway is busy with a dead unit for as long as it waits for it, and misses what is asked meanwhile. So the wait is
never shorter than the slowest answer seen, be it that of a live unit behind a dead one or the gateway's own word that a
unit is dead. Where everything answers at once, nothing is gained by waiting the whole time-out for each unit that is
not there.
"""

from __future__ import annotations

_LEAST_S = 0.3
_TIMES = 10
_MARGIN = 1.5
_HELD_UP_TIMES, _HELD_UP_S = 3, 0.05


class Patience:
    """The wait for the next unit; begins with `first_timeout_s` until one has been silent for so long."""

    def __init__(self, timeout_s: float, first_timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.first_s = max(timeout_s, first_timeout_s)
        self._slowest_s: float | None = None
        self._was_silent = False

    @property
    def seconds(self) -> float:
        return self.learned_s if self._was_silent else self.first_s

    @property
    def learned_s(self) -> float:
        """Also a good time-out for units that answer, but may be silent where they have no register."""
        if self._slowest_s is None:
            return self._timeout_s
        return max(min(self._timeout_s, max(_LEAST_S, _TIMES * self._slowest_s)), _MARGIN * self._slowest_s)

    def answered(self, took_s: float) -> None:
        """Somebody answered, after so long."""
        self._slowest_s = max(took_s, self._slowest_s or 0.0)

    def held_up(self, took_s: float) -> bool:
        """Whether an answer that took so long had to wait for something."""
        return took_s > _HELD_UP_TIMES * (self._slowest_s or 0.0) + _HELD_UP_S

    def silent(self) -> bool:
        """A unit was silent; whether it was the first."""
        first, self._was_silent = not self._was_silent, True
        return first
