"""Disk space that the queue reserves for the time when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from agent.outbox.files import reserve_of
from agent.storage import free_space

RESERVE_BYTES = 512 * 1024


class Reserve:
    """A file of zeros beside the queue's file.

    When the disk is full, the agent deletes this file. The queue's file then has the space to grow, so SQLite can copy
    the pages of the write-ahead log into it. After that, the write-ahead log has room for the next changes.
    """

    def __init__(self, outbox: Path) -> None:
        self._path = reserve_of(outbox)
        self.held = False
        """Whether the last `keep` succeeded and `give` was not called after it."""

    def keep(self) -> bool:
        """Create the file or extend it to `RESERVE_BYTES`, unless the disk has less than twice as much free space.

        Return whether the file has this size.
        """
        try:
            self.held = self._ensure_file()
        except OSError:
            self.held = False
        return self.held

    def give(self) -> bool:
        """Delete the file. Return whether it existed and was deleted."""
        self.held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _ensure_file(self) -> bool:
        if self._path.exists() and self._path.stat().st_size >= RESERVE_BYTES:
            return True
        if free_space(self._path) < 2 * RESERVE_BYTES:
            return False
        with self._path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        return True
