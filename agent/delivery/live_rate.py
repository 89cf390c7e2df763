"""Finds out whether the endpoint accepts live messages as fast as the site makes them. Pure.

A message is late if a newer tick replaces it before its first attempt. If messages are late, an endpoint that accepts
others is too slow. An endpoint that accepts none may be down.
"""

from __future__ import annotations

from collections import deque

TICKS = 10
"""Number of the last ticks over which `LiveRate.words` averages the rates."""
CALM_S = 180.0
"""After this many seconds without late messages, the endpoint is fast enough again. These seconds are rounded down to
whole ticks: at least one, at most `TICKS`. For example, they are 3 ticks at an interval of 60 s."""


class LiveRate:
    """Counts late messages."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._ticks: deque[tuple[int, int]] = deque(maxlen=TICKS)
        self._late = self._of = 0
        """See `confirmed`."""
        self._calm = 0
        """Number of the last ticks in a row without late messages."""

    def superseded(self, made: int, tried: int) -> bool:
        """Note a replaced tick with `made` messages, of which `tried` had an attempt.

        Return whether enough ticks in a row had no late messages (`CALM_S`).
        """
        self._ticks.append((made, tried))
        if tried < made:
            self._late += made - tried
            self._of += made
        self._calm = self._calm + 1 if tried == made else 0
        return self._calm >= min(TICKS, max(1, CALM_S // self._interval_s))

    def confirmed(self) -> tuple[int, int]:
        """Return the number of late messages, and the number of all messages of the ticks with late messages.

        Both numbers count from the last `confirmed` or `forget` on. Call this when a message was delivered. Before
        a delivery, it is not known whether the endpoint is slow or down.
        """
        late, of = self._late, self._of
        self._late = self._of = 0
        return late, of

    def forget(self) -> None:
        self._ticks.clear()
        self._late = self._of = self._calm = 0

    @property
    def words(self) -> str | None:
        """The rates of tried and of made messages over the last ticks, as text; None if no message was tried."""
        tried = sum(tried for _, tried in self._ticks)
        if not tried:
            return None
        made = sum(made for made, _ in self._ticks)
        seconds = len(self._ticks) * self._interval_s
        return f"the endpoint takes {tried / seconds:.2g} messages/s, the site makes {made / seconds:.2g}"
