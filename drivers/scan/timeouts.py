"""Learns from the replies of units how long to wait for other units, which may not exist. Pure.

A short timeout saves time for each unit that does not respond. But it must be longer than the slowest reply. While a
gateway waits for a unit that does not respond, it delays other requests or does not answer them. So two replies are
often the slowest:

- the exception that the gateway sends for this unit
- the reply to the next request, to another unit
"""

from __future__ import annotations

_TIMES = 10
"""The learned timeout is the time of the slowest reply, multiplied by this number, but at most `timeout_s`."""
_LEAST_S = 0.3
"""The learned timeout is at least this many seconds, or `timeout_s` if `timeout_s` is less."""
_MARGIN = 1.5
"""The learned timeout is at least the time of the slowest reply, multiplied by this number, even if this is more than
`timeout_s`."""
_HELD_UP_TIMES, _HELD_UP_S = 3, 0.05
"""A reply was delayed if it took longer than `_HELD_UP_TIMES` * slowest reply so far + `_HELD_UP_S` seconds."""


class LearnedTimeout:
    """The timeout for the next unit: `first_s` until the first unit does not respond, then `learned_s`."""

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
        """The learned timeout; `timeout_s` before the first reply.

        The registers of units that exist are read with it, because some units do not reply for a register that they
        lack.
        """
        if self._slowest_s is None:
            return self._timeout_s
        return max(min(self._timeout_s, max(_LEAST_S, _TIMES * self._slowest_s)), _MARGIN * self._slowest_s)

    def answered(self, took_s: float) -> None:
        """Record that a unit or the gateway replied after `took_s`.

        If the gateway delayed the reply, `took_s` includes the time of the request to the unit that does not respond.
        """
        self._slowest_s = max(took_s, self._slowest_s or 0.0)

    def held_up(self, took_s: float) -> bool:
        """Whether a reply after `took_s` was delayed, compared with the slowest reply so far."""
        return took_s > _HELD_UP_TIMES * (self._slowest_s or 0.0) + _HELD_UP_S

    def silent(self) -> bool:
        """Record that a unit did not respond. Returns whether it was the first one."""
        first, self._was_silent = not self._was_silent, True
        return first
