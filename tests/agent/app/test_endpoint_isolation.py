"""Broken endpoints change neither the time nor the content of the messages to another one.

An agent with all of them is compared with an agent that has the good endpoint alone. Sockets and queues are real, and
the time is simulated.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.app import App
from agent.config.loader import parse
from agent.outbox.queue import Outbox
from agent.site.builder import build
from agent.status.model import EndpointStatus
from drivers.model import Table
from tests.faults import http
from tests.faults.certificates import Authority
from tests.faults.http import Exchange, HttpFaults, answer
from tests.faults.modbus import FaultServer
from tests.support.delivery import FastClock
from tests.support.simulated_loop import simulated
from tests.support.site import device, sdm630

INTERVAL_S = 60
LATER_S = 0.010
"""How much later a message may arrive than with the endpoint alone."""
MORE_BLOCKS = 2500
"""Maximum growth in memory blocks in the last third of the time, about 0.15 MB: the lists of attempts fill up."""
MAX_SIZE_MB = 1
SETTLED_S = 1
"""Seconds after which the agent has handled the end of its connections."""


@pytest.fixture(autouse=True)
def _nobody_steps_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each endpoint checks for a clock step every five seconds. This is most of the work of a simulated hour."""
    monkeypatch.setattr("agent.delivery.undated._WATCH_S", 3600.0)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """Another endpoint: its server, more keys of its table, and what happens to its queue."""

    name: str
    server: HttpFaults
    more: str = ""
    before: Callable[[Path], None] = lambda _: None
    meanwhile: Callable[[Path], None] = lambda _: None


@dataclass(slots=True)
class Received:
    """What an endpoint received."""

    clock: FastClock
    late_s: dict[int, float] = field(default_factory=dict)
    """Label → seconds from the label to the arrival."""
    bodies: dict[int, bytes] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    async def take(self, exchange: Exchange) -> None:
        await exchange.accept()
        label = json.loads(exchange.request.body)["time"]
        self.late_s[label] = self.clock.time() - label
        self.bodies[label] = exchange.request.body
        self.ids.append(exchange.request.headers["webhook-id"])
        await exchange.answer(200)


@dataclass(frozen=True, slots=True)
class Result:
    received: Received
    """What the good endpoint received."""
    endpoints: dict[str, EndpointStatus]
    """By name, at the end."""
    not_on_disk: str | None
    more_blocks: int
    """Growth in memory blocks of the process in the last third of the time."""


def push(name: str, server: HttpFaults, more: str = "") -> str:
    return (
        f'[[push]]\nname = "{name}"\nurl = "{server.url()}"\ntoken = "token-of-{name}"\ninterval_s = {INTERVAL_S}\n'
        f"wait_for_clock_s = 0\n{more}\n"
    )


async def run(folder: Path, seconds: float, neighbours: Sequence[Neighbour] = ()) -> Result:
    """Run an agent that reads a meter, with the good endpoint and its neighbours."""
    received = Received(FastClock(1.0))
    async with AsyncExitStack() as stack:
        meter = await stack.enter_async_context(FaultServer({(1, Table.INPUT): sdm630(500.0, 10.0, 20.0)}))
        good = HttpFaults(received.take)
        servers = [good, *(each.server for each in neighbours)]
        for server in servers:
            await stack.enter_async_context(server)
        files = {each: folder / f"outbox.{each.name}.sqlite3" for each in neighbours}
        for each, file in files.items():
            each.before(file)
        # The polls follow the first endpoint, so the good one has a push clock of its own.
        pushes = "".join(push(each.name, each.server, each.more) for each in neighbours) + push("good", good)
        app = _app(folder, pushes + device("meter-1", "grid", meter), received.clock)
        agent = asyncio.create_task(app.run())
        stack.push_async_callback(asyncio.wait, [agent])
        stack.callback(agent.cancel)
        await asyncio.sleep(seconds / 2)
        for each, file in files.items():
            each.meanwhile(file)
        await asyncio.sleep(seconds / 6 - SETTLED_S)
        blocks = await _blocks(servers, meter)
        await asyncio.sleep(seconds / 3 - SETTLED_S)
        more_blocks = await _blocks(servers, meter) - blocks
        state = await app.snapshot()
    return Result(received, {each.name: each for each in state.endpoints}, state.not_on_disk, more_blocks)


def _app(folder: Path, tables: str, clock: FastClock) -> App:
    outbox = f'[outbox]\npath = "{folder}/outbox.sqlite3"\nmax_size_mb = {MAX_SIZE_MB}\n'
    poll = f"[poll]\ninterval_s = {INTERVAL_S}\nstale_after_s = {3 * INTERVAL_S}\n"
    config = parse(tomllib.loads(f'[site]\nnode_id = "SITE_1"\n{outbox}{poll}{tables}'), {}, "test")
    return App(config, build(config, "test"), clock, {})


async def _blocks(servers: Sequence[HttpFaults], meter: FaultServer) -> int:
    """Return the number of memory blocks of the process, without what the servers keep."""
    for server in servers:
        await server.down()
        server.requests.clear()
        server.accepted.clear()
        await server.up()
    meter.requests.clear()
    await asyncio.sleep(SETTLED_S)
    gc.collect()
    return sys.getallocatedblocks()


def alone_and_beside(folder: Path, seconds: float, neighbours: Sequence[Neighbour]) -> Result:
    """Compare the good endpoint beside these neighbours with the good endpoint alone. Return the former."""
    for name in ("alone", "beside"):
        (folder / name).mkdir()
        (folder / name / "outbox.endpoint").write_text("good")  # `outbox.path` is the queue of this endpoint
    with capture_logs():
        alone = simulated(run(folder / "alone", seconds)).received
        result = simulated(run(folder / "beside", seconds, neighbours))
    beside = result.received
    assert len(alone.bodies) == seconds / INTERVAL_S
    assert beside.bodies == alone.bodies
    assert {label: late for label, late in beside.late_s.items() if late > alone.late_s[label] + LATER_S} == {}
    assert len(set(beside.ids)) == len(beside.ids) == len(beside.bodies), "one id for each message, sent once"
    return result


def test_three_of_four_endpoints_are_broken_for_half_an_hour(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    expired = authority.server_context(authority.issue("127.0.0.1", expired=True))
    refusals = itertools.cycle((answer(422), answer(401), answer(429, retry_after="30")))

    async def refuse(exchange: Exchange) -> None:
        await next(refusals)(exchange)

    neighbours = (
        Neighbour("hanging", HttpFaults(http.hang_before_headers())),
        Neighbour("refusing", HttpFaults(refuse)),
        Neighbour("expired", HttpFaults(answer(200), expired), f'ca_file = "{authority.ca_file}"'),
    )
    result = alone_and_beside(tmp_path, 1800, neighbours)
    assert result.more_blocks < MORE_BLOCKS
    for each in neighbours:
        status = result.endpoints[each.name]
        assert status.failing_s is not None
        assert status.failing_s > 1600
        assert status.backlog.waiting == len(result.received.bodies)


def test_the_queues_of_other_endpoints_are_damaged_full_or_not_writable(tmp_path: Path) -> None:
    damaged = HttpFaults(answer(200))
    neighbours = (
        Neighbour("damaged", damaged, before=_overwrite, meanwhile=_overwrite),
        Neighbour("full", HttpFaults(answer(503)), before=_fill),
        Neighbour("blocked", HttpFaults(answer(503)), before=Path.mkdir),
    )
    result = alone_and_beside(tmp_path, 1200, neighbours)
    assert result.endpoints["damaged"].outcomes["delivered"] == len(result.received.bodies)
    assert len(list((tmp_path / "beside").glob("outbox.damaged.sqlite3.damaged-*"))) >= 1
    assert result.endpoints["full"].backlog.dropped["size"] > 0
    assert result.endpoints["blocked"].backlog.in_memory
    assert [name for name, each in result.endpoints.items() if each.backlog.in_memory] == ["blocked"]
    assert result.not_on_disk == "the disk accepts no writes: new messages to blocked are only in memory"


def _overwrite(queue: Path) -> None:
    queue.write_bytes(b"\xa5" * 65536)


def _fill(queue: Path) -> None:
    outbox = Outbox.open(queue, max_age_s=1e9, max_size_mb=MAX_SIZE_MB, now=lambda: 1_699_999_000.0)
    for messages in (256, 8):  # the drops for many messages leave room for a few
        dropped = outbox.drops.total()
        while outbox.drops.total() == dropped:
            outbox.put([b"x" * 100] * messages)
    outbox.close()
