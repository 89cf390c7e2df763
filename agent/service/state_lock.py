"""One agent per state directory. Two would poll the same devices and push the same messages.

The kernel locks the directory itself. No file is needed, the lock ends with the process, and it works on a read-only
disk. If the file system does not support locks, the agent runs without one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class NotAloneError(Exception):
    """Another process holds the directory. The message says what to do."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process while the block runs. Raises NotAloneError."""
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
        return None  # the queue reports the reason


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise NotAloneError(
                f"another agent is running with the queue and energies in {folder}: stop it first"
                " (systemctl stop telemetry-agent), or give this one an outbox.path in another directory"
            ) from None
