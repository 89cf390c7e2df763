"""The queue on disks that are full, read-only, failing: real ones, mounted for the test."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from agent.outbox.disk_reserve import RESERVE_BYTES, Reserve
from agent.outbox.queue import Outbox
from agent.outbox.record import Counts
from agent.outbox.store import Store
from agent.runtime import logging_setup
from tests.faults.disk import fill, mount, no_file_may_grow, require_late_writes, small_disk, unsynced_pages
from tests.support.outbox import ids_of, waiting
from tests.support.simulated_clock import START, DrivenClock


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def opened(folder: Path) -> Outbox:
    return Outbox.open(folder / "o.sqlite3", max_age_s=1e9, max_size_mb=64)


def written() -> int:
    """Return the bytes that this process has handed to the kernel."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


def test_a_disk_that_fills_up_costs_the_oldest_only(disk: Path) -> None:
    outbox = opened(disk)
    reserve = disk / "o.sqlite3.reserve"
    assert reserve.stat().st_size == 512 * 1024
    promised = [identity for number in range(300) for identity in ids_of(outbox.put([b"%d" % number * 500]))]
    fill(disk)
    with capture_logs() as logs:
        promised += [identity for number in range(400) for identity in ids_of(outbox.put([b"%d" % number * 500]))]
    kept = [record.id for record in waiting(outbox)]
    assert kept == promised[-len(kept) :]
    assert len(kept) > 200
    assert outbox.drops == {"size": len(promised) - len(kept)}
    assert sum(entry["count"] for entry in logs if entry["event"] == "message_dropped") == outbox.drops["size"]
    assert not outbox.in_memory
    for record in waiting(outbox):
        outbox.ack(record)
    assert outbox.counts().waiting == 0
    outbox.close()


def test_a_queue_that_was_empty_when_the_disk_filled_up_grows_into_its_reserve(disk: Path) -> None:
    """The state of normal operation: every message was delivered, so the file has two pages."""
    outbox = opened(disk)
    for number in range(20):
        outbox.put([b"%d" % number * 300])
        outbox.ack(outbox.live()[0])
    fill(disk)
    with capture_logs() as logs:
        promised = [identity for number in range(300) for identity in ids_of(outbox.put([b"%03d" % number * 300]))]
        assert not outbox.in_memory
        assert not outbox.drops
        assert [record.id for record in waiting(outbox)] == promised
        assert [entry["event"] for entry in logs] == ["outbox_disk_full"]
        # Somebody else fills what is left. Then new messages cost the oldest ones, no more than two pages at a time.
        fill(disk, "second filler")
        before = 0
        for number in range(600):
            promised += ids_of(outbox.put([b"%03d" % number * 300]))
            assert outbox.drops["size"] - before <= 12
            before = outbox.drops["size"]
        assert not outbox.in_memory
    kept = [record.id for record in waiting(outbox)]
    assert kept == promised[-len(kept) :]
    assert len(kept) >= 300
    assert outbox.drops == {"size": len(promised) - len(kept)}
    assert {entry["event"] for entry in logs[1:]} == {"message_dropped"}
    outbox.close()


def test_on_a_full_disk_the_queue_takes_what_the_disk_has_and_says_when_it_is_over(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"x" * 300])
    filler = fill(disk)
    with capture_logs() as logs:
        while not outbox.drops:
            outbox.put([b"x" * 300])
        held = outbox.counts().waiting
        os.truncate(filler, filler.stat().st_size - RESERVE_BYTES)  # not enough for the reserve
        outbox.drops.clear()
        while not outbox.drops:
            outbox.put([b"x" * 300])
        assert outbox.counts().waiting > held + 300
        filler.unlink()
        outbox.put([b"x" * 300])
        # The second time is as the first.
        filler = fill(disk)
        outbox.drops.clear()
        for _ in range(300):
            outbox.put([b"x" * 300])
        assert not outbox.drops
        filler.unlink()
        outbox.put([b"x" * 300])
    told = [entry["event"] for entry in logs if entry["event"] != "message_dropped"]
    assert told == ["outbox_disk_full", "outbox_recovered"] * 2
    outbox.close()


@pytest.mark.parametrize(("missing", "held"), [(0, True), (4096, False)])
def test_the_reserve_is_made_where_the_disk_has_twice_its_size(disk: Path, missing: int, held: bool) -> None:
    outbox = opened(disk)
    (disk / "o.sqlite3.reserve").unlink()
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - 2 * RESERVE_BYTES + missing)
    opened(disk).close()
    assert (disk / "o.sqlite3.reserve").exists() is held
    outbox.close()


def test_a_reserve_is_given_once(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "o.sqlite3")
    assert not reserve.give()
    assert reserve.keep()
    assert reserve.give()
    assert not reserve.give()
    assert list(tmp_path.iterdir()) == []


def test_the_reserve_of_an_earlier_version_gets_its_whole_size(disk: Path) -> None:
    (disk / "o.sqlite3.reserve").write_bytes(b"\0" * 1000)
    opened(disk).close()
    assert (disk / "o.sqlite3.reserve").stat().st_size == RESERVE_BYTES


def test_a_start_on_a_nearly_full_disk_takes_what_is_left_of_it(disk: Path) -> None:
    """Before other programs do."""
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - RESERVE_BYTES - 200_000)
    outbox = opened(disk)
    assert not (disk / "o.sqlite3.reserve").exists()
    fill(disk, "second filler")
    for _ in range(4):
        outbox.put([b"x" * 500] * 50)
    assert not outbox.drops
    assert not outbox.in_memory
    outbox.close()


def test_a_reserve_that_the_disk_refuses_is_no_obstacle_and_is_made_later(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.put([b"1"])
    (tmp_path / "o.sqlite3.reserve").unlink()
    (tmp_path / "o.sqlite3-wal").unlink()
    with capture_logs(), no_file_may_grow(200_000):
        outbox.put([b"2"])  # opens the queue anew
        assert not outbox.in_memory
    outbox.put([b"3"])
    assert (tmp_path / "o.sqlite3.reserve").stat().st_size == RESERVE_BYTES
    assert [record.body for record in waiting(outbox)] == [b"1", b"2", b"3"]
    outbox.close()


def test_after_a_full_disk_the_queue_is_as_before(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"x" * 300])
    filler = fill(disk)
    while not outbox.drops:
        outbox.put([b"x" * 300] * 20)
    filler.unlink()
    outbox.put([b"x" * 300])
    log = disk / "o.sqlite3-wal"
    with capture_logs() as logs:
        sizes = [log.stat().st_size for _ in range(30) if outbox.put([b"x" * 4000] * 3)]
        assert max(sizes) > 45 * 4120, "the log is not written back more often than before"
        outbox.put([b"x" * 20_000] * 40)
    assert logs == [], "the file grows again"
    outbox.close()


def test_a_disk_that_fails_while_the_bound_makes_room_drops_nothing(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=1)
    while not outbox.drops:
        outbox.put([b"x" * 20_000] * 4)
    outbox.drops.clear()
    held = ids_of(waiting(outbox))
    with capture_logs(), no_file_may_grow():
        held += ids_of(outbox.put([b"x" * 20_000] * 4))
        assert outbox.in_memory
        assert not outbox.drops
    assert ids_of(waiting(outbox)) == held
    outbox.close()


@pytest.mark.parametrize("killed", [True, False])
def test_a_restart_on_a_full_disk_goes_on_with_the_reserve(disk: Path, killed: bool) -> None:
    outbox = opened(disk)
    promised = ids_of(outbox.put([b"x" * 300]))
    if not killed:
        outbox.close()
    fill(disk)
    again = opened(disk)
    for _ in range(200):
        promised += ids_of(again.put([b"x" * 300]))
    assert not again.in_memory
    kept = [record.id for record in waiting(again)]
    assert kept == promised[-len(kept) :]
    assert len(kept) >= 100
    assert again.drops == ({"size": 201 - len(kept)} if len(kept) < 201 else {})
    assert not list(disk.glob("*.damaged-*")), "a full disk is no damage"
    again.close()
    outbox.close()


def test_what_is_in_memory_is_saved_by_and_by_as_far_as_a_disk_with_little_room_accepts_it(disk: Path) -> None:
    filler = fill(disk)
    outbox = opened(disk)
    promised = [identity for _ in range(1000) for identity in ids_of(outbox.put([b"x" * 1900]))]
    assert outbox.in_memory
    os.truncate(filler, filler.stat().st_size - 3 * RESERVE_BYTES)
    promised += ids_of(outbox.put([b"x" * 1900]))
    assert not outbox.in_memory
    kept = [record.id for record in waiting(outbox)]
    assert kept == promised[-len(kept) :]
    assert len(kept) >= 300
    assert outbox.drops == {"size": len(promised) - len(kept)}
    outbox.close()


def test_a_tick_of_a_large_site_is_stored_on_a_full_disk(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"x" * 500])
    fill(disk)
    for _ in range(3):
        ids = ids_of(outbox.put([b"x" * 500] * 200))
        assert not outbox.in_memory
        assert ids_of(outbox.live()) == ids
    outbox.close()


def test_what_is_only_in_memory_when_the_agent_stops_is_counted(disk: Path) -> None:
    fill(disk)
    outbox = opened(disk)
    outbox.put([b"1", b"2"])
    with capture_logs() as logs:
        outbox.close()
    assert outbox.drops == {"memory": 2}
    assert [(entry["event"], entry["count"]) for entry in logs if entry["log_level"] == "warning"] == [
        ("message_dropped", 2)
    ]


def test_what_is_only_in_memory_is_saved_when_the_agent_stops_and_the_disk_has_room_again(disk: Path) -> None:
    filler = fill(disk)
    outbox = opened(disk)
    ids = ids_of(outbox.put([b"1", b"2"]))
    filler.unlink()
    outbox.close()
    assert not outbox.drops
    outbox = opened(disk)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_what_a_full_disk_holds_survives_a_kill_and_the_reserve_comes_back(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"x" * 500])
    filler = fill(disk)
    for _ in range(1500):
        outbox.put([b"x" * 500])
    kept = [record.id for record in waiting(outbox)]
    again = opened(disk)  # as after a kill: nothing was closed
    assert [record.id for record in waiting(again)] == kept
    again.put([b"one more"])
    assert waiting(again)[-1].body == b"one more"
    assert not (disk / "o.sqlite3.reserve").exists()
    filler.unlink()
    again.put([b"and another"])
    assert (disk / "o.sqlite3.reserve").exists()
    again.close()
    outbox.close()


def test_a_start_on_a_full_disk_lives_in_memory_until_there_is_room(disk: Path) -> None:
    filler = fill(disk)
    with capture_logs() as logs:
        outbox = opened(disk)
        ids = [identity for number in range(20) for identity in ids_of(outbox.put([b"%d" % number]))]
        assert outbox.in_memory
        outbox.ack(outbox.backlog(1e12)[0])
        assert [record.id for record in waiting(outbox)] == ids[1:]
        assert outbox.counts().waiting == 19
        filler.unlink()
        ids += ids_of(outbox.put([b"room again"]))
        assert not outbox.in_memory
    outbox.close()
    outbox = opened(disk)
    assert [record.id for record in waiting(outbox)] == ids[1:]
    outbox.close()
    said = [(entry["event"], entry["log_level"]) for entry in logs if entry["log_level"] != "debug"]
    assert said == [("outbox_in_memory", "error"), ("outbox_recovered", "info")]


def test_a_directory_that_is_moved_while_the_disk_is_full_keeps_its_messages_until_they_can_be_copied(
    disk: Path,
) -> None:
    path, moved = disk / "state" / "o.sqlite3", disk / "moved"
    outbox = opened(path.parent)
    ids = ids_of(outbox.put([b"1", b"2"]))
    filler = fill(disk)
    path.parent.rename(moved)
    with capture_logs() as logs:
        for number in range(3):
            ids += ids_of(outbox.put([b"%d" % number]))
        assert [entry["event"] for entry in logs] == ["outbox_removed"]
        after_a_kill = opened(moved)
        assert [record.id for record in waiting(after_a_kill)] == ids
        after_a_kill.close()
    filler.unlink()
    ids += ids_of(outbox.put([b"room"]))
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    assert path.exists()
    outbox.close()
    outbox = opened(path.parent)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_a_queue_that_is_in_memory_takes_its_messages_along_when_its_directory_is_moved(disk: Path) -> None:
    state = disk / "state"
    outbox = opened(state)
    ids = ids_of(outbox.put([b"1", b"2"]))
    outbox.close()
    (state / "o.sqlite3.reserve").unlink()
    filler = fill(disk)
    outbox = opened(state)
    ids += ids_of(outbox.put([b"3"]))
    assert outbox.in_memory
    state.rename(disk / "moved")
    ids += ids_of(outbox.put([b"4"]))
    filler.unlink()
    ids += ids_of(outbox.put([b"5"]))
    assert not outbox.in_memory
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    outbox.close()
    outbox = opened(state)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_a_record_that_changes_on_a_full_disk_is_not_the_one_that_makes_room(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"x" * 300])
    fill(disk)
    while not outbox.drops:
        outbox.put([b"x" * 300])
    oldest = waiting(outbox)[0]
    changed = replace(oldest, body=b"y" * 20_000, attempts=3)
    outbox.update(changed)
    assert waiting(outbox)[0] == changed
    assert not outbox.in_memory
    outbox.close()


def test_the_counts_are_right_while_changes_are_in_memory(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"%d" % number for number in range(6)])
    outbox.update(replace(outbox.live()[5], parked="HTTP 422"))
    outbox.close()
    mount("-o", "remount,ro", disk)
    outbox = opened(disk)
    records = waiting(outbox)
    outbox.update(replace(records[0], parked="HTTP 422"), replace(outbox.parked()[0], parked=None))
    outbox.update(replace(records[1], parked="HTTP 422"))
    outbox.ack(records[2])
    (new,) = outbox.put([b"new"])
    first, _, gone = (outbox.get(record.seq) for record in records[:3])
    assert first == replace(records[0], parked="HTTP 422")
    assert gone is None
    assert outbox.get(new.seq) == new
    counts = outbox.counts()
    assert (counts.waiting, counts.parked) == (len(waiting(outbox)), len(outbox.parked())) == (4, 2)
    mount("-o", "remount,rw", disk)
    outbox.put([])
    assert outbox.counts() == counts
    outbox.close()


def damage_a_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[10 * 4096 : 11 * 4096] = b"\xff" * 4096
    path.write_bytes(content)


def test_a_damaged_file_on_a_disk_without_room_for_a_copy_keeps_the_newest(disk: Path) -> None:
    outbox = opened(disk)
    ids = [identity for number in range(400) for identity in ids_of(outbox.put([b"%03d" % number * 600]))]
    outbox.close()
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - 900_000)
    damage_a_page(disk / "o.sqlite3")
    outbox = opened(disk)
    kept = [record.id for record in waiting(outbox)]
    assert 50 < len(kept) < len(ids)
    assert kept == ids[-len(kept) :]
    unreadable = 6
    assert len(ids) - len(kept) - unreadable <= outbox.drops["size"] < len(ids) - len(kept)
    outbox.close()


def test_a_damaged_file_is_copied_in_small_parts_if_the_disk_has_little_room(disk: Path) -> None:
    """During a transaction of all messages, the log and the file would need more than the disk has."""
    outbox = opened(disk)
    ids = [identity for number in range(100) for identity in ids_of(outbox.put([b"%03d" % number * 1800]))]
    outbox.close()
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - 1_200_000)
    damage_a_page(disk / "o.sqlite3")
    outbox = opened(disk)
    assert len(ids) - len(waiting(outbox)) == outbox.drops.total() <= 2
    outbox.close()


def test_memory_is_bounded_and_gives_up_the_oldest(disk: Path) -> None:
    fill(disk)
    outbox = opened(disk)
    for count in (1024, 76):
        newest = ids_of(outbox.put([b"x" * 4096] * count))
    kept = waiting(outbox)
    assert len(kept) == 1024, "4 MiB, as docs/delivery.md says"
    assert ids_of(kept[-76:]) == newest
    assert outbox.drops == {"memory": 76}
    # A message that is larger than that is kept alone.
    newest = ids_of(outbox.put([b"x" * 4_200_000]))
    assert ids_of(waiting(outbox)) == newest
    assert outbox.drops == {"memory": 1100}
    outbox.close()


def test_a_read_only_disk_hands_out_what_it_holds_and_takes_back_what_happened(disk: Path) -> None:
    outbox = opened(disk)
    ids = ids_of(outbox.put([b"1", b"2", b"3"]))
    outbox.close()
    mount("-o", "remount,ro", disk)
    outbox = opened(disk)
    assert [record.id for record in waiting(outbox)] == ids
    ids += ids_of(outbox.put([b"4"]))
    assert outbox.in_memory
    outbox.ack(outbox.backlog(1e12)[0])
    assert [record.id for record in waiting(outbox)] == ids[1:]
    mount("-o", "remount,rw", disk)
    ids += ids_of(outbox.put([b"5"]))
    assert not outbox.in_memory
    outbox.close()
    outbox = opened(disk)
    assert [record.id for record in waiting(outbox)] == ids[1:]
    outbox.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_what_happened_on_a_read_only_disk_holds_in_the_file_after_the_removed_one(disk: Path, replaced: bool) -> None:
    folder = disk / "state"
    folder.mkdir()
    outbox = opened(folder)
    outbox.put([b"sent", b"refused", b"waiting"])
    sent, refused, _ = waiting(outbox)
    outbox.close()
    mount("-o", "remount,ro", disk)
    outbox = opened(folder)
    outbox.ack(sent)
    outbox.update(replace(refused, attempts=3))
    assert outbox.in_memory
    mount("-o", "remount,rw", disk)
    folder.rename(disk / "elsewhere")
    if replaced:
        folder.mkdir()
        opened(folder).close()
    outbox.put([b"live"])
    for _ in range(2):
        assert [record.body for record in waiting(outbox)] == [b"refused", b"waiting", b"live"]
        assert waiting(outbox)[0].attempts == 3
        outbox.close()
        outbox = opened(folder)
    outbox.close()


def test_what_changed_on_a_read_only_disk_is_returned_once_while_the_file_after_the_moved_one_fails(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = disk / "state"
    outbox = opened(folder)
    ids = ids_of(outbox.put([b"refused", b"waiting"]))
    outbox.close()
    mount("-o", "remount,ro", disk)
    outbox = opened(folder)
    outbox.update(replace(waiting(outbox)[0], attempts=3))
    mount("-o", "remount,rw", disk)
    folder.rename(disk / "elsewhere")
    opened(folder).close()

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "apply", fail)
    ids += ids_of(outbox.put([b"live"]))
    for in_memory in (True, False):
        assert outbox.in_memory == in_memory
        assert [(each.id, each.attempts) for each in waiting(outbox)] == [(ids[0], 3), *((each, 0) for each in ids[1:])]
        assert outbox.counts() == Counts(len(ids), 0)
        monkeypatch.undo()
        ids += ids_of(outbox.put([b"later"]))
    assert not outbox.drops
    outbox.close()


def test_a_read_only_disk_after_a_kill(disk: Path) -> None:
    """The log was not yet written back, and nothing can be written beside it."""
    outbox = opened(disk)
    ids = ids_of(outbox.put([b"1", b"2"]))
    copies = {name: (disk / name).read_bytes() for name in ("o.sqlite3", "o.sqlite3-wal")}
    outbox.close()
    for name, content in copies.items():
        (disk / name).write_bytes(content)
    mount("-o", "remount,ro", disk)
    outbox = opened(disk)
    assert [record.id for record in waiting(outbox)] == ids
    outbox.close()


def test_what_changed_in_memory_does_not_hide_what_still_waits_for_the_clock(disk: Path) -> None:
    outbox = opened(disk)
    outbox.put([b"1", b"2", b"3"], boot="boot-1")
    outbox.close()
    mount("-o", "remount,ro", disk)
    outbox = opened(disk)
    outbox.update(*(replace(record, boot=None) for record in outbox.undated(limit=2)))
    assert [record.body for record in outbox.undated(limit=2)] == [b"3"]
    outbox.close()


def test_a_damaged_record_on_a_read_only_disk_is_counted_once_and_hides_no_other(disk: Path) -> None:
    outbox = opened(disk)
    for body in (b"first", b"second", b"third"):
        outbox.put([body])
    outbox.close()
    path = disk / "o.sqlite3"
    path.write_bytes(path.read_bytes().replace(b"second", b"sec0nd"))
    mount("-o", "remount,ro", disk)
    outbox = opened(disk)
    for number in range(3):
        assert [record.body for record in waiting(outbox)][:2] == [b"first", b"third"]
        outbox.put([b"%d" % number])
    assert outbox.drops == {"damaged": 1}
    assert outbox.counts().waiting == 5
    mount("-o", "remount,rw", disk)
    outbox.put([b"new"])
    assert outbox.drops == {"damaged": 1}
    assert outbox.counts().waiting == 6
    outbox.close()


def test_what_changed_in_memory_is_in_one_state_only(disk: Path) -> None:
    opened(disk).close()
    mount("-o", "remount,ro", disk)
    outbox = opened(disk)
    undated = outbox.put([b"1", b"2", b"3"], boot="boot-1")
    outbox.update(replace(undated[2], parked="HTTP 422"))
    assert outbox.undated() == undated[:2]
    assert outbox.undated(after=undated[0].seq) == undated[1:2]
    assert outbox.live() == []
    outbox.update(replace(undated[0], boot=None), replace(undated[1], boot=None))
    assert outbox.undated() == []
    assert outbox.backlog(1e12, limit=9) == []
    assert [record.body for record in outbox.live()] == [b"1", b"2"]
    outbox.put([b"live"])
    assert [record.body for record in outbox.backlog(1e12, limit=9)] == [b"1", b"2"]
    assert [record.body for record in outbox.live()] == [b"live"]
    outbox.close()


def test_a_message_that_is_too_old_on_a_read_only_disk_is_counted_once(disk: Path) -> None:
    clock = DrivenClock(monotonic=1.0, wall=START)
    open_at = partial(Outbox.open, max_age_s=60, max_size_mb=8, now=clock.time, monotonic=clock.monotonic)
    outbox = open_at(disk / "o.sqlite3")
    outbox.put([b"old"])
    outbox.close()
    mount("-o", "remount,ro", disk)
    outbox = open_at(disk / "o.sqlite3")
    for _ in range(2):
        clock.jump(61.0)
        outbox.put([])
    assert outbox.drops == {"age": 1}
    outbox.close()


def test_a_disk_that_fails_to_write_is_written_to_again_when_it_can(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    ids = ids_of(outbox.put([b"1", b"2"]))
    first = outbox.live()[0]
    with capture_logs(), no_file_may_grow():
        ids += ids_of(outbox.put([b"3"]))
        assert outbox.in_memory
        outbox.ack(first)
        ids += ids_of(outbox.put([b"4"]))
    ids += ids_of(outbox.put([b"5"]))
    assert not outbox.in_memory
    assert [record.id for record in waiting(outbox)] == ids[1:]
    outbox.close()
    outbox = opened(tmp_path)
    assert [record.id for record in waiting(outbox)] == ids[1:]
    outbox.close()


def test_a_moved_file_that_fails_to_write_is_kept_open_until_its_messages_are_copied(tmp_path: Path) -> None:
    state = tmp_path / "state"
    outbox = opened(state)
    ids = ids_of(outbox.put([b"1", b"2"]))
    state.rename(tmp_path / "elsewhere")
    with capture_logs(), no_file_may_grow():
        outbox.ack(outbox.live()[0])
        assert outbox.in_memory
        ids += ids_of(outbox.put([b"3"]))
    ids += ids_of(outbox.put([b"4"]))
    assert [record.id for record in waiting(outbox)] == ids[1:]
    assert not outbox.drops
    outbox.close()
    outbox = opened(state)
    assert [record.id for record in waiting(outbox)] == ids[1:]
    outbox.close()


def test_what_was_put_is_on_the_disk_and_not_on_its_way_there(tmp_path: Path) -> None:
    """Acknowledgements may be: they cost a duplicate, no message."""
    files = [tmp_path / "o.sqlite3", tmp_path / "o.sqlite3-wal"]
    require_late_writes(tmp_path)
    outbox = opened(tmp_path)
    for number in range(100):
        outbox.put([b"%d" % number * 100])
        assert [unsynced_pages(file) for file in files] == [0, 0]
        if number % 3:
            outbox.ack(outbox.live()[0])
    outbox.close()


def test_an_acknowledgement_is_not_synced(tmp_path: Path) -> None:
    require_late_writes(tmp_path)
    outbox = opened(tmp_path)
    outbox.put([b"x" * 100] * 3)
    unsynced = []
    for record in outbox.live():
        outbox.ack(record)
        unsynced.append(unsynced_pages(tmp_path / "o.sqlite3-wal"))
    assert any(unsynced)
    outbox.close()


def test_what_is_dropped_to_make_room_is_not_synced(tmp_path: Path) -> None:
    require_late_writes(tmp_path)
    outbox = opened(tmp_path)
    outbox.put([b"x" * 20_000] * 130)
    outbox.close()
    unsynced = []
    for size_mb in (2, 1):
        outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=size_mb)
        outbox.put([b"live"])
        unsynced.append(unsynced_pages(tmp_path / "o.sqlite3-wal"))
        assert outbox.drops["size"]
        outbox.close()
    assert any(unsynced)


def test_messages_of_a_removed_file_are_on_the_disk_again_before_a_new_one_is(tmp_path: Path) -> None:
    path = tmp_path / "state" / "o.sqlite3"
    outbox = opened(path.parent)
    ids = ids_of(outbox.put([b"1", b"2"]))
    require_late_writes(tmp_path)
    path.parent.rename(tmp_path / "elsewhere")
    opened(path.parent).close()
    outbox.put([])
    assert ids_of(waiting(outbox)) == ids
    assert [unsynced_pages(each) for each in (path, path.with_name("o.sqlite3-wal"))] == [0, 0]
    outbox.close()


def test_an_acknowledgement_does_not_overwrite_the_pages_of_its_message(tmp_path: Path) -> None:
    """SQLite in Debian overwrites them by default."""
    if not os.access("/proc/self/io", os.R_OK):
        pytest.skip("/proc/self/io cannot be read here")
    outbox = opened(tmp_path)
    outbox.put([b"x" * 400_000])
    outbox.put([])
    before = written()
    outbox.ack(outbox.backlog(1e12)[0])
    assert written() - before < 100_000
    outbox.close()


def test_a_message_costs_little_of_the_disk(tmp_path: Path) -> None:
    """As /proc counts what this process hands to the kernel: put, one try, ack, and its share of the clean-up."""
    if not os.access("/proc/self/io", os.R_OK):
        pytest.skip("/proc/self/io cannot be read here")
    outbox = opened(tmp_path)
    outbox.put([b"x" * 600])
    before = written()
    for _ in range(200):
        outbox.put([b"x" * 600])
        outbox.ack(outbox.live()[0])
    assert (written() - before) / 200 <= 16 * 1024
    outbox.close()


def test_a_log_on_a_full_disk_ends_nothing() -> None:
    before = structlog.get_config()
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closing it fails
    try:
        logging_setup.configure("info", "json", full)
        structlog.get_logger().error("outbox_in_memory", reason="disk full")
    finally:
        structlog.configure(**before)
        with contextlib.suppress(OSError):
            full.close()
