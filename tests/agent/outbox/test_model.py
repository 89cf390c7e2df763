"""The queue's invariants against a model: any order of operations, with the end of the process or of power between.

What is on the disk when a process is killed is what the kernel has of its files; a copy of them is the same thing. The
moments in the middle of an operation are left to a real process that is really killed.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.outbox.queue import Outbox
from agent.outbox.record import Record
from tests.support.outbox import ids_of

BODIES = st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=3)
FILES = ("o.sqlite3", "o.sqlite3-wal", "o.sqlite3.recent")


@dataclass(frozen=True)
class Expected:
    """A record as the model has it."""

    id: str
    body: bytes
    attempts: int = 0
    refusals: int = 0
    next_try: float = 0.0
    parked: str | None = None


def expected(record: Record) -> Expected:
    return Expected(record.id, record.body, record.attempts, record.refusals, record.next_try, record.parked)


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(mkdtemp(prefix="outbox-model-"))
        self.folder = self.root / "0"
        self.folder.mkdir()
        self.model: dict[str, Expected] = {}
        self.live: list[str] = []
        self.ever: dict[str, bytes] = {}
        self.durable = (self.copy(), dict(self.model))
        self.outbox = self.open()

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.root)

    def open(self) -> Outbox:
        return Outbox.open(self.folder / "o.sqlite3", max_age_s=1e9, max_size_mb=64)

    def copy(self) -> Path:
        """The files as they stand."""
        copy = Path(mkdtemp(dir=self.root))
        for name in FILES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(self.folder / name, copy / name)
        return copy

    def go_on_with(self, files: Path) -> None:
        self.outbox.close()
        self.folder = files
        self.outbox = self.open()
        self.live = []

    def record(self, data: Any, *, parked: bool = False) -> Record:
        record: Record = data.draw(st.sampled_from(self.outbox.parked() if parked else self.waiting()))
        return record

    def waiting(self) -> list[Record]:
        return self.outbox.backlog(1e12, limit=1000) + self.outbox.live()

    def holds(self, *, parked: bool) -> bool:
        return any((each.parked is not None) is parked for each in self.model.values())

    @rule(bodies=BODIES)
    def put(self, bodies: list[bytes]) -> None:
        self.live = ids_of(self.outbox.put(bodies))
        assert not set(self.live) & set(self.ever), "an id is never given twice"
        for identity, body in zip(self.live, bodies, strict=True):
            self.model[identity] = Expected(identity, body)
            self.ever[identity] = body
        self.durable = (self.copy(), dict(self.model))

    @precondition(lambda self: self.holds(parked=False))
    @rule(data=st.data())
    def ack(self, data: Any) -> None:
        record = self.record(data)
        self.outbox.ack(record)
        del self.model[record.id]

    @precondition(lambda self: self.holds(parked=False))
    @rule(data=st.data(), refused=st.booleans(), next_try=st.floats(0, 2e9), parked=st.none() | st.just("HTTP 422"))
    def tried(self, data: Any, refused: bool, next_try: float, parked: str | None) -> None:
        record = self.record(data)
        record = replace(
            record,
            attempts=record.attempts + 1,
            refusals=record.refusals + refused,
            next_try=next_try,
            parked=parked,
        )
        self.outbox.update(record)
        self.model[record.id] = expected(record)

    @precondition(lambda self: self.holds(parked=True))
    @rule(data=st.data())
    def revive(self, data: Any) -> None:
        record = replace(self.record(data, parked=True), parked=None)
        self.outbox.update(record)
        self.model[record.id] = expected(record)

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = self.open()
        self.live = []

    @rule()
    def kill(self) -> None:
        self.go_on_with(self.copy())

    @rule()
    def power_cut(self) -> None:
        """What was not synced is gone: acks and tries since the last put, never a message."""
        files, self.model = self.durable[0], dict(self.durable[1])
        self.go_on_with(files)
        self.durable = (self.copy(), dict(self.model))

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        waiting = self.waiting()
        assert [expected(record) for record in waiting] == [m for m in self.model.values() if m.parked is None]
        assert [expected(record) for record in self.outbox.parked()] == [
            m for m in self.model.values() if m.parked is not None
        ]
        counts = self.outbox.counts()
        assert (counts.waiting, counts.parked) == (len(waiting), len(self.model) - len(waiting))
        assert [record.id for record in self.outbox.live()] == [
            identity for identity in self.live if identity in self.model and self.model[identity].parked is None
        ]
        assert not self.outbox.drops
        assert not self.outbox.in_memory


class DamagedOutboxMachine(OutboxMachine):
    """Damage is counted in `drops`, so that it has a machine of its own."""

    file_torn = False
    """What is damaged in the file may be found later."""

    @rule(data=st.data(), name=st.sampled_from(FILES), truncate=st.booleans(), byte=st.binary(min_size=1, max_size=9))
    def tear(self, data: Any, name: str, truncate: bool, byte: bytes) -> None:
        """A torn or damaged file: some may be lost, nothing is invented, and the queue goes on."""
        files = self.copy()
        path = files / name
        self.outbox.drops.clear()
        content = bytearray(path.read_bytes() if path.exists() else b"")
        if not content:
            return
        at = data.draw(st.integers(0, len(content) - 1))
        content[at:] = b"" if truncate else byte + content[at + len(byte) :]
        path.write_bytes(content)
        self.go_on_with(files)
        found = self.waiting() + self.outbox.parked()
        missing = self.model.keys() - {record.id for record in found}
        self.file_torn = self.file_torn or name == "o.sqlite3"
        if name == "o.sqlite3-wal" and not self.file_torn:
            assert self.outbox.drops.total() == len(missing), "what the log loses is counted"
        elif name == "o.sqlite3.recent" and not self.file_torn:
            assert not missing
        assert all(self.ever[record.id] == record.body for record in found)
        assert len({record.id for record in found}) == len(found)
        self.model = {record.id: expected(record) for record in sorted(found, key=lambda record: record.seq)}
        self.outbox.put([])
        self.durable = (self.copy(), dict(self.model))

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        self.outbox.drops.clear()
        super().holds_what_the_model_holds()


TestOutbox = OutboxMachine.TestCase
TestDamagedOutbox = DamagedOutboxMachine.TestCase
TestOutbox.settings = TestDamagedOutbox.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


WORKER = """
import json, random, sys
from dataclasses import replace
from pathlib import Path
from agent.outbox.queue import Outbox
dice = random.Random(sys.argv[2])
outbox = Outbox.open(Path(sys.argv[1]), max_age_s=1e9, max_size_mb=64)
def say(*words):
    print(*words, flush=True)
say("ready")
while True:
    waiting = outbox.backlog(1e12, limit=20) + outbox.live()
    chance = dice.random()
    if chance < 0.5 or not waiting:
        say("putting")
        say("put", *(r.id for r in outbox.put([bytes([65 + dice.randrange(26)]) * dice.randrange(1, 6000)])))
    elif chance < 0.8:
        record = dice.choice(waiting)
        say("acking", record.id)
        outbox.ack(record)
        say("acked", record.id)
    else:
        record = dice.choice(waiting)
        say("trying", record.id)
        outbox.update(replace(record, attempts=record.attempts + 1))
        say("tried", record.id)
"""


@pytest.mark.seeds(7)
def test_kill_9_in_the_middle_of_anything(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "o.sqlite3"
    dice = random.Random(seed)
    attempts: dict[str, int] = {}
    for _ in range(8):
        command = [sys.executable, "-c", WORKER, str(path), str(dice.random())]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(dice.randrange(2, 120))]
        worker.send_signal(signal.SIGKILL)
        said += [line for line in worker.stdout if line.endswith("\n")]
        worker.wait()
        worker.stdout.close()
        in_doubt = ""
        for words in map(str.split, said):
            in_doubt = words[1] if words[0] in ("acking", "trying") else ""
            if words[0] == "put":
                attempts[words[1]] = 0
            elif words[0] == "acked":
                del attempts[words[1]]
            elif words[0] == "tried":
                attempts[words[1]] += 1
        outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=64)
        found = {record.id: record.attempts for record in outbox.backlog(1e12, limit=10_000)}
        assert not outbox.drops
        outbox.close()
        assert attempts.keys() - found.keys() <= {in_doubt}
        # What was being put when the end came may be there or not.
        assert len(found.keys() - attempts.keys()) <= 1
        assert all(found[each] == tries for each, tries in attempts.items() if each in found and each != in_doubt)
        attempts = found
    assert not list(tmp_path.glob("*.damaged-*"))
