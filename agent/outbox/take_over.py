"""Moves the messages of one queue to another one, for an endpoint that was renamed.

While the messages are moved, no other module may have the file of either queue open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import structlog

from agent.outbox.drops import Drops
from agent.outbox.files import delete_queue, queue_exists, rename_queue
from agent.outbox.record import PendingWrites, Record
from agent.outbox.recovery import count_missing, open_or_begin
from agent.outbox.store import Store
from agent.storage import sync_folder

log = structlog.get_logger(__name__)

_CHUNK = 256  # records in one transaction
# A terabyte, so that only the disk limits a merge.
_NO_BOUND_MB = 1_000_000


def take_over(former: Path, path: Path) -> Drops:
    """Move all messages of the file `former` to the file `path`. After a power cut, a second call completes the move.

    After the move, the file `path` can be larger than its configured size. Then the next `put` drops messages until
    the file is small enough: first dead letters, then the oldest of the others. If a disk error ends the move, the file
    `former` keeps the messages that were not moved, and a warning is logged. A damaged file is set aside first, and its
    legible messages are kept.

    Return the number of dropped messages by reason, also if a disk error ends the move. These messages are dropped:

    - messages that are not legible,
    - messages for which the disk has no room while a damaged file is replaced,
    - messages that were stored earlier and are missing when their file is opened.

    Raises NotAloneError if another process has locked the directory.
    """
    drops = Drops()
    try:
        if queue_exists(path) or not former.exists():
            _merge(former, path, drops)
            delete_queue(former)
        else:
            rename_queue(former, path)
        sync_folder(path.parent)
    except (sqlite3.Error, OSError) as error:
        log.warning("queue_not_taken_over", path=str(former), by=str(path), reason=str(error))
        return drops
    log.info("queue_taken_over", path=str(former), by=str(path))
    return drops


def _merge(former: Path, path: Path, drops: Drops) -> None:
    """Move all legible messages with their ids, and drop the others. Count these in `drops`."""
    with closing(open_or_begin(former, _NO_BOUND_MB)) as source:
        count_missing(source, drops)
        with closing(open_or_begin(path, _NO_BOUND_MB)) as target:
            count_missing(target, drops)
            while records := list(islice(source.everything(), _CHUNK)):
                _move(records, source, target)
            left = source.counts()
            drops.add(left.waiting + left.parked, "damaged")


def _move(records: Sequence[Record], source: Store, target: Store) -> None:
    """Copy the records, then delete the originals.

    A power cut between these two steps leaves each record in both files, with the same id.
    """
    added = PendingWrites()
    for record in records:
        _add(added, record, target)
    target.apply(added, durable=True)
    source.apply(PendingWrites(gone={record.seq for record in records}), durable=False)


def _add(chunk: PendingWrites, record: Record, target: Store) -> None:
    """Add the record to `chunk` with its seq. If another record has this seq, give the record the next free seq.

    Do nothing if `chunk` or the target has the record already.
    """
    while (other := chunk.added.get(record.seq) or target.get(record.seq)) is not None:
        if other.id == record.id:
            return
        record = replace(record, seq=record.seq + 1)
    chunk.add(record)
