"""The files of a queue: the database with SQLite's own files beside it, and three more (reserve, recent, note).

While a queue or a note is replaced, there is also a new file, which ends in `.new` or `.copy`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agent.storage import PRIVATE, remove, rename

_MOST_BYTES = 64 * 1024
"""Maximum size of a note; a longer one is cut when it is read."""


def reserve_of(path: Path) -> Path:
    """Return the path of the file that reserves disk space for the queue at `path`."""
    return path.with_name(path.name + ".reserve")


def recent_of(path: Path) -> Path:
    """Return the path of the list of the records that may be only in the write-ahead log of the queue at `path`."""
    return path.with_name(path.name + ".recent")


def note_of(path: Path) -> Path:
    """Return the path of the note: what `agent.delivery` learned of the endpoint of the queue at `path`."""
    return path.with_name(path.name + ".note")


def replacement_of(path: Path) -> Path:
    """Return the path of the new file that is to replace the queue at `path`.

    If nothing is at `path`, the new file is complete and counts as the queue. Otherwise it may be incomplete, and is
    ignored.
    """
    return path.with_name(path.name + ".new")


def copy_of(path: Path) -> Path:
    """Return the path of the new file that is written if the file of the queue was removed while it was open.

    A complete file gets the path of `replacement_of`. A file at this path never counts as the queue.
    """
    return path.with_name(path.name + ".copy")


def remove_drafts(path: Path) -> None:
    """Delete the new files that a power cut left.

    If nothing is at `path`, the replacement is the queue. To keep this queue, rename the replacement before this call.
    """
    remove(replacement_of(path))
    remove(copy_of(path))
    _draft_of_note(path).unlink(missing_ok=True)


def queue_exists(path: Path) -> bool:
    """Whether there is a queue at `path`, or one whose replacement a power cut interrupted."""
    return path.exists() or replacement_of(path).exists()


def read_note(path: Path) -> bytes:
    """Return the note of the queue at `path`; empty if there is none, or if it cannot be read."""
    try:
        with note_of(path).open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""


def _draft_of_note(path: Path) -> Path:
    note = note_of(path)
    return note.with_name(note.name + ".new")


def write_note(path: Path, content: bytes) -> None:
    """Replace the note of the queue at `path`, or delete it if `content` is empty.

    The note is not synced: it survives the end of the process, but not always a power cut. If the write fails, this
    function tries to delete the old note.
    """
    file = note_of(path)
    draft = _draft_of_note(path)
    with contextlib.suppress(OSError):
        if content:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
            with os.fdopen(handle, "wb") as written:
                written.write(content)
            draft.replace(file)
            return
    for each in (draft, file):
        with contextlib.suppress(OSError):
            each.unlink()


def rename_queue(path: Path, target: Path) -> None:
    """Rename the files of a queue, and delete its reserve. After a power cut, a second call completes the work."""
    remove_drafts(path)  # first, because after the rename the replacement would count as the queue
    for side in (recent_of, note_of):
        if side(path).exists():
            side(path).replace(side(target))
    rename(path, target)
    reserve_of(path).unlink(missing_ok=True)  # the queue reserves the space again


def delete_queue(path: Path) -> None:
    """Delete all files of a queue. Files that do not exist are no error."""
    remove_drafts(path)  # first, because after the deletion the replacement would count as the queue
    remove(path)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    for side in (reserve_of(path), recent_of(path), note_of(path)):
        side.unlink(missing_ok=True)
