"""The durable queue: it stores messages as bytes until they are acknowledged.

Invariants:

1. When `put` returns a record, its message is synced to the disk. The message stays there until `ack`, or until it is
   dropped for one of the reasons in `drops`, or deleted by a command.
2. The id of a message never changes. The body of a message never changes after its first attempt. Id, body, number of
   attempts and time of the next attempt survive restarts.
3. A record is in exactly one state: undated (it waits for the clock), dated and waiting, or parked (a dead letter).
4. Every record that is removed without an `ack` is counted by reason in `drops` and logged, unless a command deleted
   it. Records that are missing when the file is opened, because a file of the queue was removed or damaged, are counted
   and logged too.
5. An acknowledged record is not returned again, with these exceptions:
   - After a power cut: the records acknowledged since the last `put`.
   - After the loss of the write-ahead log: the records whose `ack` was only in this log.
   - After the end of the agent on a disk that is not writable: the records whose `ack` was only in memory.
6. Every body has a checksum, except a body that a version with the first schema stored. The queue returns a body with a
   checksum only if its bytes are those that `put` or `update` stored.
7. No state of the disk stops the queue:
   - Full: the file uses the space of its reserve and the free space of the disk. Then dead letters and the oldest
     records are dropped, as many as the new records need.
   - Not writable: changes stay in memory, up to a limit, until the disk is writable again. Records that can be read are
     returned. Until the changes are saved, invariant 1 does not hold; `in_memory` is true, and the log reports it.
   - Damaged, or written by a later version: the file is set aside with a date, and its legible records are kept.
   - An older schema is migrated.
8. At most a minute after its `put`, a waiting record is in the file itself and no longer depends on the write-ahead
   log. If the log cannot be written back at that time, the queue tries again after about a minute.
9. The queue opens no file in a directory that another agent has locked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

from agent.outbox.drops import DROPPED_AT_ONCE, MAX_DEAD_LETTERS, Drops
from agent.outbox.files import read_note, write_note
from agent.outbox.record import Counts, PendingWrites, Record, new_id
from agent.outbox.resilient_store import ResilientStore
from agent.storage import NotAloneError, check_locks

__all__ = ["Counts", "Outbox", "Record"]

# A record waits less than this many seconds for its next attempt. An endpoint may ask for one hour, and the agent waits
# up to a tenth longer, so that the agents of a fleet do not all return at once. If `next_try` is further away, the
# clock was set back, so the record is due at once.
MAX_WAIT_S = 4000.0
# Seconds from a complete search for expired messages (older than `max_age_s`) to the next one. `put` makes these
# searches, unless its messages are undated.
EXPIRE_EVERY_S = 60.0
# Maximum number of transactions in which one `put` drops expired messages, so that no `put` takes long. If there are
# more expired messages, the next `put` continues.
_ROUNDS = 16


class Outbox:
    """The queue. Thread-safe. Every call may wait for the disk, so do not call it in the thread of the event loop."""

    def __init__(
        self,
        path: Path,
        store: ResilientStore,
        max_age_s: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._path = path
        self._store = store
        self._max_age_s = max_age_s
        self._now = now
        self._monotonic = monotonic
        self._wall_offset = now() - monotonic()
        """Wall minus monotonic time when the queue was opened, in seconds."""
        self._lock = threading.RLock()
        self._live_from = store.last_seq + 1
        self._expire_at = -inf

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        max_age_s: float,
        max_size_mb: int,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Outbox:
        """Open or create the queue at `path`. Succeeds in every state of the disk."""
        store = ResilientStore(path, max_size_mb, monotonic)
        store.open()
        return cls(path, store, max_age_s, now, monotonic)

    @property
    def in_memory(self) -> bool:
        """Whether messages are kept in memory, because the disk is not writable."""
        return self._store.in_memory

    @property
    def drops(self) -> Drops:
        return self._store.drops

    def put(self, bodies: Sequence[bytes], boot: str | None = None, mono: float = 0.0) -> list[Record]:
        """Store messages durably. Return their records in the same order. These records are now the live ones.

        With `boot`, the records are undated: their messages were measured at monotonic second `mono` of that boot,
        before the clock could be trusted. `live` does not return records while they are undated.

        Raises NotAloneError if the directory was replaced and another agent has locked the new directory. The
        messages are then stored in the queue that was moved away.
        """
        with self._lock:
            displaced: NotAloneError | None = None
            try:
                self._store.reopen_if_needed()
            except NotAloneError as error:
                displaced = error
            if boot is None and self._monotonic() >= self._expire_at:
                self._expire()
            now = self._now()
            self._live_from = max(self._store.last_seq + 1, int(now * 1e6))
            records = [
                Record(seq, new_id(), body, now, boot=boot, mono=mono)
                for seq, body in enumerate(bodies, self._live_from)
            ]
            self._store.write(PendingWrites(added={record.seq: record for record in records}), durable=True)
            if displaced is not None:
                raise displaced
            return records

    def live(self) -> list[Record]:
        """Return the waiting records of the newest `put`, in the order of its messages."""
        with self._lock:
            return self._waiting(self._live_from, self._store.last_seq + 1)

    def backlog(self, now: float, skip: Collection[int] = (), limit: int = 1) -> list[Record]:
        """Return the records that are due at Unix second `now`, are not live, and are not in `skip`, oldest first.

        `skip` has seqs. Return at most `limit` records.
        """
        with self._lock:
            return self._waiting(0, self._live_from, lambda r: r.seq not in skip and _is_due(r, now), limit)

    def get(self, seq: int) -> Record | None:
        """Return the current state of the record; None if it is gone."""
        with self._lock:
            return self._store.get(seq)

    def ack(self, record: Record) -> None:
        """Delete a record that the endpoint accepted."""
        with self._lock:
            self._store.write(PendingWrites(gone={record.seq}))

    def undated(self, after: int = 0, limit: int = 64) -> list[Record]:
        """Return at most `limit` undated records with a seq larger than `after`, oldest first."""
        with self._lock:
            return self._store.find(
                lambda store: store.undated(after),
                lambda r: r.boot is not None and r.parked is None and r.seq > after,
                limit,
            )

    def update(self, *records: Record) -> None:
        """Save the new state of these records. A record that is gone stays gone.

        If this makes more than `MAX_DEAD_LETTERS` dead letters, the oldest are dropped.
        """
        with self._lock:
            self._store.write(PendingWrites(changed={record.seq: record for record in records}))
            if any(record.parked is not None for record in records):
                self._bound_dead_letters()

    def parked(self, limit: int | None = None) -> list[Record]:
        """Return the dead letters, oldest first; at most `limit`, or all."""
        with self._lock:
            return self._store.find(lambda store: store.parked(), lambda r: r.parked is not None, limit)

    def note(self) -> bytes:
        """Return what `set_note` wrote last, even if that was before a restart; empty if it is not legible."""
        return read_note(self._path)

    def set_note(self, content: bytes) -> None:
        """Write a few bytes about the endpoint beside the queue; delete them if `content` is empty.

        They are not kept if the disk rejects them, or if another agent has locked the directory.
        """
        with suppress(NotAloneError):
            check_locks()
            write_note(self._path, content)

    def counts(self) -> Counts:
        """Return the counts. Call this every few seconds: it also writes the write-ahead log back if this is due."""
        with self._lock:
            self._store.checkpoint_if_due()
            return self._store.counts()

    def close(self) -> None:
        """Save what is still in memory, if the disk is writable, and close the file."""
        with self._lock:
            self._store.close()

    def _waiting(
        self, first: int, before: int, due: Callable[[Record], bool] = lambda _: True, limit: int | None = None
    ) -> list[Record]:
        """Return the waiting records with first <= seq < before, oldest first."""
        return self._store.find(
            lambda store: store.waiting(first, before),
            lambda r: first <= r.seq < before and r.parked is None and r.boot is None and due(r),
            limit,
        )

    def _expire(self) -> None:
        # If the wall clock stepped forward since the queue was opened, the monotonic clock gives the age, so that no
        # record is dropped too early.
        limit = min(self._now(), self._wall_offset + self._monotonic()) - self._max_age_s
        for _ in range(_ROUNDS):
            oldest = self._store.oldest(DROPPED_AT_ONCE)
            old = [seq for seq, created, dated in oldest if dated and created < limit]
            self._store.drop(old, "age")
            if len(old) < DROPPED_AT_ONCE:
                self._expire_at = self._monotonic() + EXPIRE_EVERY_S
                break

    def _bound_dead_letters(self) -> None:
        over = self.counts().parked - MAX_DEAD_LETTERS
        while over > 0 and (oldest := self.parked(max(over, DROPPED_AT_ONCE))):
            self._store.drop([record.seq for record in oldest], "dead_letters")
            over = self.counts().parked - MAX_DEAD_LETTERS


def _is_due(record: Record, now: float) -> bool:
    return not 0 < record.next_try - now < MAX_WAIT_S
