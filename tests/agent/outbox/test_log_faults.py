"""The write-ahead log is removed or damaged, then the process is killed: what a restart finds missing is counted."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.outbox.files import recent_of
from agent.outbox.queue import Outbox
from agent.outbox.resilient_store import CHECKPOINT_S
from agent.outbox.store import Store
from agent.storage import open_for_writing
from tests.faults.disk import fill, no_file_may_grow, small_disk
from tests.support.outbox import ids_of, opened, waiting

Fault = Callable[[Path], None]


def removed(log: Path) -> None:
    log.unlink()


def emptied(log: Path) -> None:
    os.truncate(log, 0)


def overwritten(log: Path) -> None:
    log.write_bytes(b"\xff" * log.stat().st_size)


def half(log: Path) -> None:
    content = log.read_bytes()
    end = content.rstrip(b"\0")
    log.write_bytes(content[: len(end) // 2])


def with_a_wrong_byte(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[len(content.rstrip(b"\0")) * 2 // 3] ^= 0xFF
    log.write_bytes(content)


FAULTS = [removed, emptied, overwritten, half, with_a_wrong_byte]


class Site:
    """A queue whose process ends by SIGKILL: what the kernel has of its files is what the next start finds."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self._folder = folder
        self._lives = 0
        self.path = folder / "0" / "o.sqlite3"
        self.outbox = self._opened()

    def kill(self, fault: Fault = lambda _: None) -> None:
        before = self.path
        self._lives += 1
        self.path = self._folder / str(self._lives) / before.name
        shutil.copytree(before.parent, self.path.parent, ignore=shutil.ignore_patterns("*-shm"))
        self.outbox.close()  # of the killed process; its folder is not used again
        fault(self.path.with_name(self.path.name + "-wal"))
        self.outbox = self._opened()

    def ids(self) -> list[str]:
        return [record.id for record in waiting(self.outbox)]

    def _opened(self) -> Outbox:
        outbox = Outbox.open(
            self.path, max_age_s=1e9, max_size_mb=64, now=lambda: 1e9 + self.now, monotonic=lambda: self.now
        )
        _left_open.append(outbox)
        return outbox


_left_open: list[Outbox] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    """Close all queues of the test, because Python 3.13 warns of open connections."""
    yield
    while _left_open:
        _left_open.pop().close()


@pytest.mark.parametrize("fault", FAULTS)
def test_messages_that_die_with_the_log_are_counted_and_logged(tmp_path: Path, fault: Fault) -> None:
    site = Site(tmp_path)
    promised = [identity for number in range(12) for identity in ids_of(site.outbox.put([b"%d" % number * 500]))]
    gone = site.outbox.backlog(1e12)[0]
    site.outbox.ack(gone)
    promised.remove(gone.id)
    with capture_logs() as logs:
        site.kill(fault)
    missing = set(promised) - set(site.ids())
    assert missing
    assert site.outbox.drops == {"lost": len(missing)}
    dropped = [entry for entry in logs if entry["event"] == "message_dropped"]
    assert [(entry["count"], entry["log_level"]) for entry in dropped] == [(len(missing), "warning")]
    # The second restart counts nothing again.
    site.kill()
    assert not site.outbox.drops
    site.outbox.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("minutes", [1, 20])
def test_no_message_depends_on_the_log_for_more_than_a_minute(tmp_path: Path, fault: Fault, minutes: int) -> None:
    site = Site(tmp_path)
    promised: list[str] = []
    for number in range(minutes):
        promised += ids_of(site.outbox.put([b"%d" % number * 500]))
        for _ in range(30):  # as the daemon does for its status line
            site.now += 2.0
            site.outbox.counts()
    site.kill(fault)
    assert site.ids() == promised
    assert not site.outbox.drops
    # Messages after the checkpoint do not bring back the damaged log of before.
    promised += ids_of(site.outbox.put([b"new" * 500]))
    site.kill()
    assert site.ids() == promised
    site.outbox.close()


def test_a_reader_that_blocks_the_checkpoint_makes_no_message_count_twice(tmp_path: Path) -> None:
    site = Site(tmp_path)
    promised = [identity for number in range(12) for identity in ids_of(site.outbox.put([b"%d" % number * 500]))]
    with ExitStack() as readers:

        def half_and_read(log: Path) -> None:
            half(log)
            reader = readers.enter_context(closing(sqlite3.connect(log.with_name("o.sqlite3"))))
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM message").fetchone()

        site.kill(half_and_read)
        missing = set(promised) - set(site.ids())
        assert 0 < len(missing) < len(promised)
        assert site.outbox.drops == {"lost": len(missing)}
        site.kill()
    assert set(site.ids()) == set(promised) - missing
    assert not site.outbox.drops
    site.outbox.close()


def test_a_checkpoint_does_not_wait_as_long_for_a_reader_as_a_message_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next message would wait for the checkpoint."""
    monkeypatch.setattr("agent.outbox.store.open_for_writing", partial(open_for_writing, busy_s=60.0))
    site = Site(tmp_path)
    promised = ids_of(site.outbox.put([b"1" * 500]))
    site.outbox.counts()
    with closing(sqlite3.connect(site.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        site.now += CHECKPOINT_S
        began = time.monotonic()
        site.outbox.counts()
        assert time.monotonic() - began < 30.0
    site.kill()
    assert site.ids() == promised
    site.outbox.close()


def test_without_an_outage_no_message_is_written_twice(tmp_path: Path) -> None:
    """A message that was delivered within the minute needs no checkpoint of its own."""
    site = Site(tmp_path)
    for number in range(6):
        site.outbox.put([b"%d" % number * 500])
        site.outbox.ack(site.outbox.live()[0])
        site.now += 2 * CHECKPOINT_S
        site.outbox.counts()
    assert site.path.stat().st_size == 4096, "nothing was written back"
    site.kill(removed)
    assert site.ids() == []
    assert not site.outbox.drops
    site.outbox.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_log_that_is_removed_while_it_is_open_loses_nothing_from_the_next_message_on(
    tmp_path: Path, suffix: str
) -> None:
    site = Site(tmp_path)
    promised = [identity for number in range(5) for identity in ids_of(site.outbox.put([b"%d" % number * 500]))]
    for number in range(2):  # and the second time
        site.path.with_name(site.path.name + suffix).unlink()
        with capture_logs() as logs:
            promised += ids_of(site.outbox.put([b"%d" % number * 500]))
        assert [entry["event"] for entry in logs] == ["outbox_log_removed"]
        with capture_logs() as logs:
            promised += ids_of(site.outbox.put([b"%d" % number * 500]))
        assert logs == []
        site.kill()
        assert site.ids() == promised
        assert not site.outbox.drops
    site.outbox.close()


def test_a_list_of_the_messages_in_the_log_that_is_damaged_or_not_writable_is_no_obstacle(tmp_path: Path) -> None:
    site = Site(tmp_path)
    promised = ids_of(site.outbox.put([b"1"]))
    for damage in (b"", b"\xff" * 4096, recent_of(site.path).read_bytes()[:9]):
        recent_of(site.path).write_bytes(damage)
        site.kill()
        promised += ids_of(site.outbox.put([b"2"]))
        assert site.ids() == promised
        assert not site.outbox.drops
    site.outbox.close()
    recent_of(site.path).unlink()
    recent_of(site.path).mkdir()
    site.outbox = site._opened()
    promised += ids_of(site.outbox.put([b"3"]))
    assert site.ids() == promised
    assert not site.outbox.in_memory
    site.outbox.close()
    recent_of(tmp_path / "new.sqlite3").mkdir()
    outbox = opened(tmp_path / "new.sqlite3")
    assert not outbox.drops
    outbox.close()


def test_a_list_that_the_disk_refuses_while_it_accepts_the_messages_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    site = Site(tmp_path)
    monkeypatch.setattr("agent.outbox.recent.os.pwrite", refused)
    promised = ids_of(site.outbox.put([b"1", b"2"]))
    site.outbox.ack(site.outbox.live()[0])
    assert not site.outbox.in_memory
    assert site.ids() == promised[1:]


def test_a_list_of_more_messages_than_it_has_room_for_at_first_is_read_whole(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.outbox.put([b"x"] * 600)
    site.kill(removed)
    assert site.outbox.drops == {"lost": 600}


def test_a_file_that_is_gone_after_a_kill_or_cannot_be_read_is_counted_as_a_whole(tmp_path: Path) -> None:
    for fault in (Path.unlink, lambda path: path.write_bytes(b"\xff" * path.stat().st_size)):
        site = Site(tmp_path / fault.__name__.strip("<>"))
        for number in range(20):
            site.outbox.put([b"%d" % number * 500])
        site.outbox.ack(site.outbox.live()[0])
        site.now += CHECKPOINT_S
        site.outbox.counts()
        site.now += CHECKPOINT_S
        site.outbox.counts()

        def everything(log: Path, fault: Fault = fault) -> None:
            log.unlink()
            fault(log.with_name("o.sqlite3"))

        site.kill(everything)
        assert site.ids() == []
        assert site.outbox.drops == {"lost": 19}
        site.kill()
        assert not site.outbox.drops
        site.outbox.close()


def test_a_log_that_is_removed_on_a_full_disk_is_written_back_into_the_reserve(tmp_path: Path) -> None:
    """A checkpoint that stops halfway for want of space would leave a file that is unreadable without its log."""
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "state" / "o.sqlite3"
        outbox = opened(path)
        ids = ids_of(outbox.put([b"x" * 500]))
        fill(disk)
        ids += [identity for number in range(60) for identity in ids_of(outbox.put([b"%02d" % number * 250]))]
        path.with_name("o.sqlite3-wal").unlink()
        ids += ids_of(outbox.put([b"x" * 500]))
        (tmp_path / "after a kill").mkdir()
        for name in ("o.sqlite3", "o.sqlite3.recent", "o.sqlite3-wal"):
            shutil.copy(path.with_name(name), tmp_path / "after a kill")
        outbox.close()
        outbox = opened(tmp_path / "after a kill" / "o.sqlite3")
        assert [record.id for record in waiting(outbox)] == ids
        assert not outbox.drops
        outbox.close()


@pytest.mark.parametrize("log_removed", [True, False])
def test_a_checkpoint_on_a_full_disk_uses_the_reserve(tmp_path: Path, log_removed: bool) -> None:
    """And takes the rest of it, before other programs do."""
    now = [1000.0]
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "o.sqlite3"
        outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=64, now=lambda: 1e9, monotonic=lambda: now[0])
        ids = [identity for number in range(12) for identity in ids_of(outbox.put([b"%02d" % number * 250]))]
        outbox.counts()
        fill(disk)
        log = path.with_name("o.sqlite3-wal")
        with capture_logs() as logs:
            if log_removed:
                log.unlink()
                ids += ids_of(outbox.put([b"x" * 500]))
            else:
                now[0] += CHECKPOINT_S
                outbox.counts()
                with closing(Store.open_beside(path)) as beside:
                    assert beside.recent.seqs == set()
        assert [entry["event"] for entry in logs if entry["event"] != "outbox_log_removed"] == ["outbox_disk_full"]
        assert log.exists()
        fill(disk, "second filler")
        for _ in range(12):
            ids += ids_of(outbox.put([b"x" * 500] * 20))
        assert [record.id for record in waiting(outbox)] == ids
        assert not outbox.drops
        outbox.close()


def test_a_checkpoint_that_fails_is_made_later(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    now = [1000.0]
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=64, now=lambda: 1e9, monotonic=lambda: now[0])
    ids = ids_of(outbox.put([b"x" * 4000] * 150))
    outbox.close()
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=64, now=lambda: 1e9, monotonic=lambda: now[0])
    with capture_logs() as logs, no_file_may_grow(path.stat().st_size):
        ids += ids_of(outbox.put([b"1" * 500]))
        for _ in range(2):
            outbox.counts()
            now[0] += CHECKPOINT_S
        path.with_name("o.sqlite3-wal").unlink()
        ids += ids_of(outbox.put([b"2" * 500]))
        for _ in range(40):
            ids += ids_of(outbox.put([b"3" * 500]))
        assert not outbox.in_memory
    assert {entry["event"] for entry in logs} == {"outbox_checkpoint_failed", "outbox_log_removed"}
    ids += ids_of(outbox.put([b"4" * 500]))
    outbox.close()
    outbox = opened(path)
    assert [record.id for record in waiting(outbox)] == ids
    assert not outbox.drops
    outbox.close()


def test_a_checkpoint_in_a_directory_that_was_moved_away_is_made_later(tmp_path: Path) -> None:
    site = Site(tmp_path / "state")
    ids = ids_of(site.outbox.put([b"x" * 5000] * 3))
    site.outbox.counts()
    (tmp_path / "state").rename(tmp_path / "moved")
    site.now += CHECKPOINT_S
    assert site.outbox.counts().waiting == 3
    ids += ids_of(site.outbox.put([b"4"]))
    assert site.ids() == ids


@pytest.mark.parametrize(("count", "written_back"), [(255, False), (256, True)])
def test_many_messages_depend_on_the_log_for_less_than_a_minute(tmp_path: Path, count: int, written_back: bool) -> None:
    site = Site(tmp_path)
    ids = ids_of(site.outbox.put([b"x"] * count))
    for _ in range(2):
        site.outbox.counts()
    site.kill(removed)
    assert site.ids() == (ids if written_back else [])
    assert site.outbox.drops == ({} if written_back else {"lost": count})


def test_on_a_full_disk_too_messages_that_die_with_the_log_are_counted(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "state" / "o.sqlite3"
        outbox = opened(path)
        fill(disk)
        for number in range(5):
            outbox.put([b"%d" % number * 500])
        (tmp_path / "after a kill").mkdir()
        for name in ("o.sqlite3", "o.sqlite3.recent"):  # not the log
            shutil.copy(path.with_name(name), tmp_path / "after a kill")
        outbox.close()
        outbox = opened(tmp_path / "after a kill" / "o.sqlite3")
        assert waiting(outbox) == []
        assert outbox.drops == {"lost": 5}
        outbox.close()


@pytest.mark.seeds(0, 1, 2)
def test_whatever_is_damaged_in_the_log_every_promised_message_is_there_or_counted(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    site = Site(tmp_path)
    promised: dict[str, None] = {}
    acked: set[str] = set()
    for _ in range(15):
        for _ in range(dice.randrange(30)):
            what = dice.random()
            held = waiting(site.outbox)
            if what < 0.6 or not held:
                bodies = [dice.randbytes(dice.randrange(20, 6000)) for _ in range(dice.randrange(1, 4))]
                promised.update(dict.fromkeys(ids_of(site.outbox.put(bodies))))
            elif what < 0.9:
                record = dice.choice(held)
                site.outbox.ack(record)
                acked.add(record.id)
                promised.pop(record.id)
            else:
                site.outbox.counts()
                site.now += CHECKPOINT_S
                site.outbox.counts()
        site.kill(dice.choice([*FAULTS, lambda _: None]))
        found = dict.fromkeys(site.ids())
        missing = promised.keys() - found.keys()
        assert site.outbox.drops.total() == len(missing)
        # A lost log can bring back what was acknowledged in it, under the same id.
        assert found.keys() <= promised.keys() | acked
        acked -= found.keys()
        promised = found
    site.outbox.close()
