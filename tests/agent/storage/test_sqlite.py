"""How files are opened and set aside, and what errors say about them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import storage
from tests.faults.disk import fill, mount, small_disk


def create(path: Path, value: bytes = b"1") -> None:
    with contextlib.closing(storage.open_for_writing(path, synchronous="FULL")) as db, storage.transaction(db):
        db.execute("CREATE TABLE t (v BLOB NOT NULL)")
        db.execute("INSERT INTO t VALUES (?)", (value * 3000,))


@pytest.mark.parametrize("name", ["a.sqlite3", "a b%20?mode=ro#.sqlite3", "file:a.sqlite3"])
def test_a_name_is_never_taken_for_a_uri(tmp_path: Path, name: str) -> None:
    create(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    for opened in (storage.open_existing, storage.open_read_only, storage.open_damaged):
        with contextlib.closing(opened(tmp_path / name)) as db:
            assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_open_existing_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), contextlib.closing(storage.open_existing(tmp_path / "a")) as db:
        db.execute("SELECT 1")
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_transaction_that_fails_is_written(tmp_path: Path) -> None:
    create(tmp_path / "a")

    def emptied(db: sqlite3.Connection) -> float:
        with storage.transaction(db):
            return db.execute("DELETE FROM t").rowcount / 0

    with contextlib.closing(storage.open_for_writing(tmp_path / "a", synchronous="NORMAL")) as db:
        with pytest.raises(ZeroDivisionError):
            emptied(db)
        with storage.transaction(db):
            db.execute("INSERT INTO t VALUES ('2')")
        assert db.execute("SELECT count(*) FROM t").fetchone() == (2,)


@pytest.mark.parametrize(
    "statement",
    [
        lambda db: db.execute("SELECT w FROM t"),
        lambda db: db.executemany("INSERT INTO t (w) VALUES (?)", [("1",)]),
    ],
)
def test_another_schema_means_damage(tmp_path: Path, statement: Callable[[sqlite3.Connection], object]) -> None:
    create(tmp_path / "a")
    with contextlib.closing(storage.open_for_writing(tmp_path / "a", synchronous="NORMAL")) as db:
        with pytest.raises(storage.UnusableFileError) as caught:
            statement(db)
        assert storage.means_damage(caught.value)


@pytest.mark.parametrize("damage", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_file_is_not_opened_for_writing(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(damage)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        storage.open_for_writing(path, synchronous="FULL")
    assert storage.means_damage(caught.value)
    assert path.read_bytes() == damage


def test_a_full_a_read_only_and_a_busy_disk_mean_no_damage(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "a"
        create(path)
        with contextlib.closing(storage.open_for_writing(path, synchronous="FULL")) as db:
            with pytest.raises(sqlite3.OperationalError) as busy:
                storage.open_for_writing(path, synchronous="FULL", exclusive=True, busy_s=0.01)
            fill(disk)
            with pytest.raises(sqlite3.Error) as full, storage.transaction(db):
                db.execute("INSERT INTO t VALUES (?)", (b"2" * 1_000_000,))
            assert not db.in_transaction
        mount("-o", "remount,ro", disk)
        with pytest.raises(sqlite3.OperationalError) as read_only:
            storage.open_for_writing(path, synchronous="FULL")
        assert not any(storage.means_damage(error.value) for error in (busy, full, read_only))
        with contextlib.closing(storage.open_read_only(path)) as db:
            assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_the_second_damaged_file_keeps_no_log_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a"
    log, aside_log = tmp_path / "a-wal", tmp_path / "a.damaged-wal"
    path.write_bytes(b"1")
    log.write_bytes(b"log of 1")
    aside = storage.set_aside(path, ".damaged")
    assert (aside.read_bytes(), aside_log.read_bytes()) == (b"1", b"log of 1")
    path.write_bytes(b"2")
    assert storage.set_aside(path, ".damaged") == aside
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.damaged": b"2"}


def test_in_place_takes_an_error_of_the_disk_for_no_removal(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    assert storage.in_place(path.stat(), path / "below a file")


def test_in_place_sees_a_file_that_was_removed_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    opened = path.stat()
    assert storage.in_place(opened, path)
    path.rename(tmp_path / "b")
    assert not storage.in_place(opened, path)
    path.write_bytes(b"1")
    assert not storage.in_place(opened, path)
