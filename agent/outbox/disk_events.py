"""Logs disk failures of the queue.

In one failure, each of these events is logged at most once above the level debug: the disk is full, changes are only
in memory, the failure has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from agent.outbox.disk_reserve import RESERVE_BYTES
from agent.storage import is_full

log = structlog.get_logger(__name__)


class DiskFailure:
    """The present disk failure, or none.

    The failure of a full disk lasts until the disk has room for the reserve again. Otherwise a failure would begin and
    end at every message on a nearly full disk.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self.since: float | None = None
        """Monotonic second at which the present failure began; None without a failure."""
        self._told_in_memory = False
        """Whether `outbox_in_memory` was logged in the present failure."""
        self.full = False
        """Whether the disk was full, or had no room for the reserve, in the present failure."""
        self.in_memory = False

    def note_full(self) -> None:
        """Note that the disk is full or has no room for the reserve."""
        if not self.full:
            log.warning(
                "outbox_disk_full",
                path=str(self._path),
                consequence=f"the queue uses its reserve of {RESERVE_BYTES // 1024} KiB, then drops old messages",
            )
        self._begin(full=True)

    def note_in_memory(self, error: Exception) -> None:
        """Note that the disk does not accept changes."""
        (log.debug if self._told_in_memory else log.error)(
            "outbox_in_memory",
            path=str(self._path),
            reason=str(error),
            at_risk="messages that are measured before the disk is writable again",
        )
        self.in_memory = self._told_in_memory = True
        self._begin(full=is_full(error))

    def note_saved(self, *, reserve_held: bool) -> None:
        """Note that all changes are in the file. This ends the failure, except on a full disk without the reserve."""
        self.in_memory = False
        if self.since is None or (self.full and not reserve_held):
            return
        log.info("outbox_recovered", after_s=round(self._monotonic() - self.since, 1))
        self.since, self.full, self._told_in_memory = None, False, False

    def _begin(self, *, full: bool) -> None:
        self.full = self.full or full
        if self.since is None:
            self.since = self._monotonic()
