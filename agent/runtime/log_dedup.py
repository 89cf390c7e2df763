"""Limits how many equal events are logged in an hour. The others are counted, and the count is logged later."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

BURST = 5
"""The maximum number of equal events that are logged in `WINDOW_S`."""
CROWD = 50
"""The maximum number of events that differ only in `id` (the id of a message) and are logged in `WINDOW_S`.

If the endpoint refuses a whole backlog, each message has its own event. The log does not need all of them, because the
command `outbox` lists each dead letter.
"""
WINDOW_S = 3600.0
# The fields that say what an event is about. Two events are equal if their names and these fields are equal. An event
# about the endpoint has the id of the message as `message`, not as `id`, so that the id makes no difference.
_ABOUT = ("endpoint", "device", "node", "id", "path", "library", "kind")


@dataclass(slots=True)
class _Seen:
    """The equal events of one window."""

    since: float
    """Monotonic second of the first one."""
    passed: int = 0
    """How many were logged."""
    held: int = 0
    """How many were not logged, because they were above the limit."""


class RepeatLimiter:
    """A structlog processor that applies `BURST` and `CROWD`. Events of level debug have no limit.

    A window begins with the first of the equal events. Events above a limit are counted. The count is logged as
    `event_repeated` when the next event of any kind, except level debug, arrives after the end of the window.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, ...], _Seen] = {}

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if method == "debug" or event.get("event") == "event_repeated":
            return event
        now = self._monotonic()
        self._log_counts(now)
        # `CROWD` first, so that an event above it adds no entry to `_seen`.
        limits = [(_key({**event, "id": None}), CROWD)] if "id" in event else []
        limits.append((_key(event), BURST))
        found = []
        for key, most in limits:
            seen = self._seen.setdefault(key, _Seen(now))
            if seen.passed >= most:
                seen.held += 1
                raise structlog.DropEvent
            found.append(seen)
        for seen in found:  # only an event that is logged counts as passed
            seen.passed += 1
        return event

    def _log_counts(self, now: float) -> None:
        ended = [key for key, seen in list(self._seen.items()) if now - seen.since >= WINDOW_S]
        for key, seen in [(key, self._seen.pop(key, None)) for key in ended]:  # None: another thread was faster
            if seen is not None and seen.held:
                about = {name: value for name, value in zip(_ABOUT, key[1:], strict=True) if value != "None"}
                # An empty context, because the current event may be about another endpoint than the counted events.
                Context().run(
                    structlog.get_logger().warning,
                    "event_repeated",
                    what=key[0],
                    times=seen.held,
                    in_s=round(now - seen.since),
                    **about,
                )


def _key(event: Mapping[str, Any]) -> tuple[str, ...]:
    return (str(event.get("event")), *(str(event.get(about)) for about in _ABOUT))
