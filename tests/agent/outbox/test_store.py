"""The file of a queue, without what cares for it when the disk fails."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.outbox import PendingWrites, Record, Store
from agent.outbox.store import PAGE_BYTES

STEP_BYTES = 64 * 1024
"""Of `use_free_space`."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "o.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store.open(path, 64)) as store:
        yield store


def added(first: int, count: int, size: int) -> PendingWrites:
    """Messages with the seqs from `first` on."""
    return PendingWrites(
        added={seq: Record(seq, f"msg_{seq}", b"x" * size, 1000.0) for seq in range(first, first + count)}
    )


def test_the_oldest_records_of_a_size_are_the_fewest_that_have_it(store: Store) -> None:
    store.apply(added(1, 3, 20), durable=False)
    assert store.oldest_of_size(99, PendingWrites()) == [1]
    assert store.oldest_of_size(100, PendingWrites()) == [1]
    assert store.oldest_of_size(101, PendingWrites()) == [1, 2]


def test_the_oldest_records_of_a_size_are_dead_letters_first_and_each_counts_once(store: Store) -> None:
    changes = added(1, 4, 20)
    for seq in (2, 4):
        changes.add(Record(seq, f"msg_{seq}", b"x" * 20, 1000.0, parked="HTTP 422"))
    store.apply(changes, durable=False)
    assert store.oldest_of_size(400, PendingWrites()) == [2, 4, 1, 3]
    assert store.oldest_of_size(300, PendingWrites(gone={1})) == [2, 4, 3]


@pytest.mark.parametrize("steps", [1, 8])
def test_the_file_takes_no_more_free_space_than_it_needs(store: Store, path: Path, steps: int) -> None:
    before = path.stat().st_size
    assert store.use_free_space(steps * STEP_BYTES)
    assert 0.8 * steps * STEP_BYTES <= path.stat().st_size - before <= steps * STEP_BYTES


def test_space_that_a_killed_process_took_is_free_for_messages(store: Store, path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE space (bytes BLOB NOT NULL)")
        raw.execute("INSERT INTO space VALUES (zeroblob(?))", (STEP_BYTES,))
    with closing(Store.open(path, 64)):
        pass
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT name FROM sqlite_master WHERE name = 'space'").fetchall() == []
        assert raw.execute("PRAGMA page_size").fetchone() == (PAGE_BYTES,)


@pytest.mark.parametrize(("times", "count", "size"), [(60, 1, 600), (20, 1, 30_000), (12, 400, 10)])
def test_the_log_does_not_grow_beyond_its_pages_and_one_transaction(
    store: Store, path: Path, times: int, count: int, size: int
) -> None:
    for number in range(1, times):
        store.apply(added(number * count, count, size), durable=False)
    assert path.with_name("o.sqlite3-wal").stat().st_size <= 80 * PAGE_BYTES


def test_a_log_that_a_reader_made_large_is_small_again(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        store.apply(added(1, 10, 100_000), durable=False)
        assert path.with_name("o.sqlite3-wal").stat().st_size > 1_000_000
    assert store.checkpoint()
    store.apply(added(11, 1, 100), durable=False)
    assert path.with_name("o.sqlite3-wal").stat().st_size <= 600_000


def test_a_file_that_is_opened_beside_its_agent_gets_no_list(store: Store, path: Path) -> None:
    with closing(Store.open_beside(path)) as beside:
        assert beside.recent.seqs == set()
    assert not path.with_name("o.sqlite3.recent").exists()


def test_messages_are_counted_once(store: Store) -> None:
    """Not again after each change: to count them reads the whole file."""
    if not os.access("/proc/self/io", os.R_OK):
        pytest.skip("/proc/self/io cannot be read here")

    def read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    store.apply(added(1, 500, 3000), durable=False)
    assert store.checkpoint()
    before = read()
    store.apply(added(501, 1, 10), durable=False)
    assert store.counts().waiting == 501
    assert read() - before < 200_000


def test_a_change_of_another_process_is_counted(store: Store, path: Path) -> None:
    store.apply(added(1, 3, 20), durable=False)
    assert (store.counts().waiting, store.counts().parked) == (3, 0)
    with closing(Store.open_beside(path)) as beside:
        beside.apply(PendingWrites(gone={1, 2}), durable=True)
    assert (store.counts().waiting, store.counts().parked) == (1, 0)
