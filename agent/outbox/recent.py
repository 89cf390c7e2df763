"""The list of records that only the write-ahead log holds, in a small file beside the queue.

If the log is removed or damaged before the process is killed, the queue's file lacks these records. The next start
compares the list with the queue, and so finds how many are missing.

The file is written and not synced: it survives the end of the process. After a power cut it can be some seconds old.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Collection, Iterable
from pathlib import Path

from agent.storage import checksum

# Allocated at once, so that the list of a usual minute needs no space on a full disk.
_BYTES = 4096
_HEAD = 8
"""The checksum of the seqs and their number, 4 bytes each."""


class RecentRecords:
    """The seqs of these records. A disk that accepts no writes leaves the list in memory."""

    def __init__(self, path: Path) -> None:
        """Open or create the list of the queue at `path`. A list that cannot be read is empty."""
        self.seqs: set[int] = set()
        self._handle: int | None = None
        with contextlib.suppress(OSError):
            # Kept open: the list stays with the queue's file, also if the directory is moved.
            self._handle = os.open(list_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.seqs = _seqs(os.pread(self._handle, os.fstat(self._handle).st_size, 0))
            os.posix_fallocate(self._handle, 0, _BYTES)

    def add(self, seqs: Iterable[int]) -> None:
        """List records after they were committed."""
        self._write(self.seqs.union(seqs))

    def discard(self, seqs: Iterable[int]) -> None:
        """Remove records from the list before they are deleted."""
        self._write(self.seqs.difference(seqs))

    def clear(self) -> None:
        """All records are in the queue's file."""
        self._write(set())

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _write(self, seqs: set[int]) -> None:
        if seqs == self.seqs:
            return
        self.seqs = seqs
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._handle, _content(seqs), 0)


def list_of(path: Path) -> Path:
    """The file of the list of the queue at `path`."""
    return path.with_name(path.name + ".recent")


def _content(seqs: Collection[int]) -> bytes:
    body = array("q", sorted(seqs)).tobytes()
    return checksum(body).to_bytes(4, "little") + len(seqs).to_bytes(4, "little") + body


def _seqs(content: bytes) -> set[int]:
    count = int.from_bytes(content[4:_HEAD], "little")
    body = content[_HEAD : _HEAD + 8 * count]
    if checksum(body).to_bytes(4, "little") != content[:4] or len(body) != 8 * count:
        return set()
    found = array("q")
    found.frombytes(body)
    return set(found)
