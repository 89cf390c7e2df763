"""The records of the queue, and the changes that are not saved yet. Pure, except for the random ids."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from itertools import islice


@dataclass(frozen=True, slots=True)
class Record:
    """One message. Times are in Unix seconds, except `mono`."""

    seq: int
    """Records are ordered by it. `Outbox.put` uses about the microseconds since 1970, and always more than the highest
    seq so far."""
    id: str
    body: bytes
    created: float
    attempts: int = 0
    refusals: int = 0
    next_try: float = 0.0
    parked: str | None = None
    """Why the message is a dead letter; None if it is not a dead letter."""
    boot: str | None = None
    """The id of the boot in which the message was measured, if the message is undated; else None."""
    mono: float = 0.0
    """The monotonic second of that boot at which the message was measured."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of waiting records (including the undated ones) and of dead letters."""

    waiting: int
    parked: int


@dataclass(slots=True)
class PendingWrites:
    """Changes that are not saved yet, by seq."""

    added: dict[int, Record] = field(default_factory=dict)
    changed: dict[int, Record] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.gone)

    def __contains__(self, seq: int) -> bool:
        return seq in self.added or seq in self.changed or seq in self.gone

    @property
    def records(self) -> list[Record]:
        """Added and changed records, oldest first."""
        return sorted([*self.added.values(), *self.changed.values()], key=lambda record: record.seq)

    def add(self, record: Record) -> None:
        # A record that is copied from another file may be in `changed`: its change was not saved in that file.
        self.changed.pop(record.seq, None)
        self.added[record.seq] = record

    def change(self, record: Record) -> None:
        if record.seq in self.added:
            self.added[record.seq] = record
        elif record.seq not in self.gone:
            self.changed[record.seq] = record

    def remove(self, seq: int) -> None:
        self.added.pop(seq, None)
        self.changed.pop(seq, None)
        # Also delete a record that was only in `added`: a failed commit may still have reached the disk.
        self.gone.add(seq)

    def merge(self, later: PendingWrites) -> None:
        """Add later changes. They replace the earlier changes of the same records."""
        for seq in later.gone:
            self.remove(seq)
        for record in later.changed.values():
            self.change(record)
        for record in later.added.values():
            self.add(record)

    @property
    def size(self) -> int:
        """Bytes of all bodies."""
        return sum(len(record.body) for record in (*self.added.values(), *self.changed.values()))

    def part(self, changes: int, size: int) -> PendingWrites:
        """Return the changes for one transaction: at most `changes` of each kind.

        Deletions and changed records come first. Then the oldest added records follow, until the bodies have `size`
        bytes. The part is empty only if there are no changes.
        """
        part = PendingWrites(
            gone=set(islice(self.gone, changes)),
            changed=dict(islice(self.changed.items(), changes)),
        )
        room = size - part.size
        for seq in sorted(self.added)[:changes]:
            if room <= 0 and part:
                break
            part.added[seq] = self.added[seq]
            room -= len(self.added[seq].body)
        return part

    def settle(self, part: PendingWrites) -> None:
        """Remove the changes in `part`, because they are saved."""
        self.gone -= part.gone
        for seq in part.changed:
            del self.changed[seq]
        for seq in part.added:
            del self.added[seq]

    def drop_oldest(self, limit_bytes: int) -> int:
        """Remove the oldest added records until the bodies of the other added records have at most `limit_bytes`.

        The newest one is kept, even if it is larger. Return how many were removed.
        """
        lost = 0
        size = sum(len(record.body) for record in self.added.values())
        while size > limit_bytes and len(self.added) > 1:
            oldest = min(self.added)
            size -= len(self.added.pop(oldest).body)
            lost += 1
        return lost


def new_id() -> str:
    """Return a new id for a message, with 122 random bits."""
    return f"msg_{uuid.uuid4().hex}"
