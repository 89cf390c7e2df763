"""The durable queue: bytes in, the same bytes out, until somebody else has them.

Invariants:

1. What `put` returned an id for is on the disk, synced, and stays until `ack` or a drop by bound.
2. One message has one id and, from its first attempt on, one body for ever; both, its attempts and its next try survive
   restarts.
3. A record is in exactly one state: undated (it waits for the clock), waiting, or parked (dead letter).
4. Every record that leaves unacknowledged is counted with its reason in `drops`, and logged.
5. What was acknowledged is not handed out again; after a power cut, perhaps what was acknowledged since the last `put`.
6. A checksum guards every body: nothing is handed out that was not put in.
7. No state of the disk stops the queue. Full: the reserve is given back and the oldest make room. Unwritable: changes
   wait in memory (bounded; 1 is suspended and said aloud), what can be read is handed out, and everything is written
   down when the disk is back. Damaged, or written by a later version: set aside with a date, and what can be read of
   it is taken over. An older schema is migrated.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from agent.outbox_open import open_or_begin
from agent.outbox_record import Counts, Record, Unsaved, new_id
from agent.outbox_store import DamagedRecordError, Reserve, Store, code, means_damage

__all__ = ["Counts", "Outbox", "Record"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_DEAD_LETTERS = 1000
MEMORY_BYTES = 4 * 1024 * 1024
# No next try lies further ahead than this: where one does, the clock has stepped back.
MAX_WAIT_S = 3700.0
_DROPPED_AT_ONCE = 16
# The file is as good as it was; it only takes nothing now.
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY)
_WORDS = {
    "age": "older than outbox.max_age_s",
    "size": "the outbox is full (outbox.max_size_mb, or the disk)",
    "memory": "the disk takes nothing and memory is bounded",
    "dead_letters": f"more than {MAX_DEAD_LETTERS} dead letters",
    "damaged": "the stored bytes are damaged",
}


class Outbox:
    """Thread-safe; every call may wait for the disk, so that the event loop calls it in a worker thread."""

    def __init__(
        self, path: Path, max_age_s: float, max_size_mb: int, now: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._path = path
        self._max_age_s = max_age_s
        self._max_size_mb = max_size_mb
        self._now = now
        self._monotonic = monotonic
        self._steady = now() - monotonic()
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._reserve = Reserve(path)
        self._unsaved = Unsaved()
        self._last_seq = 0
        self._live_from = 0
        self._in_memory_since: float | None = None
        self._reserved = False
        self.drops: Counter[str] = Counter()

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
        """Open or begin the queue at `path`. Never refuses to start."""
        outbox = cls(path, max_age_s, max_size_mb, now, monotonic)
        outbox._attach()
        outbox._reserved = outbox._reserve.keep()
        outbox._live_from = outbox._last_seq + 1
        return outbox

    @property
    def in_memory(self) -> bool:
        """The disk does not take what is put here."""
        return self._in_memory_since is not None

    def put(self, bodies: Sequence[bytes], boot: str | None = None, mono: float = 0.0) -> tuple[str, ...]:
        """Store messages, newest last; durable on return. From now on they alone are `live`.

        With a `boot` they are undated: measured at this monotonic second of it, while nobody knew the time.
        """
        with self._lock:
            if self._store is None or self._store.read_only:
                self._attach()
            if boot is None:
                self._expire()
            self._live_from = self._next_seq()
            records = [self._new(body, boot, mono) for body in bodies]
            for record in records:
                self._unsaved.add(record)
            self._save(durable=True)
            if self._store is not None and not self._unsaved:
                self._read(self._shrink)
            return tuple(record.id for record in records)

    def live(self) -> list[Record]:
        """What waits of the newest `put`, in its order."""
        with self._lock:
            return self._waiting(self._live_from, self._last_seq + 1, None)

    def backlog(self, now: float, skip: Collection[int] = (), limit: int = 1) -> list[Record]:
        """The oldest that are due at `now` (Unix seconds), are not live, and whose seq is not in `skip`."""
        with self._lock:
            return self._waiting(0, self._live_from, limit, lambda r: r.seq not in skip and _is_due(r, now))

    def get(self, record: Record) -> Record | None:
        """The record as it stands now; None when it is gone."""
        with self._lock:
            seq = record.seq
            if seq in self._unsaved:
                return self._unsaved.added.get(seq) or self._unsaved.changed.get(seq)
            return self._read(lambda store: store.get(seq))

    def ack(self, record: Record) -> None:
        """Somebody else has it."""
        with self._lock:
            self._unsaved.remove(record.seq)
            self._save()

    def undated(self, after: int = 0, limit: int = 64) -> list[Record]:
        """What waits for the clock, oldest first, beginning after this seq."""
        with self._lock:
            here = [r for r in self._unsaved.records if r.boot is not None and r.parked is None and r.seq > after]
            stored = self._read(lambda store: store.undated(after, limit)) or []
            return sorted([r for r in stored if r.seq not in self._unsaved] + here, key=_by_seq)[:limit]

    def update(self, *records: Record) -> None:
        """Keep these records, still here, as they are now."""
        with self._lock:
            for record in records:
                self._unsaved.change(record)
            self._save()
            if any(record.parked is not None for record in records):
                while (over := self.counts().parked - MAX_DEAD_LETTERS) > 0:
                    victims = [record.seq for record in self.parked()[: max(over, _DROPPED_AT_ONCE)]]
                    self._drop(victims, "dead_letters")

    def parked(self) -> list[Record]:
        """The dead letters, oldest first."""
        with self._lock:
            here = [record for record in self._unsaved.records if record.parked is not None]
            stored = self._read(lambda store: [r for r in store.parked() if r.seq not in self._unsaved]) or []
            return sorted(stored + here, key=_by_seq)

    def counts(self) -> Counts:
        with self._lock:
            stored = self._read(lambda store: store.counts()) or Counts(0, 0)
            if not self._unsaved:
                return stored
            masked = self._read(lambda store: store.tally(self._unsaved.seqs)) or Counts(0, 0)
            here = self._unsaved.records
            dead = sum(record.parked is not None for record in here)
            return Counts(stored.waiting - masked.waiting + len(here) - dead, stored.parked - masked.parked + dead)

    def close(self) -> None:
        """Write down what is still in memory, if the disk takes it, and let go of the file."""
        with self._lock:
            if self._unsaved:
                self._attach()
                self._save(durable=True)
            if self._store is not None:
                self._store.close()
                self._store = None

    def _next_seq(self) -> int:
        return max(self._last_seq + 1, int(self._now() * 1e6))

    def _new(self, body: bytes, boot: str | None, mono: float) -> Record:
        self._last_seq = self._next_seq()
        return Record(self._last_seq, new_id(), body, self._now(), boot=boot, mono=mono)

    def _waiting(
        self, first: int, before: int, limit: int | None, wanted: Callable[[Record], bool] = lambda _: True
    ) -> list[Record]:
        def stored(store: Store) -> list[Record]:
            found: list[Record] = []
            for record in store.waiting(first, before):
                if record.seq not in self._unsaved and wanted(record):
                    found.append(record)
                    if len(found) == limit:
                        break
            return found

        here = [r for r in self._unsaved.records if first <= r.seq < before and _is_sendable(r) and wanted(r)]
        return sorted((self._read(stored) or []) + here, key=_by_seq)[:limit]

    def _read(self, read: Callable[[Store], T]) -> T | None:
        """Ask the disk; None when it does not answer. Damaged records are dropped, a damaged file is replaced."""
        for _ in range(_DROPPED_AT_ONCE):
            if self._store is None:
                break
            try:
                return read(self._store)
            except DamagedRecordError as error:
                self._drop([error.seq], "damaged")
            except (sqlite3.Error, OSError) as error:
                if not self._mended(error):
                    break
        return None

    def _save(self, durable: bool = False) -> None:
        """Bring the disk up to date; what it does not take stays in memory."""
        for _ in range(_DROPPED_AT_ONCE):
            if self._store is None:
                break
            try:
                self._store.apply(self._unsaved, durable=durable or self._in_memory_since is not None)
            except (sqlite3.Error, OSError) as error:
                if not self._made_room(self._store, error) and not self._mended(error):
                    break
            else:
                self._unsaved.clear()
                self._recovered(self._store)
                return
        self._count(self._unsaved.shed(MEMORY_BYTES), "memory")

    def _made_room(self, store: Store, error: Exception) -> bool:
        """Whether old records could be dropped, so that writing may be tried again."""
        if code(error) != sqlite3.SQLITE_FULL:
            return False
        try:
            if not store.at_bound():
                self._reserve.give()
                self._reserved = False
                store.tighten()
            return self._drop_oldest(store)
        except (sqlite3.Error, OSError):
            return False

    def _drop_oldest(self, store: Store) -> bool:
        oldest = store.oldest_parked(_DROPPED_AT_ONCE) or [seq for seq, _, _ in store.oldest(_DROPPED_AT_ONCE)]
        victims = Unsaved(gone={seq for seq in oldest if seq not in self._unsaved})
        if not victims:
            return False
        store.apply(victims, durable=False)
        self._count(len(victims.gone), "size")
        return True

    def _shrink(self, store: Store) -> None:
        while store.over_bound() and self._drop_oldest(store):
            pass

    def _expire(self) -> None:
        # Looks at the oldest only, so that it costs the same whatever waits. A clock that leaps ahead ages nothing.
        limit = min(self._now(), self._steady + self._monotonic()) - self._max_age_s
        for _ in range(_DROPPED_AT_ONCE):
            oldest = self._read(lambda store: store.oldest(_DROPPED_AT_ONCE)) or []
            old = [seq for seq, created, dated in oldest if dated and created < limit and seq not in self._unsaved]
            self._drop(old, "age")
            if len(old) < _DROPPED_AT_ONCE:
                break

    def _drop(self, seqs: Iterable[int], reason: str) -> None:
        dropped = list(seqs)
        for seq in dropped:
            self._unsaved.remove(seq)
        if dropped:
            self._save()
        self._count(len(dropped), reason)

    def _count(self, count: int, reason: str) -> None:
        if count:
            self.drops[reason] += count
            log.warning("message_dropped", count=count, reason=_WORDS[reason])

    def _attach(self, damage: str | None = None) -> None:
        """Open the file, if need be a new one, if need be read-only, if need be none."""
        if self._store is not None:
            self._store.close()
            self._store = None
        try:
            self._store = self._open(damage)
        except (sqlite3.Error, OSError) as error:
            self._say_in_memory(error)
            try:
                self._store = Store.open_read_only(self._path)
            except (sqlite3.Error, OSError):
                return
        self._last_seq = max(self._last_seq, self._read(lambda store: store.last_seq()) or 0)

    def _open(self, damage: str | None) -> Store:
        try:
            return open_or_begin(self._path, self._max_size_mb, damage)
        except (sqlite3.Error, OSError):
            if not self._reserve.give():
                raise
            self._reserved = False
            return open_or_begin(self._path, self._max_size_mb, damage)

    def _mended(self, error: Exception) -> bool:
        """The disk does not do what it should: whether a new file takes the place of a damaged one."""
        if self._store is not None and code(error) not in _PASSING:
            self._store.close()
            self._store = None
        if means_damage(error):
            self._attach(str(error))
            return self._store is not None and not self._store.read_only
        self._say_in_memory(error)
        return False

    def _say_in_memory(self, error: Exception) -> None:
        first = self._in_memory_since is None
        if first:
            self._in_memory_since = time.monotonic()
        (log.error if first else log.debug)(
            "outbox_in_memory", path=str(self._path), reason=str(error), at_risk="what is measured until it can write"
        )

    def _recovered(self, store: Store) -> None:
        if not self._reserved:
            self._reserved = self._reserve.keep()
            if self._reserved:
                store.relax()
        if self._in_memory_since is not None:
            log.info("outbox_recovered", after_s=round(time.monotonic() - self._in_memory_since, 1))
            self._in_memory_since = None


def _by_seq(record: Record) -> int:
    return record.seq


def _is_sendable(record: Record) -> bool:
    return record.parked is None and record.boot is None


def _is_due(record: Record, now: float) -> bool:
    return not 0 < record.next_try - now < MAX_WAIT_S
