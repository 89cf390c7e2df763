"""A file beside the queue: the records that may be only in the write-ahead log, and the number of all records.

If the write-ahead log is removed or damaged and then the process is killed, these records can be missing in the queue's
file. The next start compares the list and the number with the queue, and counts the missing records.

The file is not synced. It survives the end of the process. After a power cut, its content may be some seconds old.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from pathlib import Path

from agent.outbox.files import recent_of
from agent.storage import PRIVATE, checksum

# Bytes that are allocated when the file is opened, so that the records of a usual minute also fit on a full disk.
_BYTES = 4096
_HEAD = 16
"""Bytes before the seqs: the checksum of all bytes after it up to the last seq (4), the number of seqs (4), the number
of all records (8)."""


class RecentRecords:
    """The list of seqs and the number of records. If the disk accepts no writes, changes to them are only in memory."""

    def __init__(self, path: Path | None = None, *, create: bool = True) -> None:
        """Open the list of the queue at `path`; None means a list without a file. An unreadable list is empty."""
        self.seqs: set[int] = set()
        self.total = 0
        """The number of all records of the queue."""
        self._handle: int | None = None
        if path is None:
            return
        with contextlib.suppress(OSError):
            # The file stays open, so that the list stays with the queue's file if the directory is moved.
            self._handle = os.open(recent_of(path), os.O_RDWR | os.O_CLOEXEC | os.O_CREAT * create, PRIVATE)
            self.seqs, self.total = _parsed(os.pread(self._handle, os.fstat(self._handle).st_size, 0))
            os.posix_fallocate(self._handle, 0, _BYTES)

    def write(self, seqs: set[int], total: int) -> None:
        """Replace the list and the number.

        Call this after new records are committed, but before deletions are committed.
        """
        if (seqs, total) == (self.seqs, self.total):
            return
        self.seqs, self.total = seqs, total
        if self._handle is not None:
            body = len(seqs).to_bytes(4, "little") + total.to_bytes(8, "little") + array("q", sorted(seqs)).tobytes()
            with contextlib.suppress(OSError):
                os.pwrite(self._handle, checksum(body).to_bytes(4, "little") + body, 0)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None  # its number may soon belong to another file


def _parsed(content: bytes) -> tuple[set[int], int]:
    count = int.from_bytes(content[4:8], "little")
    end = _HEAD + 8 * count
    if checksum(content[4:end]).to_bytes(4, "little") != content[:4]:
        return set(), 0
    found = array("q")
    found.frombytes(content[_HEAD:end])
    return set(found), int.from_bytes(content[8:_HEAD], "little")
