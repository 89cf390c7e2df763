"""Tests the main guarantee: every stored message arrives under one id, whenever the process is killed.

An oracle compares what the receiver accepted with what the sender stored. The sender is killed by SIGKILL at random
moments, while the endpoint goes down, loses acknowledgements, hangs and answers with errors. The sender is the daemon's
own code from `submit` on, on a real disk and real sockets, in processes of its own (`oracle_victim`). The seed gives
each life a number of ticks and a moment after them.

The second test has three endpoints in one sender process, each with its own receiver and faults: each receives all of
its own messages and none of another endpoint. The third test adds faults of the disk. Messages that cannot be stored
then are counted: every missing message was logged as dropped.

More kills: `ORACLE_KILLS=2000 .venv/bin/python -m pytest -s tests/agent/app/test_oracle.py`, other seeds: `make hunt`.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults import http
from tests.faults.certificates import Authority
from tests.faults.disk import fill, small_disk
from tests.faults.http import Behaviour, HttpFaults, Request, answer
from tests.support.oracle_victim import bodies_of

KILLS = 110
KILLS_WITH_SEVERAL_ENDPOINTS = 30
KILLS_WITH_FAULTS = 60
FAULTS: tuple[Behaviour, ...] = (
    http.reset_after_body(),
    http.reset_after_body(),
    http.close_after_body(),
    http.reset_before_body(),
    http.hang_before_headers(),
    answer(503),
    answer(500),
    answer(429),
    answer(401),
    answer(307, location="/elsewhere"),
)


@dataclass(slots=True, eq=False)
class Oracle:
    """Knows what was measured, stored and acknowledged for one endpoint, by the reports of the killed processes."""

    endpoint: str
    began: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    acked: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The lives in which the acknowledgement of an id came to be on the disk."""
    dropped: int = 0
    """Messages that were logged as dropped."""
    in_doubt: int = 0
    """Messages that a life was dropping when it was killed."""
    log_lost: list[int] = field(default_factory=list)
    """The lives at whose end the write-ahead log was removed or damaged, and with it acknowledgements."""
    dropping: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    """The queue of the present life is open, or the life is over."""
    alive: bool = False
    unborn: int = 0
    """Lives that were over before their first tick."""

    def take(self, life: int, what: str, which: str) -> None:
        if what == "began":
            self.began.add(int(which))
        elif what == "stored":
            self.stored.add(int(which))
        elif what == "acked":
            assert self._forgotten(which, life), "acknowledged twice"
            self.acked[which].append(life)
        elif what == "opened":
            self.alive = True
            self.opened.set()
        elif what == "dropping":
            self.dropping = int(which)
        elif what == "dropped":
            self.dropped += int(which)
            self.dropping = 0
        elif what == "dead":
            self.in_doubt += self.dropping
            self.dropping = 0
            self.alive = False
            self.opened.set()

    def _forgotten(self, identity: str, life: int) -> bool:
        """Whether a life may not know any more that this id was acknowledged by one before."""
        return all(any(acked <= lost < life for lost in self.log_lost) for acked in self.acked[identity])

    def judge(self, accepted: list[Request]) -> int:
        """Hold what arrived against what is known; the number of duplicates."""
        bodies: dict[str, set[bytes]] = defaultdict(set)
        ids: dict[bytes, set[str]] = defaultdict(set)
        before: dict[str, Request] = {}
        duplicates = 0
        for request in accepted:
            identity = request.headers["webhook-id"]
            bodies[identity].add(request.body)
            ids[request.body].add(identity)
            if identity in before:
                duplicates += 1
                self._excuse(before[identity], request)
            before[identity] = request
        arrived = {identity for identity, request in before.items() if request.answered == 200}
        missing = self._bodies(self.stored) - {body for identity in arrived for body in bodies[identity]}
        assert len(missing) <= self.dropped + self.in_doubt, f"lost: {sorted(body[:20] for body in missing)}"
        assert set(ids) <= self._bodies(self.began), "never measured, or for another endpoint"
        assert all(len(found) == 1 for found in ids.values()), "several ids for one message"
        assert all(len(found) == 1 for found in bodies.values()), "several messages under one id"
        return duplicates

    def _bodies(self, ticks: set[int]) -> set[bytes]:
        return {body for tick in ticks for body in bodies_of(self.endpoint, tick)}

    def _excuse(self, earlier: Request, again: Request) -> None:
        """A duplicate is right only where the sender cannot know that the receiver has the message."""
        identity = again.headers["webhook-id"]
        life = life_of(again)
        assert all(
            life <= acked or any(acked <= lost < life for lost in self.log_lost) for acked in self.acked[identity]
        ), f"{identity} was sent after it was acknowledged"
        killed_between = life_of(earlier) < life_of(again)
        assert earlier.answered != 200 or killed_between, f"{identity} was sent again in spite of an answer"


def life_of(request: Request) -> int:
    return int(request.headers["user-agent"].removeprefix("life/"))


async def change_faults(server: HttpFaults, dice: random.Random) -> None:
    """Change the faults of the endpoint until cancelled."""
    while True:
        mood = dice.random()
        if mood < 0.25:
            await server.down()
        elif mood < 0.6:
            server.behaviour = dice.choice(FAULTS)
        else:
            server.script.extend(dice.choices(FAULTS, k=dice.randrange(4)))
        await asyncio.sleep(dice.uniform(0.0, 0.15))
        await server.up()
        server.script.clear()
        server.behaviour = answer(200)
        await asyncio.sleep(dice.uniform(0.0, 0.15))


class Disk:
    """A small disk under the queue. It is full or not; the log is damaged between lives; files vanish meanwhile."""

    def __init__(self, disk: Path, dice: random.Random) -> None:
        self.path = disk / "state" / "o.sqlite3"
        self._moved = disk / "moved"
        self._filler: Path | None = None
        self._dice = dice
        self.happened: Counter[str] = Counter()

    def before(self) -> None:
        """The disk fills up, or somebody makes room."""
        if self._filler is None and self._dice.random() < 0.15:
            self._filler = fill(self.path.parents[1])
            self.happened["disk full"] += 1
        elif self._filler is not None and self._dice.random() < 0.25:
            self.make_room()

    async def meanwhile(self, oracle: Oracle) -> bool:
        """Whether the log was removed during this life."""
        chance, moment = self._dice.random(), self._dice.uniform(0.0, 0.02)
        await oracle.opened.wait()
        await asyncio.sleep(moment)
        if not oracle.alive:
            return False
        if chance < 0.15 and (log := self.path.with_name("o.sqlite3-wal")).exists():
            log.unlink(missing_ok=True)
            self.happened["log removed meanwhile"] += 1
            return True
        if 0.15 < chance < 0.3 and self.path.exists():
            self.path.parent.rename(self._moved)
            self.happened["directory moved"] += 1
        return False

    def after(self) -> bool:
        """Whether the log was removed or damaged after this life."""
        if self._moved.exists():
            if self.path.exists():  # the life went on in a new directory
                shutil.rmtree(self._moved)
            else:
                shutil.rmtree(self.path.parent, ignore_errors=True)
                self._moved.rename(self.path.parent)
        log = self.path.with_name("o.sqlite3-wal")
        if not log.exists() or self._dice.random() > 0.2:
            return False
        damage = self._dice.choice((self._remove, self._cut, self._overwrite))
        damage(log)
        self.happened["log damaged"] += 1
        return True

    def make_room(self) -> None:
        if self._filler is not None:
            self._filler.unlink()
            self._filler = None

    def _remove(self, log: Path) -> None:
        log.unlink()

    def _cut(self, log: Path) -> None:
        os.truncate(log, self._dice.randrange(log.stat().st_size + 1))

    def _overwrite(self, log: Path) -> None:
        with log.open("r+b") as file:
            damage = b"\xa5" * 50
            file.seek(self._dice.randrange(max(1, log.stat().st_size - len(damage))))  # a longer log needs space
            file.write(damage)


@pytest.mark.seeds(1)
async def test_whatever_is_killed_whenever_what_was_measured_arrives_once(tmp_path: Path, seed: int) -> None:
    (oracle,) = await killed_again_and_again(tmp_path, tmp_path / "o.sqlite3", seed, KILLS)
    assert oracle.dropped == 0


@pytest.mark.seeds(1)
async def test_whatever_is_killed_whenever_each_of_three_endpoints_receives_all_of_its_own(
    tmp_path: Path, seed: int
) -> None:
    names = ("portal", "trader", "archive")
    oracles = await killed_again_and_again(
        tmp_path, tmp_path / "o.sqlite3", seed, KILLS_WITH_SEVERAL_ENDPOINTS, names=names
    )
    assert [oracle.dropped for oracle in oracles] == [0, 0, 0]


@pytest.mark.seeds(1)
async def test_whatever_happens_to_the_disk_too_what_was_measured_arrives_or_is_counted(
    tmp_path: Path, seed: int
) -> None:
    with small_disk(tmp_path / "disk") as folder:
        disk = Disk(folder, random.Random(seed + 2))
        (oracle,) = await killed_again_and_again(tmp_path, disk.path, seed, KILLS_WITH_FAULTS, disk)
    print(f"{dict(disk.happened)}; {oracle.dropped} messages dropped, {oracle.in_doubt} in doubt")  # noqa: T201
    assert len(disk.happened) == 4, "not every fault happened"
    assert oracle.dropped < len(oracle.stored), "too few messages were kept to mean anything"


class Lives:
    """Starts the processes that are killed, and gives what they report to the oracle of each endpoint."""

    def __init__(self, template: asyncio.subprocess.Process, reports: asyncio.StreamReader, stderr: Path) -> None:
        self._template = template
        self._reports = reports
        self._stderr = stderr

    @classmethod
    async def start(cls, folder: Path, path: Path) -> Lives:
        reading, writing = os.pipe()
        arguments = ("-m", "tests.support.oracle_victim", str(writing), path, Authority(folder).ca_file)
        with (folder / "stderr").open("wb") as stderr:
            template = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stderr=stderr, pass_fds=[writing]
            )
        os.close(writing)
        return cls(template, await _reader(reading), folder / "stderr")

    async def live(self, life: int, ticks: int, seconds: float, watched: dict[Oracle, HttpFaults]) -> None:
        assert self._template.stdin is not None
        first = max((tick for oracle in watched for tick in oracle.began), default=-1) + 1
        urls = " ".join(f"{oracle.endpoint}={server.url()}" for oracle, server in watched.items())
        self._template.stdin.write(f"{life} {first} {ticks} {seconds} {urls}\n".encode())
        while line := (await asyncio.wait_for(self._reports.readline(), 60)).decode():
            what, which, *whose = line.split()
            for oracle in watched:
                if not whose or whose == [oracle.endpoint]:
                    oracle.take(life, what, which)
            if what == "dead":
                break
        else:
            raise AssertionError(self._stderr.read_text())
        for oracle in watched:
            oracle.unborn += ticks >= 0 and max(oracle.began, default=-1) < first

    async def live_with_faults(
        self, life: int, ticks: int, seconds: float, watched: dict[Oracle, HttpFaults], disk: Disk
    ) -> None:
        (oracle,) = watched
        disk.before()
        oracle.opened.clear()
        meanwhile = asyncio.create_task(disk.meanwhile(oracle))
        await self.live(life, ticks, seconds, watched)
        removed = await meanwhile
        if disk.after() or removed:
            oracle.log_lost.append(life)

    async def end(self) -> None:
        assert self._template.stdin is not None
        self._template.stdin.close()
        assert await self._template.wait() == 0


async def killed_again_and_again(
    folder: Path, path: Path, seed: int, kills: int, disk: Disk | None = None, names: Sequence[str] = ("default",)
) -> list[Oracle]:
    """Return the oracle of each endpoint in `names`, after it has judged what its receiver accepted."""
    kills = int(os.environ.get("ORACLE_KILLS", kills))
    dice = random.Random(seed)
    lives = await Lives.start(folder, path)
    async with AsyncExitStack() as stack:
        watched = {Oracle(name): await stack.enter_async_context(HttpFaults(answer(200))) for name in names}
        moods = [
            asyncio.create_task(change_faults(server, random.Random(seed + 1 + 1000 * number)))
            for number, server in enumerate(watched.values())
        ]
        for life in range(kills):
            # Any moment of a tick, or of the start.
            ticks, seconds = dice.choice((0, dice.randrange(1, 4), dice.randrange(1, 10))), dice.uniform(0, 0.02)
            if disk is None:
                await lives.live(life, ticks, seconds, watched)
            else:
                await lives.live_with_faults(life, ticks, seconds, watched, disk)
        for mood in moods:
            mood.cancel()
        await asyncio.gather(*moods, return_exceptions=True)
        for server in watched.values():
            await server.up()
            server.script.clear()
            server.behaviour = answer(200)
        if disk is not None:
            disk.make_room()
        await lives.live(kills, -1, 0.0, watched)
        await lives.end()
    for oracle, server in watched.items():
        _judge(oracle, server, kills)
    ids = [
        identity for server in watched.values() for identity in {each.headers["webhook-id"] for each in server.accepted}
    ]
    assert len(set(ids)) == len(ids), "two endpoints have messages with the same id"
    return list(watched)


def _judge(oracle: Oracle, server: HttpFaults, kills: int) -> None:
    duplicates = oracle.judge(server.accepted)
    print(  # noqa: T201 - with pytest -s
        f"{oracle.endpoint}: {kills} kills, {oracle.unborn} before the first tick; {len(oracle.stored)} ticks stored, "
        f"{len(oracle.began - oracle.stored)} killed while being stored; {len(server.accepted)} messages accepted, "
        f"{duplicates} of them again because the acknowledgement was lost"
    )
    assert len(oracle.stored) > kills / 2, "too few ticks to mean anything"
    assert duplicates > 0, "no acknowledgement was lost: nothing was put to the test"


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader
