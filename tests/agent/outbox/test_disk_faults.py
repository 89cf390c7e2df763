"""The queue on disks that are full, read-only, failing: real ones, mounted for the test."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from agent.outbox.disk_reserve import RESERVE_BYTES
from agent.outbox.queue import Outbox
from agent.outbox.resilient_store import MEMORY_BYTES
from agent.runtime import logging_setup
from tests.faults.disk import fill, mount, small_disk, unsynced_pages
from tests.support.outbox import ids_of, waiting


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def opened(folder: Path) -> Outbox:
    return Outbox.open(folder / "o.sqlite3", max_age_s=1e9, max_size_mb=64)


def test_a_disk_that_fills_up_costs_the_oldest_only(disk: Path) -> None:
    outbox = opened(disk)
    reserve = disk / "o.sqlite3.reserve"
    assert reserve.stat().st_size == RESERVE_BYTES
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


def test_memory_is_bounded_and_gives_up_the_oldest(disk: Path) -> None:
    fill(disk)
    outbox = opened(disk)
    body = b"x" * 65_536
    for _ in range(100):
        newest = ids_of(outbox.put([body]))
    kept = waiting(outbox)
    assert sum(len(record.body) for record in kept) <= MEMORY_BYTES
    assert kept[-1].id == newest[0]
    assert outbox.drops == {"memory": 100 - len(kept)}
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


@contextlib.contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Every write beyond the first bytes of a file fails, with another error than a full disk's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def test_what_was_put_is_on_the_disk_and_not_on_its_way_there(tmp_path: Path) -> None:
    """Acknowledgements may be: they cost a duplicate, no message."""
    files = [tmp_path / "o.sqlite3", tmp_path / "o.sqlite3-wal"]
    probe = tmp_path / "probe"
    probe.write_bytes(b"x" * 4096)
    if not unsynced_pages(probe):
        pytest.skip(f"{tmp_path} lies on no disk that the kernel writes to later")
    outbox = opened(tmp_path)
    for number in range(100):
        outbox.put([b"%d" % number * 100])
        assert [unsynced_pages(file) for file in files] == [0, 0]
        if number % 3:
            outbox.ack(outbox.live()[0])
    outbox.close()


def test_a_message_costs_little_of_the_disk(tmp_path: Path) -> None:
    """As /proc counts what this process hands to the kernel: put, one try, ack, and its share of the clean-up."""

    def written() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("wchar")))

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
