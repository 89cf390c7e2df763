"""Why a message left the queue unacknowledged: counted for the status, told in the log."""

from __future__ import annotations

from collections import Counter

import structlog

log = structlog.get_logger(__name__)

MAX_DEAD_LETTERS = 1000
DROPPED_AT_ONCE = 16

_WORDS = {
    "age": "older than outbox.max_age_s",
    "size": "the outbox is full (outbox.max_size_mb, or the disk)",
    "memory": "the disk takes nothing and memory is bounded",
    "dead_letters": f"more than {MAX_DEAD_LETTERS} dead letters",
    "damaged": "the stored bytes are damaged",
}


class Drops(Counter[str]):
    """How many messages were dropped, by reason."""

    def add(self, count: int, reason: str) -> None:
        """Count them and say so; none is nothing to say."""
        if count:
            self[reason] += count
            log.warning("message_dropped", count=count, reason=_WORDS[reason])
