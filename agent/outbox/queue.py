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

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from agent.outbox.drops import DROPPED_AT_ONCE, MAX_DEAD_LETTERS, Drops
from agent.outbox.record import Counts, Record, new_id
from agent.outbox.resilient_store import ResilientStore

__all__ = ["Counts", "Outbox", "Record"]

# No next try lies further ahead than this: where one does, the clock has stepped back.
MAX_WAIT_S = 3700.0
_ROUNDS = 16


class Outbox:
    """Thread-safe; every call may wait for the disk, so that the event loop calls it in a worker thread."""

    def __init__(
        self, keeper: ResilientStore, max_age_s: float, now: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._keeper = keeper
        self._max_age_s = max_age_s
        self._now = now
        self._monotonic = monotonic
        self._steady = now() - monotonic()
        self._lock = threading.RLock()
        self._live_from = keeper.last_seq + 1

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
        keeper = ResilientStore(path, max_size_mb)
        keeper.open()
        return cls(keeper, max_age_s, now, monotonic)

    @property
    def in_memory(self) -> bool:
        """The disk does not take what is put here."""
        return self._keeper.in_memory

    @property
    def drops(self) -> Drops:
        """How many messages left unacknowledged, by reason."""
        return self._keeper.drops

    def put(self, bodies: Sequence[bytes], boot: str | None = None, mono: float = 0.0) -> tuple[str, ...]:
        """Store messages, newest last; durable on return. From now on they alone are `live`.

        With a `boot` they are undated: measured at this monotonic second of it, while nobody knew the time.
        """
        with self._lock:
            self._keeper.reach()
            if boot is None:
                self._expire()
            now = self._now()
            self._live_from = max(self._keeper.last_seq + 1, int(now * 1e6))
            records = [
                Record(seq, new_id(), body, now, boot=boot, mono=mono)
                for seq, body in enumerate(bodies, self._live_from)
            ]
            self._keeper.add(records)
            return tuple(record.id for record in records)

    def live(self) -> list[Record]:
        """What waits of the newest `put`, in its order."""
        with self._lock:
            return self._waiting(self._live_from, self._keeper.last_seq + 1)

    def backlog(self, now: float, skip: Collection[int] = (), limit: int = 1) -> list[Record]:
        """The oldest that are due at `now` (Unix seconds), are not live, and whose seq is not in `skip`."""
        with self._lock:
            return self._waiting(0, self._live_from, lambda r: r.seq not in skip and _is_due(r, now), limit)

    def get(self, record: Record) -> Record | None:
        """The record as it stands now; None when it is gone."""
        with self._lock:
            return self._keeper.get(record.seq)

    def ack(self, record: Record) -> None:
        """Somebody else has it."""
        with self._lock:
            self._keeper.remove([record.seq])

    def undated(self, after: int = 0, limit: int = 64) -> list[Record]:
        """What waits for the clock, oldest first, beginning after this seq."""
        with self._lock:
            return self._keeper.find(
                lambda store: store.undated(after),
                lambda r: r.boot is not None and r.parked is None and r.seq > after,
                limit,
            )

    def update(self, *records: Record) -> None:
        """Keep these records, still here, as they are now."""
        with self._lock:
            self._keeper.change(records)
            if any(record.parked is not None for record in records):
                self._bound_dead_letters()

    def parked(self, limit: int | None = None) -> list[Record]:
        """The dead letters, oldest first."""
        with self._lock:
            return self._keeper.find(lambda store: store.parked(), lambda r: r.parked is not None, limit)

    def counts(self) -> Counts:
        """How many wait and how many are parked."""
        with self._lock:
            return self._keeper.counts()

    def close(self) -> None:
        """Write down what is still in memory, if the disk takes it, and let go of the file."""
        with self._lock:
            self._keeper.close()

    def _waiting(
        self, first: int, before: int, due: Callable[[Record], bool] = lambda _: True, limit: int | None = None
    ) -> list[Record]:
        """What can be sent of first <= seq < before."""
        return self._keeper.find(
            lambda store: store.waiting(first, before),
            lambda r: first <= r.seq < before and r.parked is None and r.boot is None and due(r),
            limit,
        )

    def _expire(self) -> None:
        # Looks at some of the oldest only, so that no put waits for long. A clock that leaps ahead ages nothing.
        limit = min(self._now(), self._steady + self._monotonic()) - self._max_age_s
        for _ in range(_ROUNDS):
            oldest = self._keeper.oldest(DROPPED_AT_ONCE)
            old = [seq for seq, created, dated in oldest if dated and created < limit]
            self._keeper.drop(old, "age")
            if len(old) < DROPPED_AT_ONCE:
                break

    def _bound_dead_letters(self) -> None:
        over = self.counts().parked - MAX_DEAD_LETTERS
        while over > 0 and (victims := self.parked(max(over, DROPPED_AT_ONCE))):
            self._keeper.drop([record.seq for record in victims], "dead_letters")
            over = self.counts().parked - MAX_DEAD_LETTERS


def _is_due(record: Record, now: float) -> bool:
    return not 0 < record.next_try - now < MAX_WAIT_S
