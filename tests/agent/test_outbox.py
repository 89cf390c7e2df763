from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.outbox import Outbox


def opened(path: Path, max_size_mb: int = 64, max_age_s: float = 604_800, at: float = 1000.0) -> Outbox:
    return Outbox.open(path, max_age_s=max_age_s, max_size_mb=max_size_mb, now=lambda: at)


def bodies_of(outbox: Outbox) -> list[bytes]:
    return [record.body for record in outbox.live(0)]


def test_what_was_put_is_there_after_a_restart_with_the_same_id(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    identities = outbox.put([b"1", b"2"])
    outbox.tried(outbox.live(0)[0], 1060.0, refused=True)
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3")
    records = outbox.live(0)
    assert [(record.id, record.body) for record in records] == list(zip(identities, (b"1", b"2"), strict=True))
    assert (records[0].attempts, records[0].refusals, records[0].next_try) == (1, 1, 1060.0)
    outbox.ack(records[0])
    assert bodies_of(outbox) == [b"2"]
    outbox.close()


def test_the_backlog_is_oldest_first_due_and_before_the_live_message(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1", b"2", b"3"])
    first, second, third = outbox.live(0)
    outbox.tried(first, 2000.0, refused=False)
    due = outbox.oldest(third.seq, 1000.0)
    assert due is not None
    assert due.body == second.body
    later = outbox.oldest(third.seq, 2000.0)
    assert later is not None
    assert later.body == first.body
    outbox.close()


def test_a_dead_letter_is_kept_and_no_longer_waits(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3")
    outbox.put([b"1", b"2"])
    outbox.park(outbox.live(0)[0], "HTTP 422")
    assert outbox.waiting() == 1
    assert [(record.body, record.parked) for record in outbox.parked()] == [(b"1", "HTTP 422")]
    outbox.close()


def test_the_bound_by_size_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", max_size_mb=1)
    for number in range(150):
        outbox.put([f"{number:05}".encode() * 2000])
    bodies = bodies_of(outbox)
    assert bodies[-1].startswith(b"00149")
    assert outbox.drops["size"] == 150 - len(bodies) > 0
    assert (tmp_path / "o.sqlite3").stat().st_size <= 1024 * 1024
    outbox.close()


def test_the_bound_by_age(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "o.sqlite3", at=1000.0)
    outbox.put([b"old"])
    outbox.close()
    outbox = opened(tmp_path / "o.sqlite3", max_age_s=60, at=2000.0)
    outbox.put([b"new"])
    assert bodies_of(outbox) == [b"new"]
    assert outbox.drops["age"] == 1
    outbox.close()


@pytest.mark.parametrize("damage", [b"this is not a database" * 100, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "o.sqlite3"
    path.write_bytes(damage)
    outbox = opened(path)
    outbox.put([b"1"])
    assert bodies_of(outbox) == [b"1"]
    outbox.close()
    assert [aside.read_bytes() for aside in tmp_path.glob("o.sqlite3.damaged-*")] == [damage]


def test_a_place_that_cannot_be_written_never_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outbox = opened(tmp_path / "file" / "o.sqlite3")
    outbox.put([b"1"])
    assert bodies_of(outbox) == [b"1"]
    outbox.close()


WRITER = """
import sys
from pathlib import Path
from agent.outbox import Outbox
outbox = Outbox.open(Path(sys.argv[1]), max_age_s=1e9, max_size_mb=64)
number = 0
while True:
    identity, = outbox.put([str(number).encode()])
    print(number, identity, flush=True)
    number += 1
"""


def test_kill_9_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    for _ in range(3):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        promised = [writer.stdout.readline().split() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        promised += [line.split() for line in writer.stdout if len(line.split()) == 2]
        writer.wait()
        writer.stdout.close()
        outbox = opened(path)
        kept = [[record.body.decode(), record.id] for record in outbox.live(0)]
        outbox.close()
        assert kept[: len(promised)] == promised
