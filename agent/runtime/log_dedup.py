"""Keeps one event from filling the log: what repeats is counted and told once an hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

BURST = 5
CROWD = 50
"""Of one event about messages: a backlog of thousands may be refused, and the queue's dead letters name them all."""
WINDOW_S = 3600.0
# What an event is about. The same event about something else is another event. One about the endpoint that names the
# message it was seen with has that as `message`, not as `id`.
_ABOUT = ("device", "node", "id", "path", "library", "kind")


@dataclass(slots=True)
class _Seen:
    since: float
    passed: int = 0
    held: int = 0


class RepeatLimiter:
    """A structlog processor: of one event about one thing `BURST` pass in `WINDOW_S`, of one about messages `CROWD`.

    The rest are counted; the count follows as `event_repeated` with the next event of any kind after the window.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, ...], _Seen] = {}

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if method == "debug":
            return event
        now = self._monotonic()
        self._tell(now)
        if "id" in event:
            self._count(_key({**event, "id": None}), CROWD, now)
        self._count(_key(event), BURST, now)
        return event

    def _count(self, key: tuple[str, ...], most: int, now: float) -> None:
        """Raises DropEvent when there were so many."""
        seen = self._seen.setdefault(key, _Seen(now))
        if seen.passed >= most:
            seen.held += 1
            raise structlog.DropEvent
        seen.passed += 1

    def _tell(self, now: float) -> None:
        over = [key for key, seen in list(self._seen.items()) if now - seen.since >= WINDOW_S]
        for key in over:
            seen = self._seen.pop(key, None)
            if seen is not None and seen.held:
                about = {name: value for name, value in zip(_ABOUT, key[1:], strict=True) if value != "None"}
                structlog.get_logger().warning(
                    "event_repeated", what=key[0], times=seen.held, in_s=round(now - seen.since), **about
                )


def _key(event: Mapping[str, Any]) -> tuple[str, ...]:
    return (str(event.get("event")), *(str(event.get(about)) for about in _ABOUT))
