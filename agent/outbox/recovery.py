"""Opens the queue's file. A damaged file is set aside with a date in its name. A new file gets the legible records for
which there is room.

The new file is written beside the damaged one and then renamed. A power cut at any moment loses nothing: either the
damaged file is still at its path, or the new file is complete.

`copy_to` is for another case: the file was removed while it was open.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path

import structlog

from agent.outbox.drops import Drops
from agent.outbox.files import copy_of, remove_drafts, replacement_of
from agent.outbox.record import PendingWrites, Record
from agent.outbox.schema import COLUMNS, migrate, record_from
from agent.outbox.store import Store
from agent.storage import free_space, is_full, means_damage, open_damaged, remove, set_aside, sync_folder

log = structlog.get_logger(__name__)

# Limits of one transaction: the number of messages, and the bytes after which no further message is added. The small
# limits are used in two cases:
# - The disk is almost full. During a transaction, the write-ahead log needs as much space as the messages need in the
#   file.
# - The queue has almost its maximum size. A transaction is stored as a whole or not at all, and a small one may still
#   fit.
_CHUNK = (256, 1024 * 1024)
_SMALL_CHUNK = (32, 64 * 1024)
# With at most this many bytes free, the disk counts as almost full.
_PLENTY_BYTES = 16 * 1024 * 1024
# Minimum bytes that the new file leaves free on the disk.
_MARGIN_BYTES = 64 * 1024
# Number of damaged files that are kept. Older ones are deleted.
_KEPT_ASIDE = 3


def open_or_begin(path: Path, max_size_mb: int, damage: str | None = None) -> Store:
    """Open or create the file. Replace it if it is damaged, or if `damage` is not None.

    `damage` is what the caller knows of the damage, in words. Raises sqlite3.Error or OSError if the disk is not
    writable, sqlite3.Error if another process has locked the file, and NotAloneError if another agent has locked the
    directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replacement = replacement_of(path)
    if not path.exists() and replacement.exists():
        remove(path)  # the write-ahead log of a removed file
        replacement.rename(path)
    if damage is None:
        try:
            store = Store.open(path, max_size_mb)
        except sqlite3.DatabaseError as error:
            if not means_damage(error):
                raise
            damage = str(error)
        else:
            with contextlib.suppress(OSError):
                remove_drafts(path)  # they may be as large as the queue
            return store
    remove(replacement)
    messages, no_room = _write_new(replacement, max_size_mb, _salvage(path))
    aside = _set_aside(path)
    replacement.rename(path)
    sync_folder(path.parent)
    log.error("outbox_set_aside", path=str(path), set_aside=str(aside), reason=damage, saved_messages=messages)
    store = Store.open(path, max_size_mb)
    store.no_room = no_room
    return store


def count_missing(store: Store, drops: Drops) -> None:
    """Count in `drops` the messages that are missing in a file that was just opened.

    `forget` comes first, so that each message is counted once, even if the file is opened again after an error here.
    """
    missing = store.list_recent()
    store.forget()
    drops.add(missing, "lost")
    drops.add(len(store.no_room), "size")


def copy_to(path: Path, max_size_mb: int, removed: Store) -> int | None:
    """Create the file with all legible records of `removed`, the open file that was at this path before.

    Return the number of records. Return None, without a new file, if there is a file at the path, or if the disk or the
    configured size has no room for all records. Raises sqlite3.Error or OSError if the disk is not writable, or if
    `removed` cannot be read to its end. Raises NotAloneError if another agent has locked the directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return None
    copy = copy_of(path)
    remove(copy)
    try:
        copied, no_room = _write_new(copy, max_size_mb, removed.everything())
    except (sqlite3.Error, OSError):
        with contextlib.suppress(OSError):
            remove(copy)
        raise
    if no_room:
        remove(copy)
        return None
    replacement = replacement_of(path)
    remove(replacement)
    copy.rename(replacement)  # if the power fails from here on, the next start uses the replacement
    sync_folder(path.parent)
    removed.files.remove_sides()
    replacement.rename(path)
    sync_folder(path.parent)
    return copied


def legible(store: Store) -> Iterator[Record]:
    """Yield the legible records of a file that may be damaged.

    The file is read from the oldest record on. If a damaged page ends the reading, the file is also read from the
    newest record back.
    """
    last = 0
    try:
        for record in store.everything():
            last = record.seq
            yield record
    except sqlite3.Error:
        with contextlib.suppress(sqlite3.Error):
            yield from takewhile(lambda record: record.seq > last, store.everything(newest_first=True))


def _write_new(replacement: Path, max_size_mb: int, records: Iterator[Record]) -> tuple[int, set[int]]:
    """Write `records` to a new file until the disk or the configured size has no room for the next ones.

    Return the number of records written, and the seqs of the records for which there was no room.
    """
    store = Store.open(replacement, max_size_mb)
    saved: set[int] = set()
    no_room: set[int] = set()
    try:
        free = free_space(replacement)
        while chunk := _next(records, *(_SMALL_CHUNK if free <= _PLENTY_BYTES or _nears_bound(store) else _CHUNK)):
            changes = PendingWrites(added={seq: each for seq, each in chunk.items() if seq not in saved})
            free = free_space(replacement)
            if not no_room and free >= _MARGIN_BYTES + 3 * changes.size and _save(store, changes):
                saved.update(changes.added)
            else:
                no_room.update(changes.added)
    finally:
        store.close()
    return len(saved), no_room - saved


def _nears_bound(store: Store) -> bool:
    _, size = _CHUNK
    return store.at_bound(2 * size)


def _next(records: Iterator[Record], most: int, size: int) -> dict[int, Record]:
    """Return the next records by seq: at most `most`, and no further record after their bodies have `size` bytes."""
    chunk: dict[int, Record] = {}
    for each in islice(records, most):
        chunk[each.seq] = each
        size -= len(each.body)
        if size <= 0:
            break
    return chunk


def _save(store: Store, changes: PendingWrites) -> bool:
    """Write the changes to the file itself, because its write-ahead log is not renamed with it.

    Return False if the disk is full, or if the file has its configured size.
    """
    try:
        store.apply(changes, durable=False)
        return store.checkpoint()
    except sqlite3.Error as error:
        if not is_full(error):
            raise
        return False


def _salvage(path: Path) -> Iterator[Record]:
    """Yield the legible records of a damaged file. A record may be yielded twice.

    A damaged page can end the reading. So the file is read from both ends, first from the newest record.
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(open_damaged(path)) as db:
        with contextlib.suppress(sqlite3.Error):
            migrate(db)
        for order in ("DESC", "ASC"):
            with contextlib.suppress(sqlite3.Error):
                # The rowid is the seq, even if the schema is damaged and no longer declares this.
                columns = COLUMNS.replace("seq", "rowid")
                for row in db.execute(f"SELECT {columns} FROM message ORDER BY rowid {order}"):  # noqa: S608 - our own
                    with contextlib.suppress(sqlite3.Error):
                        yield record_from(row)


def _set_aside(path: Path) -> Path:
    aside = set_aside(path, f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    earlier = sorted(each for each in path.parent.glob(f"{path.name}.damaged-*Z"))
    for old in earlier[:-_KEPT_ASIDE]:
        remove(old)
    return aside
