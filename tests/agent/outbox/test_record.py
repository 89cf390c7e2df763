"""Changes that are saved in parts: nothing is left out, added or saved twice, and no part is too large."""

from __future__ import annotations

import copy

from hypothesis import example, given
from hypothesis import strategies as st

from agent.outbox.record import PendingWrites, Record

SEQS = st.integers(0, 60)
CHANGES = st.lists(st.tuples(st.sampled_from(("add", "change", "remove")), SEQS, st.integers(0, 3000)), max_size=60)


@given(CHANGES, st.integers(1, 8), st.integers(0, 5000))
@example([("add", 1, 9), ("add", 2, 9)], 8, 10)
@example([("add", 1, 9), ("add", 2, 9)], 8, 9)
def test_the_parts_of_pending_changes_are_all_of_them(
    changes: list[tuple[str, int, int]], count: int, size: int
) -> None:
    pending = PendingWrites()
    for what, seq, length in changes:
        record = Record(seq, f"msg_{seq}", b"x" * length, 1000.0)
        if what == "remove":
            pending.remove(seq)
        elif what == "change":
            pending.change(record)
        elif seq not in pending.gone:
            pending.add(record)
    assert pending.added.keys().isdisjoint(pending.changed), "a record is in one place"
    whole, saved = copy.deepcopy(pending), PendingWrites()
    aliased = pending.gone
    while pending:
        part = pending.part(count, size)
        assert part
        assert max(map(len, (part.gone, part.changed, part.added))) <= count
        largest = max((len(record.body) for record in part.added.values()), default=0)
        assert sum(len(record.body) for record in part.added.values()) <= size + largest
        if part.added:
            *_, last = part.added.values()
            alone = len(part.added) == 1 and not part.gone and not part.changed
            assert alone or part.size - len(last.body) < size, "the others leave room for the last"
        if len(part.added) < min(count, len(pending.added)):
            assert part.size >= size, "no more is left for later than necessary"
        assert not saved.added or not part.added or max(saved.added) < min(part.added), "the oldest come first"
        pending.settle(part)
        saved.added |= part.added
        saved.changed |= part.changed
        saved.gone |= part.gone
    assert saved == whole
    assert pending.gone is aliased, "the open file masks these records"
