"""One agent per state directory: two would poll the same devices and push the same messages.

The lock is one of the kernel's on the directory itself: it needs no file, ends with its process however that ends, and
can be had on a read-only disk. Where a file system knows no locks, the agent goes without.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class NotAloneError(Exception):
    """Another process has the directory; the message says what to do."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. Raises NotAloneError."""
    handle = _open(folder)
    try:
        if handle is not None:
            _lock(handle, folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _open(folder: Path) -> int | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None  # the queue says what is wrong with it


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise NotAloneError(
                f"another agent is running with the queue and energies in {folder}: stop it first"
                " (systemctl stop telemetry-agent), or give this one an outbox.path in another directory"
            ) from None
