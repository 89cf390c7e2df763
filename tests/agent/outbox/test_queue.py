from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.delivery.http_reply import MAX_RETRY_AFTER_S
from agent.outbox import queued
from agent.outbox.files import note_of
from agent.outbox.queue import EXPIRE_EVERY_S, Counts, Outbox
from tests.support.outbox import bodies_of, ids_of, opened, waiting
from tests.support.simulated_clock import START, DrivenClock


def test_what_was_put_is_there_after_a_restart_with_the_same_id(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    identities = ids_of(outbox.put([b"1", b"2"]))
    outbox.update(replace(outbox.live()[0], attempts=1, refusals=1, next_try=1060.0))
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3")
    assert outbox.live() == []
    records = waiting(outbox)
    assert [(record.id, record.body) for record in records] == list(zip(identities, (b"1", b"2"), strict=True))
    assert (records[0].attempts, records[0].refusals, records[0].next_try) == (1, 1, 1060.0)
    outbox.ack(records[0])
    assert bodies_of(outbox) == [b"2"]
    outbox.close()


def test_live_is_the_newest_put_and_the_backlog_is_the_oldest_that_is_due(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1", b"2"])
    first, second = outbox.live()
    outbox.put([b"3"])
    assert [record.body for record in outbox.live()] == [b"3"]
    outbox.update(replace(first, next_try=2000.0))
    assert outbox.backlog(1000.0) == [second]
    assert outbox.backlog(1000.0, skip={second.seq}) == []
    assert [record.body for record in outbox.backlog(2000.0)] == [b"1"]
    assert [record.body for record in outbox.backlog(2000.0, limit=5)] == [b"1", b"2"]
    outbox.close()


def test_the_seq_of_a_message_is_the_microsecond_of_its_put_or_the_next_number(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", at=1000.0)
    records = outbox.put([b"1", b"2"]) + outbox.put([b"3"])
    assert [record.seq for record in records] == [1_000_000_000, 1_000_000_001, 1_000_000_002]
    outbox.close()


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("boot", [None, "boot-1"])
def test_the_first_message_of_a_clock_that_begins_at_zero_is_like_any_other(
    tmp_path: Path, boot: str | None, writable: bool
) -> None:
    if not writable:
        (tmp_path / "folder").write_text("in the way")
    outbox = opened(tmp_path / "folder" / "o.sqlite3", at=0.0)
    (first,) = outbox.put([b"first"], boot=boot, mono=5.0)
    outbox.put([b"live"])
    assert first.seq == 1
    assert (outbox.undated() if boot else outbox.backlog(0.0)) == [first]
    assert outbox.counts() == Counts(waiting=2, parked=0)
    assert outbox.in_memory is not writable
    outbox.close()


def test_a_next_try_beyond_any_wait_is_a_clock_that_stepped_back(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1"])
    outbox.update(replace(outbox.live()[0], next_try=1_700_000_000.0))
    outbox.put([])
    assert [record.body for record in outbox.backlog(1000.0)] == [b"1"]
    outbox.close()


@pytest.mark.parametrize(("ahead_s", "due"), [(-0.5, True), (0.5, False), (3999.5, False), (4000.0, True)])
def test_a_message_is_due_from_its_next_try_on_or_if_that_is_too_far_away(
    tmp_path: Path, ahead_s: float, due: bool
) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1"])
    outbox.update(replace(outbox.live()[0], next_try=1000.0 + ahead_s))
    outbox.put([])
    assert bool(outbox.backlog(1000.0)) is due
    outbox.close()


def test_the_longest_pause_of_an_endpoint_is_a_wait(tmp_path: Path) -> None:
    """An hour, and the tenth that delivery adds to it."""
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1"])
    outbox.put([b"live"])
    outbox.update(replace(waiting(outbox)[0], next_try=1000.0 + 1.1 * MAX_RETRY_AFTER_S))
    assert not outbox.backlog(1000.0)
    outbox.close()


def test_a_dead_letter_is_kept_and_no_longer_waits(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1", b"2"])
    outbox.update(replace(outbox.live()[0], parked="HTTP 422"))
    assert (outbox.counts().waiting, outbox.counts().parked) == (1, 1)
    assert [(record.body, record.parked) for record in outbox.parked()] == [(b"1", "HTTP 422")]
    assert [record.body for record in outbox.live()] == [b"2"]
    outbox.close()


def test_dead_letters_are_bounded_and_the_oldest_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.outbox.queue.MAX_DEAD_LETTERS", 20)
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([str(number).encode() for number in range(25)])
    for record in outbox.live():
        outbox.update(replace(record, parked="HTTP 422"))
    kept = [int(record.body) for record in outbox.parked()]
    assert 0 < len(kept) <= 20
    assert kept == list(range(25 - len(kept), 25))
    assert outbox.drops["dead_letters"] == 25 - len(kept)
    outbox.close()


def test_a_dead_letter_that_is_saved_with_other_records_counts_for_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.outbox.queue.MAX_DEAD_LETTERS", 2)
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1", b"2", b"3", b"4"])
    *first, last = outbox.live()
    outbox.update(*(replace(record, parked="HTTP 422") for record in first), replace(last, attempts=1))
    assert outbox.counts().parked <= 2
    assert bodies_of(outbox) == [b"4"]
    outbox.close()


def test_a_thousand_dead_letters_are_kept_and_of_one_more_the_oldest_are_dropped(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"x"] * 1001)
    *first, last = outbox.live()
    outbox.update(*(replace(record, parked="HTTP 422") for record in first))
    assert outbox.counts().parked == 1000
    outbox.update(replace(last, parked="HTTP 422"))
    assert outbox.drops == {"dead_letters": 16}
    assert outbox.counts() == Counts(waiting=0, parked=985)
    outbox.close()


def test_the_bound_by_size_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    with capture_logs() as logs:
        for number in range(150):
            outbox.put([f"{number:05}".encode() * 2000])
    bodies = bodies_of(outbox)
    assert bodies[-1].startswith(b"00149")
    assert outbox.drops["size"] == 150 - len(bodies) > 0
    dropped = [entry for entry in logs if entry["event"] == "message_dropped"]
    assert sum(entry["count"] for entry in dropped) == outbox.drops["size"]
    assert outbox.counts().waiting == len(bodies)
    assert not outbox.in_memory
    assert (tmp_path / "o.sqlite3").stat().st_size <= 1024 * 1024
    outbox.close()


def test_the_bound_by_size_is_no_full_disk(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    with capture_logs() as logs:
        for number in range(400):
            outbox.put([b"%d" % number * 2000])
    assert {entry["event"] for entry in logs} == {"message_dropped"}
    assert (tmp_path / "o.sqlite3.reserve").exists()
    outbox.close()


def test_at_the_bound_no_more_is_dropped_than_the_new_message_needs(tmp_path: Path) -> None:
    """Also with dead letters, which are dropped first, and with small messages: a page holds about 30 of them."""
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    while not outbox.drops:
        outbox.put([b"x" * 50] * 100)
    for record in waiting(outbox)[50:60]:
        outbox.update(replace(record, parked="HTTP 422"))
    before = outbox.drops["size"]
    for number in range(300):
        outbox.put([b"%03d" % number * 17])
        assert outbox.drops["size"] - before <= 100
        before = outbox.drops["size"]
    assert outbox.parked() == []
    outbox.close()


def test_at_the_bound_a_tick_of_a_large_site_finds_room_as_well(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    for _ in range(12):
        ids = ids_of(outbox.put([b"x" * 500] * 400))
        assert not outbox.in_memory
        assert ids_of(outbox.live()) == ids
    assert set(outbox.drops) == {"size"}
    outbox.close()


def test_a_message_that_is_larger_than_the_bound_drops_all_others_and_waits_in_memory(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    outbox.put([b"small"])
    outbox.put([b"x" * 2_000_000])
    assert [len(body) for body in bodies_of(outbox)] == [2_000_000]
    assert outbox.in_memory
    assert outbox.drops == {"size": 1}
    outbox.close()


def test_a_bound_that_was_made_smaller_holds_from_the_next_put(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    for number in range(150):
        outbox.put([f"{number:05}".encode() * 4000])
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    outbox.put([b"new"])
    assert 0 < sum(map(len, bodies_of(outbox))) <= 1024 * 1024
    assert bodies_of(outbox)[-1] == b"new"
    # The file has free pages now, which SQLite would fill again.
    for number in range(60):
        outbox.put([f"{number:05}".encode() * 4000])
    assert 512 * 1024 < sum(map(len, bodies_of(outbox))) <= 1024 * 1024
    outbox.close()


def test_the_bound_by_age(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", at=1000.0)
    for number in range(40):
        outbox.put([f"old {number}".encode()])
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3", max_age_s=60, at=2000.0)
    outbox.put([b"new"])
    assert bodies_of(outbox) == [b"new"]
    assert outbox.drops["age"] == 40
    outbox.close()


def test_one_message_drops_a_few_hundred_that_are_too_old_at_most(tmp_path: Path) -> None:
    """So that no message waits for long."""
    outbox = opened(tmp_path / "o.sqlite3", at=1000.0)
    outbox.put([b"old"] * 500)
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3", max_age_s=60, at=2000.0)
    for dropped in (256, 500):
        outbox.put([b"new"])
        assert outbox.drops["age"] == dropped
    outbox.close()


def test_messages_that_are_too_old_are_looked_for_once_a_minute(tmp_path: Path) -> None:
    clock = DrivenClock(monotonic=1.0, wall=START)
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=30, max_size_mb=8, now=clock.time, monotonic=clock.monotonic)
    outbox.put([b"1"])
    clock.jump(59.0)
    outbox.put([b"2"])
    assert not outbox.drops
    clock.jump(1.0)
    outbox.put([b"undated"], boot="boot-1")
    assert not outbox.drops, "an undated message looks for none"
    outbox.put([b"3"])
    assert outbox.drops == {"age": 1}
    assert bodies_of(outbox) == [b"2", b"3"]
    outbox.close()


@pytest.mark.parametrize("up_s", [1.0, 1e9])
def test_a_clock_that_leaps_ahead_ages_nothing(tmp_path: Path, up_s: float) -> None:
    clock = DrivenClock(monotonic=up_s, wall=START)
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=60, max_size_mb=8, now=clock.time, monotonic=clock.monotonic)
    outbox.put([b"1"])
    clock.set_time(START + 1e9)
    clock.jump(EXPIRE_EVERY_S)
    outbox.put([b"2"])
    assert bodies_of(outbox) == [b"1", b"2"]
    assert not outbox.drops
    clock.jump(EXPIRE_EVERY_S)
    outbox.put([b"3"])
    assert bodies_of(outbox) == [b"2", b"3"]
    assert outbox.drops == {"age": 1}
    outbox.close()


def test_before_the_clock_is_set_nothing_is_too_old(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", at=10.0)
    outbox.put([b"undated"], boot="boot-1", mono=5.0)
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3", max_age_s=60, at=1_700_000_000.0)
    outbox.put([b"dated"])
    undated = outbox.undated()
    assert [(record.body, record.boot, record.mono) for record in undated] == [(b"undated", "boot-1", 5.0)]
    assert bodies_of(outbox) == [b"dated"]
    outbox.update(replace(undated[0], body=b"dated later", created=1_699_999_990.0, boot=None))
    assert not outbox.undated()
    assert bodies_of(outbox) == [b"dated later", b"dated"]
    outbox.close()


@pytest.mark.parametrize(("now", "age_s"), [(1000.5, 0.5), (999.0, 0.0)])
def test_the_age_of_the_oldest_message_is_never_negative(tmp_path: Path, now: float, age_s: float) -> None:
    outbox = opened(tmp_path / "o.sqlite3", at=1000.0)
    assert queued(outbox, now).oldest_s is None
    outbox.put([b"1", b"2"])
    assert queued(outbox, now).oldest_s == age_s
    outbox.close()


def test_the_age_is_that_of_the_oldest_of_the_live_messages(tmp_path: Path) -> None:
    """Messages of one push get different dates if the clock is set while they are dated."""
    outbox = opened(tmp_path / "o.sqlite3")
    first, second = outbox.put([b"1", b"2"], boot="boot-1")
    outbox.update(replace(first, created=900.0, boot=None), replace(second, created=950.0, boot=None))
    assert queued(outbox, 1000.0).oldest_s == 100.0
    outbox.close()


def test_a_note_is_read_up_to_64_kib(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.set_note(b"x" * 70_000)
    assert outbox.note() == b"x" * 65_536
    outbox.close()


def test_a_directory_in_the_place_of_the_note_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    note_of(path).mkdir()
    outbox = opened(path)
    for content in (b"1", b""):
        outbox.set_note(content)
        assert outbox.note() == b""
    outbox.close()
    assert not list(tmp_path.glob("*.new"))


def test_a_place_that_cannot_be_written_never_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outbox = opened(tmp_path / "file" / "o.sqlite3")
    outbox.put([b"1"])
    assert bodies_of(outbox) == [b"1"]
    assert outbox.in_memory
    outbox.close()


WRITER = """
import sys
from pathlib import Path
from agent.outbox.queue import Outbox
outbox = Outbox.open(Path(sys.argv[1]), max_age_s=1e9, max_size_mb=64)
number = 0
while True:
    record, = outbox.put([str(number).encode()])
    print(number, record.id, flush=True)
    number += 1
"""


def test_kill_9_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    for _ in range(3):
        for file in tmp_path.glob("o.sqlite3*"):
            file.unlink()
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        promised = [writer.stdout.readline().split() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        promised += [line.split() for line in writer.stdout if len(line.split()) == 2]
        writer.wait()
        writer.stdout.close()
        outbox = opened(path)
        kept = [[record.body.decode(), record.id] for record in outbox.backlog(1e12, limit=100_000)]
        outbox.close()
        assert kept[: len(promised)] == promised
