"""The promise of the product, put to the test: whatever is killed whenever, what was measured arrives, under one id.

A receiver that knows everything watches a sender that dies by SIGKILL at random moments, while the endpoint goes down,
loses acknowledgements, hangs and errs. The sender is the daemon's own code from `submit` on, on a real disk and real
sockets, in processes of its own (`oracle_victim`). The seed gives each life a number of ticks and a moment after them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults import http
from tests.faults.certificates import Authority
from tests.faults.http import Behaviour, HttpFaults, Request, answer

KILLS = 220
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


@dataclass(slots=True)
class Oracle:
    """Knows what was measured, stored and acknowledged, by what the victims reported before they died."""

    began: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    acked: dict[str, int] = field(default_factory=dict)
    """The life in which the acknowledgement of an id came to be on the disk."""
    unborn: int = 0
    """Lives that were over before their first tick."""

    def take(self, life: int, line: str) -> bool:
        """Whether that was the end of the life."""
        what, which = line.split()
        if what == "began":
            self.began.add(int(which))
        elif what == "stored":
            self.stored.add(int(which))
        elif what == "acked":
            assert which not in self.acked, "acknowledged twice"
            self.acked[which] = life
        return what == "dead"

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
        assert {body for identity in arrived for body in bodies[identity]} >= bodies_of(self.stored), "lost"
        assert set(ids) <= bodies_of(self.began), "never measured"
        assert all(len(found) == 1 for found in ids.values()), "several ids for one message"
        assert all(len(found) == 1 for found in bodies.values()), "several messages under one id"
        return duplicates

    def _excuse(self, earlier: Request, again: Request) -> None:
        """A duplicate is right only where the sender cannot know that the receiver has the message."""
        identity = again.headers["webhook-id"]
        assert life_of(again) <= self.acked.get(identity, sys.maxsize), f"{identity} was sent after it was acknowledged"
        killed_between = life_of(earlier) < life_of(again)
        assert earlier.answered != 200 or killed_between, f"{identity} was sent again in spite of an answer"


def bodies_of(ticks: set[int]) -> set[bytes]:
    return {b"%d/%s" % (tick, part) for tick in ticks for part in (b"site", b"pv-1")}


def life_of(request: Request) -> int:
    return int(request.headers["user-agent"].removeprefix("life/"))


async def weather(server: HttpFaults, dice: random.Random) -> None:
    """Change the endpoint's mood until cancelled."""
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


@pytest.mark.seeds(1)
async def test_whatever_is_killed_whenever_what_was_measured_arrives_once(tmp_path: Path, seed: int) -> None:
    kills = int(os.environ.get("ORACLE_KILLS", KILLS))
    dice = random.Random(seed)
    oracle = Oracle()
    reading, writing = os.pipe()
    arguments = ("-m", "tests.support.oracle_victim", str(writing), tmp_path / "o.sqlite3", Authority(tmp_path).ca_file)
    with (tmp_path / "stderr").open("wb") as stderr:
        template = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stderr=stderr, pass_fds=[writing]
        )
    os.close(writing)
    reports = await _reader(reading)

    async def live(life: int, ticks: int, seconds: float = 0.0) -> None:
        assert template.stdin is not None
        first = max(oracle.began, default=-1) + 1
        template.stdin.write(f"{life} {first} {server.url()} {ticks} {seconds}\n".encode())
        while line := (await asyncio.wait_for(reports.readline(), 60)).decode():
            if oracle.take(life, line):
                break
        else:
            raise AssertionError((tmp_path / "stderr").read_text())
        oracle.unborn += ticks >= 0 and max(oracle.began, default=-1) < first

    async with HttpFaults(answer(200)) as server:
        mood = asyncio.create_task(weather(server, random.Random(seed + 1)))
        for life in range(kills):
            # Any moment of a tick, or of the start.
            await live(life, dice.choice((0, dice.randrange(1, 4), dice.randrange(1, 10))), dice.uniform(0, 0.02))
        mood.cancel()
        await asyncio.gather(mood, return_exceptions=True)
        await server.up()
        server.script.clear()
        server.behaviour = answer(200)
        await live(kills, -1)
        assert template.stdin is not None
        template.stdin.close()
        assert await template.wait() == 0
    duplicates = oracle.judge(server.accepted)
    print(  # noqa: T201 - with pytest -s
        f"{kills} kills, {oracle.unborn} before the first tick; {len(oracle.stored)} ticks stored, "
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
