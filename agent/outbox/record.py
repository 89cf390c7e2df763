"""What the queue holds, and what of it the disk does not know yet. Pure but for the ids."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """One message; times in Unix seconds. `parked` is the reason of a dead letter."""

    seq: int
    """The order: microseconds since 1970 at `put`, made strictly increasing."""
    id: str
    body: bytes
    created: float
    attempts: int = 0
    refusals: int = 0
    next_try: float = 0.0
    parked: str | None = None
    boot: str | None = None
    """The boot in which it was measured, while its `time` is not known; it waits for the clock."""
    mono: float = 0.0
    """The monotonic second of that boot which it describes."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages wait, and how many are dead letters."""

    waiting: int
    parked: int


@dataclass(slots=True)
class PendingWrites:
    """Changes on their way to the disk. Empty but for the moment of a write, unless the disk takes nothing."""

    added: dict[int, Record] = field(default_factory=dict)
    changed: dict[int, Record] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.gone)

    def __contains__(self, seq: int) -> bool:
        return seq in self.added or seq in self.changed or seq in self.gone

    @property
    def seqs(self) -> list[int]:
        return [*self.added, *self.changed, *self.gone]

    @property
    def records(self) -> list[Record]:
        """What is here and still exists, oldest first."""
        return sorted([*self.added.values(), *self.changed.values()], key=lambda record: record.seq)

    def add(self, record: Record) -> None:
        self.added[record.seq] = record

    def change(self, record: Record) -> None:
        if record.seq in self.added:
            self.added[record.seq] = record
        elif record.seq not in self.gone:
            self.changed[record.seq] = record

    def remove(self, seq: int) -> None:
        self.added.pop(seq, None)
        self.changed.pop(seq, None)
        # Even of what was only added here: a commit that failed may still have reached the disk.
        self.gone.add(seq)

    def clear(self) -> None:
        self.added.clear()
        self.changed.clear()
        self.gone.clear()

    def shed(self, limit_bytes: int) -> int:
        """Give up the oldest that are only here until the rest fits; how many were lost."""
        lost = 0
        size = sum(len(record.body) for record in self.added.values())
        while size > limit_bytes and len(self.added) > 1:
            oldest = min(self.added)
            size -= len(self.added.pop(oldest).body)
            lost += 1
        return lost


def new_id() -> str:
    """An id for a message; 122 random bits."""
    return f"msg_{uuid.uuid4().hex}"
