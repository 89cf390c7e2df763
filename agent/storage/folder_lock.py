"""Locks the state directory for one process.

Without this lock, two processes could poll the same devices and push the same messages.

The lock is on the directory itself, so it needs no file and also works on a read-only disk. It ends with the process.
If the directory cannot be opened, or if its file system does not support locks, the process runs without a lock.

If another directory replaces the locked one at its path, `check_locks` locks the new one too. The daemon calls
`check_locks` every few seconds, and before it opens a queue, its note or the energies for writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path


class NotAloneError(Exception):
    """Another process has locked the directory. The text says what to do."""


_held: list[tuple[Path, list[int]]] = []
"""The locks of this process: path, and the open handles of the directories that were locked there, the newest last."""
_renewing = threading.Lock()
"""Held while a thread runs `check_locks`. Otherwise two threads could lock the same new directory, and the second lock
would fail: a lock belongs to its handle, not to the process."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Create `folder`, and lock it while the block runs. Raises NotAloneError if another process has locked it."""
    with contextlib.suppress(OSError):  # the queue reports this error
        folder.mkdir(parents=True, exist_ok=True)
    lock: tuple[Path, list[int]] = (folder, [])
    _held.append(lock)
    try:
        _renew(*lock)
        yield
    finally:
        _held.remove(lock)
        for handle in lock[1]:
            os.close(handle)


def check_locks() -> None:
    """Lock each directory that has replaced a locked one. Raises NotAloneError if another process has locked it."""
    with _renewing:
        for lock in _held:
            _renew(*lock)


def _renew(folder: Path, handles: list[int]) -> None:
    """Lock the directory at `folder`, unless the last of `handles` is its lock. Append the new handle to `handles`.

    Does nothing if the directory cannot be opened.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if handles and os.path.samestat(os.fstat(handles[-1]), os.fstat(handle)):
            os.close(handle)
            return
        _lock(handle, folder)
    except BaseException:
        os.close(handle)
        raise
    handles.append(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise NotAloneError(
                f"another agent is running with the queue and energies in {folder}: stop it first"
                " (systemctl stop telemetry-agent), or give this one an outbox.path in another directory"
            ) from None
