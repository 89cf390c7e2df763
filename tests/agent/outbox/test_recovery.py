"""Files that the queue finds in its place: damaged, of another version, or no database at all."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.outbox.files import delete_queue, recent_of, rename_queue
from agent.outbox.queue import Outbox
from agent.outbox.record import PendingWrites
from agent.outbox.store import Store
from agent.storage import UnusableFileError, WatchedFiles, open_for_writing
from tests.faults.disk import no_file_may_grow, syncs
from tests.support.outbox import bodies_of, ids_of, opened, waiting

V1 = """
CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, created REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL DEFAULT 0,
    parked TEXT
) STRICT;
CREATE INDEX waiting ON message (seq) WHERE parked IS NULL;
PRAGMA user_version = 1;
"""


@pytest.mark.parametrize("damage", [b"this is not a database" * 100, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "o.sqlite3"
    path.write_bytes(damage)
    with capture_logs() as logs:
        outbox = opened(path)
    outbox.put([b"1"])
    assert bodies_of(outbox) == [b"1"]
    outbox.close()
    assert [aside.read_bytes() for aside in tmp_path.glob("o.sqlite3.damaged-*")] == [damage]
    assert [entry["log_level"] for entry in logs if entry["event"] == "outbox_set_aside"] == ["error"]


@pytest.mark.parametrize(
    ("at", "damage"),
    [(47, b"\x05"), (b"CREATE TABLE message", b"CREATE TABLE mess\x80ge")],
    ids=["a schema format that nobody knows", "a schema whose complaint is not text"],
)
def test_a_file_that_sqlite_cannot_begin_to_read_is_set_aside(tmp_path: Path, at: int | bytes, damage: bytes) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"1"])
    outbox.close()
    content = bytearray(path.read_bytes())
    place = content.index(at) if isinstance(at, bytes) else at
    content[place : place + len(damage)] = damage
    path.write_bytes(content)
    outbox = opened(path)
    assert not outbox.in_memory
    outbox.put([b"2"])
    assert bodies_of(outbox)[-1] == b"2"
    assert len(list(tmp_path.glob("o.sqlite3.damaged-*"))) == 1
    outbox.close()


def test_a_file_whose_schema_has_lost_its_key_is_set_aside_and_its_messages_go_on(tmp_path: Path) -> None:
    """Its records have their number only as the number of their row."""
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1", b"2", b"3"]))
    outbox.close()
    content = path.read_bytes()
    assert content.count(b"INTEGER PRIMARY KEY") == 1
    path.write_bytes(content.replace(b"INTEGER PRIMARY KEY", b"INTEGER            "))
    outbox = opened(path)
    assert not outbox.in_memory
    assert [record.id for record in waiting(outbox)] == ids
    assert len(list(tmp_path.glob("o.sqlite3.damaged-*"))) == 1
    outbox.close()


def test_what_can_be_read_of_a_damaged_file_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    identities = [ids_of(outbox.put([f"{number:04}".encode() * 100]))[0] for number in range(200)]
    outbox.close()
    content = bytearray(path.read_bytes())
    page = 4096
    content[10 * page : 11 * page] = b"\xff" * page
    path.write_bytes(content)
    outbox = opened(path)
    outbox.put([b"new"])
    kept = [record.id for record in waiting(outbox)]
    assert kept[:-1] == [identity for identity in identities if identity in kept]
    assert 180 <= len(kept) < 200
    assert bodies_of(outbox)[-1] == b"new"
    outbox.close()
    assert len(list(tmp_path.glob("o.sqlite3.damaged-*"))) == 1


def damaged(path: Path, messages: int, size: int) -> list[str]:
    """Close a queue with this many messages, and damage one page of it. Returns the ids."""
    outbox = opened(path)
    ids = [each for number in range(messages) for each in ids_of(outbox.put([b"%04d" % number * (size // 4)]))]
    outbox.close()
    content = bytearray(path.read_bytes())
    content[10 * 4096 : 11 * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    return ids


def test_of_a_damaged_file_that_exceeds_its_bound_the_newest_messages_are_kept(tmp_path: Path) -> None:
    ids = damaged(tmp_path / "o.sqlite3", 200, 10_000)
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    kept = [record.id for record in waiting(outbox)]
    assert 64 <= len(kept) < 100, "the bound has room for 100"
    assert kept == ids[-len(kept) :]
    assert sum(outbox.drops.values()) == len(ids) - len(kept)
    assert outbox.drops["size"] > 100
    outbox.close()


def test_a_recent_message_without_room_is_counted_once(tmp_path: Path) -> None:
    """The process is killed, its file is damaged, and its new maximum size is too small for all recent messages."""
    path = tmp_path / "before" / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"x" * 10_000] * 12))
    outbox.close()
    outbox = opened(path)
    ids += ids_of(outbox.put([b"x" * 10_000] * 200))
    shutil.copytree(path.parent, tmp_path / "after", ignore=shutil.ignore_patterns("*-shm"))
    outbox.close()
    path = tmp_path / "after" / "o.sqlite3"
    content = bytearray(path.read_bytes())
    content[10 * 4096 : 11 * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    outbox = opened(path, max_size_mb=1)
    assert outbox.drops.total() == len(ids) - len(waiting(outbox))
    assert outbox.drops["size"] > 100
    outbox.close()


def test_a_damaged_file_on_a_disk_that_fails_is_replaced_when_the_disk_is_well(tmp_path: Path) -> None:
    ids = damaged(tmp_path / "o.sqlite3", 200, 4000)
    with no_file_may_grow(300_000):
        outbox = opened(tmp_path / "o.sqlite3")
        assert outbox.in_memory
    ids += ids_of(outbox.put([b"new"]))
    assert not outbox.in_memory
    kept = [record.id for record in waiting(outbox)]
    assert 190 <= len(kept) <= 200
    assert kept == [each for each in ids if each in kept]
    assert "size" not in outbox.drops
    outbox.close()


def test_bytes_that_are_not_what_was_put_are_never_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"good message"])
    outbox.put([b"other message"])
    outbox.close()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"good message", b"evil message"))
    outbox = opened(path)
    assert bodies_of(outbox) == [b"other message"]
    assert outbox.drops["damaged"] == 1
    outbox.close()


@pytest.mark.parametrize(
    "damage",
    [
        "created = 'soon'",
        "created = x'00'",
        "next_try = 'soon'",
        "attempts = x'00'",
        "refusals = 'many'",
        "mono = 'when'",
        "id = CAST(x'ff' AS TEXT)",
        f"seq = {2**63 - 1}",
        f"seq = {2**62}",
        "body = 'text'",
    ],
)
def test_a_record_of_which_any_part_is_damaged_stands_in_no_other_s_way(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    for body in (b"first", b"second", b"third"):
        outbox.put([body])
    outbox.close()
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE message SET {damage} WHERE body = ?", (b"second",))
    outbox = opened(path)
    outbox.put([b"fourth"])
    assert bodies_of(outbox) == [b"first", b"third", b"fourth"]
    assert [record.body for record in outbox.live()] == [b"fourth"]
    assert outbox.drops == {"damaged": 1}
    assert (outbox.parked(), outbox.undated(), outbox.in_memory) == ([], [], False)
    outbox.close()


@pytest.mark.seeds(0, 1, 2)
def test_a_bit_that_fell_over_never_stops_the_queue(tmp_path: Path, seed: int) -> None:
    """Anywhere in a file that was closed well, its schema and the order of its pages included."""
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = dict(zip(ids_of(outbox.put([b"%d" % number * 60 for number in range(40)])), range(40), strict=True))
    outbox.close()
    content = path.read_bytes()
    dice = random.Random(seed)
    for _ in range(40):
        at = dice.randrange(100, len(content))
        path.write_bytes(content[:at] + bytes((content[at] ^ 1 << dice.randrange(8),)) + content[at + 1 :])
        outbox = opened(path)
        (live,) = ids_of(outbox.put([b"live"]))
        assert [record.id for record in outbox.live()] == [live], f"byte {at}"
        assert all(record.body == b"%d" % ids[record.id] * 60 for record in outbox.backlog(1e12, limit=100))
        assert (outbox.parked(), outbox.in_memory) == ([], False), f"byte {at}"
        outbox.close()
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_while_it_is_open_loses_nothing(tmp_path: Path, replaced: bool) -> None:
    """Or moved away, with an older one put in its place."""
    path = tmp_path / "state" / "o.sqlite3"
    outbox = opened(path)
    ids = [ids_of(outbox.put([b"%d" % number]))[0] for number in range(600)]
    outbox.update(replace(waiting(outbox)[7], parked="HTTP 422"))
    outbox.ack(waiting(outbox)[0])
    path.parent.rename(tmp_path / "elsewhere")
    if replaced:
        opened(path).close()
    with capture_logs() as logs:
        ids += ids_of(outbox.put([b"live"]))
    assert [entry["event"] for entry in logs] == ["outbox_removed"]
    for _ in range(2):
        assert [record.id for record in waiting(outbox)] == [each for each in ids[1:] if each != ids[7]]
        assert [record.id for record in outbox.parked()] == [ids[7]]
        assert not outbox.drops
        outbox.close()
        outbox = opened(path)
    outbox.close()


def test_a_file_that_exceeds_the_bound_and_is_put_in_place_of_the_open_one_is_made_smaller(tmp_path: Path) -> None:
    """As an old file that is restored from a backup, and had a larger maximum size."""
    path, restored = tmp_path / "o.sqlite3", tmp_path / "restored.sqlite3"
    old = opened(restored, at=900.0)
    old.put([b"%03d" % number * 5000 for number in range(150)])
    old.close()
    outbox = opened(path, max_size_mb=1)
    outbox.put([b"before"])
    restored.rename(path)
    outbox.put([b"live"])
    bodies = bodies_of(outbox)
    assert bodies[-2:] == [b"before", b"live"]
    assert 512 * 1024 <= sum(map(len, bodies)) <= 1024 * 1024
    assert outbox.drops == {"size": 152 - len(bodies)}
    outbox.close()


def test_a_power_cut_after_a_damaged_file_was_set_aside_leaves_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.sqlite3"
    path.write_bytes(b"this is not a database" * 100)
    damaged = path.stat().st_ino
    saved = syncs(monkeypatch)
    opened(path).close()
    _, names = saved[-1]
    assert isinstance(names, dict)
    assert names.pop(path.name) == path.stat().st_ino
    assert [name for name, inode in names.items() if inode == damaged] == [
        each.name for each in tmp_path.glob("o.sqlite3.damaged-*")
    ]


def test_a_power_cut_while_a_removed_file_is_replaced_leaves_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"1"])
    path.unlink()
    saved = syncs(monkeypatch)
    outbox.put([b"2"])
    places = [names for _, names in saved if isinstance(names, dict)]
    # The replacement has its name before the log of the removed file is deleted.
    assert [{"o.sqlite3", "o.sqlite3.new"} & set(names) for names in places] == [{"o.sqlite3.new"}, {"o.sqlite3"}]
    assert "o.sqlite3-wal" in places[0]
    assert places[0]["o.sqlite3.new"] == places[1]["o.sqlite3"] == path.stat().st_ino
    outbox.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_the_log_of_a_removed_file_is_not_taken_for_that_of_its_successor(tmp_path: Path, replaced: bool) -> None:
    """Only the file is removed. Its log is still there, and has newer pages than the file, but not all of them."""
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = [ids_of(outbox.put([b"%d" % number * 200]))[0] for number in range(300)]
    for number in range(20):
        for record in waiting(outbox)[::2][:10]:
            outbox.ack(record)
            ids.remove(record.id)
        if replaced:
            opened(tmp_path / "another.sqlite3").close()
            (tmp_path / "another.sqlite3").rename(path)
        else:
            path.unlink()
        with capture_logs() as logs:
            ids += ids_of(outbox.put([b"%d" % number]))
        assert [entry["event"] for entry in logs] == ["outbox_removed"]
        assert [record.id for record in waiting(outbox)] == ids
        assert not outbox.drops
    outbox.close()
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    outbox.close()


def test_a_copy_that_was_complete_when_the_power_failed_has_no_log_of_the_removed_file(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(tmp_path / "copy.sqlite3")
    ids = ids_of(outbox.put([b"1", b"2"]))
    outbox.close()
    removed = opened(path)
    removed.put([b"%d" % number * 500 for number in range(50)])
    (tmp_path / "copy.sqlite3").rename(tmp_path / "o.sqlite3.new")
    path.unlink()
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()
    removed.close()


@pytest.mark.parametrize(("owner", "moment"), [(WatchedFiles, "moved"), (Store, "checkpoint")])
def test_a_directory_that_is_moved_while_the_queue_looks_for_it_takes_no_message_along(
    tmp_path: Path, owner: type, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state" / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1", b"2"]))
    outbox.close()
    outbox = opened(path)
    path.with_name("o.sqlite3-wal").unlink()
    step: Callable[[object], bool] = getattr(owner, moment)

    def move_first(looking: object) -> bool:
        if path.parent.exists():
            path.parent.rename(tmp_path / "elsewhere")
        return step(looking)

    monkeypatch.setattr(owner, moment, move_first)
    ids += ids_of(outbox.put([b"3"]))
    monkeypatch.undo()
    ids += ids_of(outbox.put([b"4"]))
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    outbox.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_damaged_record_of_a_removed_file_is_counted_and_stands_in_no_other_s_way(
    tmp_path: Path, replaced: bool
) -> None:
    path = tmp_path / "state" / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"first message", b"second message", b"third message", b"refused"])
    outbox.update(replace(outbox.live()[3], parked="HTTP 422"))
    outbox.close()
    path.write_bytes(path.read_bytes().replace(b"second message", b"sec0nd message"))
    outbox = opened(path)
    path.parent.rename(tmp_path / "elsewhere")
    if replaced:
        opened(path).close()
    outbox.put([b"live"])
    assert bodies_of(outbox) == [b"first message", b"third message", b"live"]
    assert outbox.drops == {"damaged": 1}
    outbox.close()


@pytest.mark.parametrize("in_the_way", ["locked", "directory"])
def test_a_moved_queue_stays_in_use_until_what_is_in_its_place_can_be_written(
    tmp_path: Path, in_the_way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moved = tmp_path / "state" / "o.sqlite3", tmp_path / "elsewhere"
    monkeypatch.setattr("agent.outbox.store.open_for_writing", partial(open_for_writing, busy_s=0.01))
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1", b"2"]))
    path.parent.rename(moved)
    with contextlib.ExitStack() as locks:
        if in_the_way == "locked":
            opened(path).close()
            other = locks.enter_context(contextlib.closing(sqlite3.connect(path)))
            other.execute("BEGIN IMMEDIATE")
        else:
            path.mkdir(parents=True)
            locks.callback(path.rmdir)
        for number in range(2):
            ids += ids_of(outbox.put([b"%d" % number]))
            assert [record.id for record in waiting(outbox)] == ids
            with contextlib.closing(Store.open_beside(moved / path.name)) as beside:
                assert beside.recent.seqs == {record.seq for record in waiting(outbox)}, "a kill now is noticed"
    ids += ids_of(outbox.put([b"live"]))
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    outbox.close()
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_a_file_that_is_damaged_while_it_is_open_is_replaced_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox, ids = damaged_while_open(path)
    kept = [record.id for record in waiting(outbox)]
    assert kept == [each for each in ids if each in kept]
    assert 290 <= len(kept) < 300
    assert not outbox.in_memory
    assert len(list(tmp_path.glob("o.sqlite3.damaged-*"))) == 1
    outbox.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_moved_file_that_is_damaged_gives_what_can_be_read(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "state" / "o.sqlite3"
    outbox, ids = damaged_while_open(path)
    path.parent.rename(tmp_path / "elsewhere")
    if replaced:
        opened(path).close()
    ids += ids_of(outbox.put([b"live"]))
    kept = [record.id for record in waiting(outbox)]
    assert 290 <= len(kept) < 301, "only the messages of the damaged page are lost"
    assert kept == [each for each in ids if each in kept]
    assert kept[-1] == ids[-1]
    assert outbox.drops == {"damaged": len(ids) - len(kept)}
    assert not list(path.parent.glob("*.copy")), "what was copied before the damage takes no space"
    outbox.close()


def damaged_while_open(path: Path) -> tuple[Outbox, list[str]]:
    """Return an open queue with a page that is damaged, and the ids of its messages."""
    outbox = opened(path)
    ids = ids_of(outbox.put([b"%03d" % number * 1000 for number in range(300)]))
    outbox.close()
    outbox = opened(path)
    with path.open("r+b") as file:
        file.seek(100 * 4096)
        file.write(b"\xff" * 4096)
    return outbox, ids


def test_a_damaged_record_is_counted_once_if_only_the_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"first message", b"second message", b"third message"])
    outbox.close()
    path.write_bytes(path.read_bytes().replace(b"second message", b"sec0nd message"))
    outbox = opened(path)
    outbox.put([b"fourth message"])
    path.unlink()
    outbox.put([b"live"])
    assert bodies_of(outbox) == [b"first message", b"third message", b"fourth message", b"live"]
    assert outbox.drops == {"damaged": 1}
    outbox.close()


def test_a_copy_that_was_complete_when_the_power_failed_is_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(tmp_path / "o.sqlite3.new")
    ids = ids_of(outbox.put([b"1", b"2"]))
    outbox.close()
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_a_half_written_copy_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"%d" % number * 500 for number in range(100)]))
    outbox.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 4 * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    for name in ("o.sqlite3.new", "o.sqlite3.copy"):
        (tmp_path / name).write_bytes(bytes(content[:5000]))
    outbox = opened(path)
    kept = [record.id for record in waiting(outbox)]
    assert len(kept) > 80
    assert kept == [each for each in ids if each in kept]
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    outbox.close()


@pytest.mark.parametrize("end", ["start", "rename", "delete"])
def test_what_a_power_cut_left_of_a_copy_takes_no_space_for_ever(tmp_path: Path, end: str) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1"]))
    outbox.close()
    for name in ("o.sqlite3.new", "o.sqlite3.copy", "o.sqlite3.copy-wal", "o.sqlite3.note.new"):
        (tmp_path / name).write_bytes(bytes(5000))
    if end == "delete":
        delete_queue(path)
        assert list(tmp_path.iterdir()) == []
        return
    if end == "rename":
        path = tmp_path / "other.sqlite3"
        rename_queue(tmp_path / "o.sqlite3", path)
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    assert [each.name for each in tmp_path.iterdir() if ".new" in each.name or ".copy" in each.name] == []
    outbox.close()


def test_a_start_that_cannot_delete_a_copy_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1"]))
    outbox.close()
    (tmp_path / "o.sqlite3.copy").mkdir()  # as on a disk that refuses to delete it
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_what_can_be_read_of_a_damaged_file_of_the_first_schema_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executescript(V1)
        db.executemany(
            "INSERT INTO message (id, body, created) VALUES (?, ?, 990.0)",
            [(f"msg_{number}", b"%d" % number * 500) for number in range(100)],
        )
    content = bytearray(path.read_bytes())
    content[8 * 4096 : 9 * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    outbox = opened(path)
    assert len(waiting(outbox)) > 80
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    outbox.close()


def test_a_file_that_somebody_else_holds_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1"]))
    outbox.close()
    monkeypatch.setattr("agent.outbox.store.open_for_writing", partial(open_for_writing, busy_s=0.01))
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        outbox = opened(path)
        ids += ids_of(outbox.put([b"2"]))
        assert outbox.in_memory
        assert [record.id for record in waiting(outbox)] == ids
        other.execute("ROLLBACK")
    ids += ids_of(outbox.put([b"3"]))
    assert not outbox.in_memory
    assert [record.id for record in waiting(outbox)] == ids
    assert not list(tmp_path.glob("*.damaged-*"))
    outbox.close()


def test_a_message_waits_for_another_process_at_most_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.sqlite3"
    monkeypatch.setattr("agent.outbox.store.open_for_writing", partial(open_for_writing, busy_s=0.01))
    outbox = opened(path)
    outbox.put([b"1"])
    apply, tries = Store.apply, []

    def counted(store: Store, changes: PendingWrites, *, durable: bool) -> None:
        tries.append(changes)
        apply(store, changes, durable=durable)

    monkeypatch.setattr(Store, "apply", counted)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        outbox.put([b"2"])
        assert outbox.in_memory
        assert 1 <= len(tries) <= 2
        assert bodies_of(outbox) == [b"1", b"2"]
    outbox.put([b"3"])
    assert not outbox.in_memory
    assert bodies_of(outbox) == [b"1", b"2", b"3"]
    outbox.close()


def test_after_a_checkpoint_a_message_still_waits_for_another_process(tmp_path: Path) -> None:
    """A checkpoint itself does not: it is made again later."""
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    for _ in range(100):
        outbox.put([b"x" * 4000])
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(1.0, other.rollback)
        release.start()
        outbox.put([b"live"])
        release.join()
    assert not outbox.in_memory
    outbox.close()


def test_files_set_aside_do_not_pile_up(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    for _ in range(6):
        path.write_bytes(b"this is not a database" * 100)
        opened(path).close()
    assert len(list(tmp_path.glob("o.sqlite3.damaged-*"))) == 3


def test_a_file_of_a_later_version_is_set_aside_and_its_messages_go_on(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"1"])
    outbox.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    outbox = opened(path)
    assert bodies_of(outbox) == [b"1"]
    outbox.close()
    assert len(list(tmp_path.glob("o.sqlite3.damaged-*"))) == 1


def test_the_first_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    with sqlite3.connect(path) as db:
        db.executescript(V1)
        db.executemany(
            "INSERT INTO message (id, body, created, attempts, refusals, next_try, parked) VALUES (?,?,?,?,?,?,?)",
            [("msg_a", b"a", 990.0, 3, 1, 5.0, None), ("msg_b", b"b", 991.0, 5, 5, 0.0, "HTTP 422")],
        )
    db.close()
    outbox = opened(path)
    outbox.put([b"c"])
    records = waiting(outbox)
    assert [(record.id, record.body, record.attempts, record.refusals) for record in records][:1] == [
        ("msg_a", b"a", 3, 1)
    ]
    assert [record.body for record in records] == [b"a", b"c"]
    assert [(record.id, record.parked) for record in outbox.parked()] == [("msg_b", "HTTP 422")]
    assert records[0].mono == 0.0
    outbox.ack(records[0])
    assert outbox.counts().waiting == 1
    outbox.close()
    assert not list(tmp_path.glob("*.damaged-*"))
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'waiting'").fetchall() == []


def test_what_no_new_file_holds_waits_in_memory_until_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"1"])
    apply = Store.apply

    def damaged(store: Store, changes: PendingWrites, *, durable: bool) -> None:
        if store._path == path:  # the file that replaces it is written beside it
            raise UnusableFileError("the file is damaged")
        apply(store, changes, durable=durable)

    monkeypatch.setattr(Store, "apply", damaged)
    with capture_logs() as logs:
        outbox.put([b"2"])
    assert 14 <= [entry["event"] for entry in logs].count("outbox_set_aside") <= 18
    assert outbox.in_memory
    assert bodies_of(outbox) == [b"1", b"2"]
    monkeypatch.undo()
    outbox.put([b"3"])
    assert not outbox.in_memory
    assert not outbox.drops
    outbox.close()
    outbox = opened(path)
    assert bodies_of(outbox) == [b"1", b"2", b"3"]
    outbox.close()


def test_a_change_that_fails_once_is_made_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"1"])
    apply, failures = Store.apply, [sqlite3.OperationalError("disk I/O error")]

    def fails_once(store: Store, changes: PendingWrites, *, durable: bool) -> None:
        if failures:
            raise failures.pop()
        apply(store, changes, durable=durable)

    monkeypatch.setattr(Store, "apply", fails_once)
    with capture_logs() as logs:
        outbox.put([b"2"])
    assert not failures
    assert not outbox.in_memory
    assert logs == []
    outbox.close()
    outbox = opened(path)
    assert bodies_of(outbox) == [b"1", b"2"]
    outbox.close()


def test_a_missing_message_is_counted_once_if_the_disk_fails_before_it_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    outbox.put([b"1", b"2"])
    recent = recent_of(path).read_bytes()
    outbox.ack(outbox.live()[0])
    outbox.close()
    recent_of(path).write_bytes(recent)
    forget, failures = Store.forget, [sqlite3.OperationalError("disk I/O error")]

    def fails_once(store: Store) -> None:
        if failures:
            raise failures.pop()
        forget(store)

    monkeypatch.setattr(Store, "forget", fails_once)
    outbox = opened(path)
    assert outbox.in_memory
    outbox.put([b"3"])
    assert not outbox.in_memory
    assert outbox.drops == {"lost": 1}
    outbox.close()


@pytest.mark.parametrize("step", ["list_recent", "forget"])
def test_a_disk_that_fails_once_while_the_file_is_opened(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.sqlite3"
    outbox = opened(path)
    ids = ids_of(outbox.put([b"1"]))
    outbox.close()
    call, failures = getattr(Store, step), [sqlite3.OperationalError("disk I/O error")]

    def fails_once(store: Store) -> Any:
        result = call(store)
        if failures:
            raise failures.pop()
        return result

    monkeypatch.setattr(Store, step, fails_once)
    outbox = opened(path)
    assert outbox.in_memory
    assert [record.id for record in waiting(outbox)] == ids
    ids += ids_of(outbox.put([b"2"]))
    assert not outbox.in_memory
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    outbox.close()
