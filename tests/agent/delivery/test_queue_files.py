"""Which file is the queue of which endpoint, over changes of the configuration."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.config import OutboxConfig
from agent.config.push import PushConfig
from agent.delivery.manager import _opened
from agent.delivery.queue_files import QueueFile, queue_files
from agent.outbox import Outbox, take_over
from agent.outbox.files import recent_of, reserve_of
from agent.runtime import SystemClock
from tests.faults.disk import fill, require_late_writes, small_disk, syncs, unsynced_pages


def push(name: str, formerly: str | None = None) -> PushConfig:
    return PushConfig(name=name, formerly=formerly, url="https://x.test/", token="t")


def opened(path: Path) -> Outbox:
    return Outbox.open(path, max_age_s=1e9, max_size_mb=8)


def stored(path: Path, *bodies: bytes) -> list[str]:
    """Store messages; their ids."""
    outbox = opened(path)
    ids = [record.id for record in outbox.put(list(bodies))]
    outbox.close()
    return ids


def found(path: Path) -> list[bytes]:
    outbox = opened(path)
    bodies = [record.body for record in outbox.backlog(1e12, limit=100) + outbox.live()]
    outbox.close()
    return bodies


def delivered(path: Path) -> list[str]:
    """Acknowledge all messages. Return their ids."""
    outbox = opened(path)
    records = outbox.backlog(1e12, limit=10_000) + outbox.live()
    for record in records:
        outbox.ack(record)
    outbox.close()
    return [record.id for record in records]


class Site:
    """A state directory and the configurations that follow each other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.sqlite3"

    def load(self, *pushes: PushConfig) -> dict[str, str]:
        """What an agent with these endpoints does at its start; the file of each endpoint."""
        files = queue_files(self.path, pushes)
        files.save_owner()
        for file in files.of.values():
            if file.source is not None:
                take_over(file.source, file.path)
            opened(file.path).close()
        return {name: file.path.name for name, file in files.of.items()}

    def kept(self, *pushes: PushConfig) -> list[str]:
        return [name for name, _ in queue_files(self.path, pushes).kept()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_queue_of_the_version_before_is_that_of_the_single_or_first_endpoint(site: Site) -> None:
    stored(site.path, b"old")
    assert site.load(push("default")) == {"default": "outbox.sqlite3"}
    assert site.load(push("portal"), push("trader")) == {
        "portal": "outbox.sqlite3",
        "trader": "outbox.trader.sqlite3",
    }
    assert found(site.path) == [b"old"]


def test_another_order_gives_no_queue_to_another_endpoint(site: Site) -> None:
    before = site.load(push("portal"), push("trader"))
    assert site.load(push("trader"), push("portal")) == before
    assert site.load(push("new"), push("trader"), push("portal")) == before | {"new": "outbox.new.sqlite3"}


def test_the_queue_of_a_removed_endpoint_is_kept_and_no_other_gets_it(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    assert site.load(push("trader")) == {"trader": "outbox.trader.sqlite3"}
    assert site.kept(push("trader")) == ["portal"]
    assert site.load(push("new")) == {"new": "outbox.new.sqlite3"}
    assert site.kept(push("new")) == ["portal", "trader"]
    assert site.load(push("portal"), push("trader"))["portal"] == "outbox.sqlite3"
    assert site.kept(push("portal"), push("trader")) == ["new"]


def test_the_way_back_to_a_single_table_finds_the_queue(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    stored(site.path, b"of the portal")
    assert site.load(push("default")) == {"default": "outbox.sqlite3"}
    assert found(site.path) == [b"of the portal"]
    assert site.kept(push("default")) == ["trader"]


def test_an_unnamed_table_beside_others_is_not_the_owner_of_a_named_queue(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    assert site.load(push("default"), push("other")) == {
        "default": "outbox.default.sqlite3",
        "other": "outbox.other.sqlite3",
    }
    assert site.kept(push("default"), push("other")) == ["portal", "trader"]


def test_an_endpoint_with_a_queue_of_its_own_keeps_it(site: Site) -> None:
    """Also if it could be the owner: as the first one, or because of its former name. No other one gets the queue."""
    stored(site.path, b"of the unnamed one")
    own = site.path.with_name("outbox.portal.sqlite3")
    stored(own, b"its own")
    assert site.load(push("portal"), push("new")) == {"portal": own.name, "new": "outbox.new.sqlite3"}
    assert found(site.path) == [b"of the unnamed one"]
    assert site.load(push("late"), push("portal", "default")) == {"late": "outbox.late.sqlite3", "portal": own.name}
    assert found(own) == [b"of the unnamed one", b"its own"]


def test_the_owner_is_saved_before_the_folder_of_the_queue_exists(tmp_path: Path) -> None:
    site = Site(tmp_path / "a" / "b")
    before = site.load(push("portal"), push("trader"))
    assert site.load(push("trader"), push("portal")) == before


def test_no_queue_is_kept_that_has_no_file(site: Site) -> None:
    queue_files(site.path, [push("portal")]).save_owner()
    assert site.kept(push("trader")) == []
    assert queue_files(site.path, [push("web", "portal")]).of["web"].source is None


def test_a_rename_takes_the_queue_along(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    stored(site.path, b"1")
    stored(site.path.with_name("outbox.trader.sqlite3"), b"2")
    renamed = push("web", "portal"), push("desk", "trader")
    for _ in range(2):
        assert site.load(*renamed) == {"web": "outbox.sqlite3", "desk": "outbox.desk.sqlite3"}
        assert found(site.path) == [b"1"]
        assert found(site.path.with_name("outbox.desk.sqlite3")) == [b"2"]
        assert site.kept(*renamed) == []
        assert sorted(each.name for each in site.path.parent.glob("outbox.trader*")) == []


def test_a_rename_that_is_said_later_adds_the_messages(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    old = site.path.with_name("outbox.trader.sqlite3")
    new = site.path.with_name("outbox.desk.sqlite3")
    ids = stored(old, b"1", b"2")
    site.load(push("portal"), push("desk"))
    ids += stored(new, b"3")
    site.load(push("portal"), push("desk", "trader"))
    outbox = opened(new)
    records = outbox.backlog(1e12, limit=9) + outbox.live()
    assert [record.body for record in records] == [b"1", b"2", b"3"]
    assert [record.id for record in records] == ids
    outbox.close()
    assert not old.exists()


def test_a_later_rename_of_the_first_endpoint_adds_the_messages_too(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    stored(site.path, b"1")
    site.load(push("web"), push("trader"))
    stored(site.path.with_name("outbox.web.sqlite3"), b"2")
    site.load(push("web", "portal"), push("trader"))
    assert found(site.path.with_name("outbox.web.sqlite3")) == [b"1", b"2"]
    assert site.kept(push("web"), push("trader")) == []


def test_a_power_cut_while_queues_are_merged_loses_and_doubles_nothing(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    ids = stored(old, b"1", b"2") + stored(new, b"3")
    kept = old.read_bytes()
    take_over(old, new)
    old.write_bytes(kept)  # the file was copied, but not deleted yet
    take_over(old, new)
    outbox = opened(new)
    assert sorted(record.id for record in outbox.backlog(1e12, limit=9) + outbox.live()) == sorted(ids)
    outbox.close()


def test_a_power_cut_after_a_start_leaves_the_owner_of_the_queue(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = syncs(monkeypatch)
    queue_files(site.path, [push("portal"), push("trader")]).save_owner()
    (draft, content), (_, names) = saved
    assert (draft, content) == ("outbox.endpoint.new", b"portal\n"), "before it gets its name"
    assert set(names) == {"outbox.endpoint"}
    saved.clear()
    queue_files(site.path, [push("default")]).save_owner()
    assert saved == [(site.path.parent.name, {})]


def test_merged_messages_are_on_the_disk_when_the_former_queue_is_deleted(site: Site) -> None:
    """Also if another program has the queue open, so that closing it does not write its log back."""
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    require_late_writes(site.path.parent)
    stored(old, b"1")
    stored(new, b"2")
    with closing(sqlite3.connect(new)) as reader:
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (1,)
        take_over(old, new)
        assert [unsynced_pages(file) for file in (new, new.with_name(new.name + "-wal"))] == [0, 0]
    assert found(new) == [b"1", b"2"]


@pytest.mark.parametrize("merged", [True, False])
def test_a_power_cut_does_not_bring_the_former_queue_back(
    site: Site, merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages would be sent again."""
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    stored(old, b"1")
    if merged:
        stored(new, b"2")
    fsync, synced = os.fsync, []

    def sync(handle: int) -> None:
        synced.append((Path(f"/proc/self/fd/{handle}").readlink(), old.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", sync)
    take_over(old, new)
    assert (site.path.parent.resolve(), False) in synced


def test_messages_of_the_same_microsecond_are_all_kept_in_order(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    for path, bodies in ((old, [b"1", b"2"]), (new, [b"3", b"4"])):
        outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=lambda: 1_700_000_000.0)
        outbox.put(bodies)
        outbox.close()
    take_over(old, new)
    assert found(new) == [b"3", b"4", b"1", b"2"]


def test_messages_stay_in_order_if_another_one_has_the_microsecond_between_them(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    for path, bodies, later_s in ((old, [b"1", b"2", b"3"], 0.0), (new, [b"4"], 1e-6)):
        outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=lambda: 1_700_000_000.0 + later_s)  # noqa: B023
        outbox.put(bodies)
        outbox.close()
    take_over(old, new)
    assert found(new) == [b"1", b"4", b"2", b"3"]


def test_two_queues_that_exceed_the_size_together_are_merged_and_the_drops_counted(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    for path in (old, new):
        stored(path, *(b"%d" % number + b" " * 50_000 for number in range(16)))
    take_over(old, new)
    assert not old.exists()
    outbox = Outbox.open(new, max_age_s=1e9, max_size_mb=1)
    outbox.put([b"newest"])
    assert outbox.drops["size"] > 0
    assert outbox.counts().waiting + outbox.drops["size"] == 33
    assert outbox.counts().waiting >= 16
    outbox.close()


@pytest.mark.parametrize("deleted", [True, False])
def test_damaged_messages_of_a_queue_that_is_taken_over_are_counted(site: Site, deleted: bool) -> None:
    """Dead letters too, and also if a file of the former queue cannot be deleted afterwards."""
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    stored(old, b"0", b"1", b"2")
    stored(new, b"3")
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("UPDATE message SET parked = 'HTTP 422' WHERE body = ?", (b"0",))
        db.execute("UPDATE message SET body = 'x' WHERE body IN (?, ?)", (b"0", b"1"))
    if not deleted:
        reserve_of(old).unlink()
        reserve_of(old).mkdir()
    with capture_logs() as events:
        outbox = _opened(OutboxConfig(path=site.path), QueueFile(new, former=old), SystemClock())
    assert outbox.drops == {"damaged": 2}
    outbox.close()
    assert found(new) == [b"2", b"3"]
    assert [(each["count"], each["reason"]) for each in events if each["event"] == "message_dropped"] == [
        (2, "the stored bytes are damaged")
    ]
    assert events[-1]["event"] == ("queue_taken_over" if deleted else "queue_not_taken_over")


def stored_with_one_missing(path: Path, *bodies: bytes) -> None:
    """Store messages, and remove one that the queue promised to keep."""
    outbox = opened(path)
    outbox.put(list(bodies))
    recent = recent_of(path).read_bytes()
    outbox.ack(outbox.live()[0])
    outbox.close()
    recent_of(path).write_bytes(recent)


def assert_drops_are_logged_once(old: Path, new: Path) -> None:
    with capture_logs() as events:
        drops = take_over(old, new)
    assert [each["event"] for each in events][-1] == "queue_not_taken_over"
    assert [(each["count"], each["reason"]) for each in events if each["event"] == "message_dropped"] == [
        (1, "stored earlier, and missing when the queue was opened: its files were removed or damaged")
    ]
    assert drops == {"lost": 1}


def test_a_merge_that_a_full_disk_ends_returns_the_drops_that_it_logged(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        old, new = disk / "outbox.a.sqlite3", disk / "outbox.b.sqlite3"
        stored_with_one_missing(old, *(b"%d" % number + b" " * 500 for number in range(1500)))
        stored(new, b"of the new name")
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - 1000 * 1024)  # room for a part of the messages
        assert_drops_are_logged_once(old, new)
        filler.unlink()
        assert not take_over(old, new)


def test_a_merge_into_a_file_that_cannot_be_opened_returns_the_drops_that_it_logged(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    stored_with_one_missing(old, b"1", b"2")
    new.mkdir()
    assert_drops_are_logged_once(old, new)
    new.rmdir()
    assert not take_over(old, new)


def test_after_a_full_disk_in_a_merge_a_second_one_moves_the_rest(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        old, new = disk / "outbox.a.sqlite3", disk / "outbox.b.sqlite3"
        ids = stored(old, *(b"%d" % number + b" " * 500 for number in range(1500)))
        ids += stored(new, b"of the new name")
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - 1000 * 1024)  # room for a part of the messages
        take_over(old, new)
        assert old.exists()
        sent = delivered(new)
        assert 512 < len(sent) < len(ids)
        filler.unlink()
        take_over(old, new)
        later = delivered(new)
    assert {*sent, *later} == {*ids}
    assert len(sent) + len(later) - len(ids) <= 256, "no more than the part in which the disk became full"


def test_of_a_damaged_queue_the_legible_messages_are_taken_over_once(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    ids = stored(old, *(b"%d" % number + b" " * 900 for number in range(600)))
    ids += stored(new, b"of the new name")
    damaged = bytearray(old.read_bytes())
    start = damaged.index(b"301 ") // 4096 * 4096
    damaged[start : start + 4096] = bytes(4096)
    old.write_bytes(damaged)
    drops = take_over(old, new)
    moved = delivered(new)
    assert {*moved} < {*ids}
    assert len({*moved}) == len(moved) == len(ids) - drops["lost"]
    assert 0 < drops["lost"] < 8
    assert not old.exists()
    (aside,) = site.path.parent.glob("outbox.a.sqlite3.damaged-*")
    assert aside.read_bytes() == damaged


@pytest.mark.parametrize("interrupted", [("a",), ("b",), ("a", "b")])
def test_a_queue_whose_replacement_a_power_cut_interrupted_is_taken_over(
    site: Site, interrupted: tuple[str, ...]
) -> None:
    """The damaged file has another name, and the new one does not have the name of the queue yet."""
    paths = {name: site.path.with_name(f"outbox.{name}.sqlite3") for name in ("a", "b")}
    for name, path in paths.items():
        stored(path, name.encode())
    for name in interrupted:
        paths[name].rename(paths[name].with_name(f"outbox.{name}.sqlite3.new"))
    site.load(push("portal"), push("b", "a"))
    assert found(paths["b"]) == [b"a", b"b"]
    assert not paths["a"].exists()
    assert [*site.path.parent.glob("*.new")] == []


@pytest.mark.parametrize("merged", [True, False])
def test_an_incomplete_replacement_of_a_queue_that_was_taken_over_is_no_queue(site: Site, merged: bool) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    ids = stored(old, b"1", b"2")
    old.with_name("outbox.a.sqlite3.new").write_bytes(old.read_bytes())
    if merged:
        ids += stored(new, b"3")
    sent = []
    for _ in range(2):
        site.load(push("portal"), push("b", "a"))
        sent += delivered(new)
    assert sent == ids


def test_a_file_that_is_no_queue_is_set_aside_and_stops_nothing(site: Site) -> None:
    old, new = site.path.with_name("outbox.a.sqlite3"), site.path.with_name("outbox.b.sqlite3")
    old.write_bytes(b"x" * 8192)
    stored(new, b"2")
    take_over(old, new)
    (aside,) = site.path.parent.glob("outbox.a.sqlite3.damaged-*")
    assert aside.read_bytes() == b"x" * 8192
    assert found(new) == [b"2"]


def test_a_queue_whose_directory_is_gone_is_not_taken_over_and_not_lost(site: Site) -> None:
    old = site.path.with_name("outbox.a.sqlite3")
    stored(old, b"1")
    with capture_logs() as events:
        assert not take_over(old, site.path.parent / "gone" / "outbox.b.sqlite3")
    assert [each["event"] for each in events] == ["queue_not_taken_over"]
    assert found(old) == [b"1"]


def test_other_files_beside_the_queue_are_no_queues(site: Site) -> None:
    site.load(push("portal"), push("trader"))
    for name in (
        "energy.sqlite3",
        "outbox.sqlite3.damaged-20260101T000000.0Z",
        "outbox.a.b.sqlite3",
        "outbox.endpoint",
    ):
        site.path.with_name(name).touch()
    assert site.kept(push("portal"), push("trader")) == []


def test_a_disk_that_accepts_no_writes_stops_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    with capture_logs() as events:
        queue_files(site.path, [push("portal"), push("trader")]).save_owner()
    assert [(each["event"], each["reason"]) for each in events] == [("queue_owner_not_saved", "Read-only file system")]
