"""Counts dropped messages by reason, and logs them."""

from __future__ import annotations

from collections import Counter

import structlog

log = structlog.get_logger(__name__)

MAX_DEAD_LETTERS = 1000
"""If there are more dead letters, the oldest are dropped."""
DROPPED_AT_ONCE = 16
"""Maximum number of expired messages that one write drops. If there are too many dead letters, one write drops at least
this many of them."""

_WORDS = {
    "age": "older than outbox.max_age_s",
    "size": "the outbox is full (outbox.max_size_mb, or the disk)",
    "memory": "the disk is not writable, and either the messages are too many to keep in memory or the agent stops",
    "dead_letters": f"more than {MAX_DEAD_LETTERS} dead letters",
    "damaged": "the stored bytes are damaged",
    "lost": "stored earlier, and missing when the queue was opened: its files were removed or damaged",
}


DROP_REASONS = tuple(_WORDS)


class Drops(Counter[str]):
    """How many messages were dropped since the start, by reason (`DROP_REASONS`)."""

    def add(self, count: int, reason: str) -> None:
        """Count `count` dropped messages and log them."""
        if count:
            self[reason] += count
            log.warning("message_dropped", count=count, reason=_WORDS[reason])
