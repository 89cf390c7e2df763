"""Several endpoints of one site, through real receivers: each receives exactly its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import sqlite3
import ssl
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from agent.app import App
from agent.config.loader import parse
from agent.delivery import Deliveries, manager
from agent.outbox import Outbox
from agent.receiver import Validator
from agent.runtime import logging_setup
from agent.site.builder import build
from drivers.model import Table
from tests.faults import http
from tests.faults.certificates import Authority
from tests.faults.http import HttpFaults, Request, answer
from tests.faults.modbus import FaultServer
from tests.support.delivery import FastClock
from tests.support.site import WAIT_S, device, sdm630

METER = '[[device]]\nnode_id = "meter-1"\ntype = "grid"\ndriver = "eastron-sdm630"\nhost = "127.0.0.1"\n'
SECRET = base64.b64encode(b"0123456789abcdef01234567").decode()


class Proxy:
    """An HTTP proxy that only tunnels."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        self.targets.append(target)
        host, port = target.rsplit(":", 1)
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def messages(server: HttpFaults) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.accepted]


def delivered(server: HttpFaults) -> list[Request]:
    return [request for request in server.accepted if request.answered == 200]


def labels(server: HttpFaults) -> list[int]:
    return sorted({json.loads(request.body)["time"] for request in delivered(server)})


def without_gaps(server: HttpFaults, interval_s: int) -> bool:
    return {later - earlier for earlier, later in pairwise(labels(server))} == {interval_s}


def signed(request: Request) -> bool:
    text = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(base64.b64decode(SECRET), text, hashlib.sha256).digest()
    return request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


class Running:
    """An App in the event loop of the test, with a clock that runs `factor` times as fast."""

    def __init__(self, folder: Path, devices: str, factor: float) -> None:
        self._folder = folder
        self._devices = devices
        self.clock = FastClock(factor)
        self.app: App | None = None
        self._task: asyncio.Task[None] | None = None

    def config(self, pushes: str) -> Any:
        table = tomllib.loads(
            f'[site]\nnode_id = "SITE_1"\n{pushes}\n[poll]\ninterval_s = 5\nstale_after_s = 15\n'
            f'[outbox]\npath = "{self._folder}/outbox.sqlite3"\nbacklog_rate_per_s = 50.0\n{self._devices}'
        )
        return parse(table, {}, "test")

    async def start(self, pushes: str) -> None:
        config = self.config(pushes)
        self.app = App(config, build(config, "test"), self.clock, {})
        self._task = asyncio.create_task(self.app.run())

    async def reload(self, pushes: str) -> None:
        assert self.app is not None
        config = self.config(pushes)
        await self.app.reload(config, build(config, "test", self.app.site))

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        (result,) = await asyncio.gather(self._task, return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError), result


@asynccontextmanager
async def running(folder: Path, devices: str, pushes: str, factor: float = 10.0) -> AsyncIterator[Running]:
    made = Running(folder, devices, factor)
    await made.start(pushes)
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def meters() -> AsyncIterator[tuple[str, list[FaultServer]]]:
    """A grid meter and two solar meters; their [[device]] tables."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(FaultServer({(1, Table.INPUT): sdm630(power, 10.0, 20.0)}))
            for power in (500.0, -700.0, -800.0)
        ]
        names = (("meter-1", "grid"), ("pv-1", "solar"), ("pv-2", "solar"))
        yield "".join(device(*name, server) for name, server in zip(names, servers, strict=True)), servers


def push(name: str, url: str, *more: str) -> str:
    lines = (
        f'name = "{name}"',
        f'url = "{url}"',
        f'token = "token-of-{name}"',
        "wait_for_clock_s = 0",
        "timeout_s = 5",
        "retry = { initial_s = 0.2, max_s = 1.0 }",
        *more,
    )
    return "[[push]]\n" + "\n".join(lines) + "\n"


async def test_three_endpoints_with_faults_and_reloads_each_receive_exactly_their_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client, shown = authority.issue("client"), authority.issue("127.0.0.1")
    (tmp_path / "secret").write_text(f"whsec_{SECRET}")
    (tmp_path / "secret").chmod(0o600)
    proxy = Proxy()
    async with (
        meters() as (devices, _),
        HttpFaults(answer(200)) as portal,
        HttpFaults(answer(200)) as trader,
        HttpFaults(answer(200), authority.server_context(shown, require_client=True)) as archive,
        proxy.serving(),
    ):
        types = push("portal", portal.url(), "interval_s = 60")
        live = (
            "interval_s = 5",
            'align = "clock"',  # a rename would move the splayed phase
            'levels = ["device"]',
            'nodes = ["pv-*"]',
            f'signing_secret_file = "{tmp_path}/secret"',
            'node_ids = { "pv-1" = "theirs" }',
            'site_node_id = "their-site"',
        )
        whole = push(
            "archive",
            archive.url(),
            "interval_s = 15",
            'levels = ["device_type", "device"]',
            'device_format = "snapshot"',
            f'ca_file = "{authority.ca_file}"',
            f'client_cert_file = "{client.cert_file}"',
            f'client_key_file = "{client.key_file}"',
            f'proxy_url = "http://127.0.0.1:{proxy.port}"',
        )
        async with running(tmp_path, devices, types + push("trader", trader.url(), *live) + whole) as site:
            await trader.until(lambda: len(labels(trader)) >= 4)
            archive.behaviour = http.reset_after_body()
            trader.behaviour = answer(503)
            await trader.until(lambda: trader.accepted[-1].answered == 503)
            await site.clock.sleep(20)
            renamed = push("desk", trader.url(), *live, 'formerly = "trader"')
            await site.reload(types + renamed)  # the archive is removed while its messages wait
            trader.behaviour = archive.behaviour = answer(200)
            await site.clock.sleep(20)
            await site.reload(types + renamed + whole)
            await portal.until(lambda: len(labels(portal)) >= 2)
            await trader.until(lambda: without_gaps(trader, 5))
            await site.clock.sleep(30)
            assert site.app is not None
            async with asyncio.timeout(WAIT_S):
                while await site.app.waiting():  # noqa: ASYNC110 - the queues have no event
                    await asyncio.sleep(0.02)
    receives_its_own(portal, trader, archive)
    for server in (portal, trader, archive):
        times: dict[object, list[int]] = {}
        for each in delivered(server):
            message = json.loads(each.body)
            times.setdefault(message.get("nodeId", "nodes" in message), []).append(message["time"])
        assert all(len(set(each)) == len(each) for each in times.values()), "delivered once"
    assert set(proxy.targets) == {f"127.0.0.1:{archive.port}"}
    assert without_gaps(portal, 60)
    assert without_gaps(trader, 5)
    assert {label % 15 for label in labels(archive)} == {labels(archive)[0] % 15}


def receives_its_own(portal: HttpFaults, trader: HttpFaults, archive: HttpFaults, *, complete: bool = True) -> None:
    """Check content, tokens, signatures and ids of all messages. A reload renames the trader to `desk`.

    If not `complete`, a device may not have answered in time.
    """
    empty = () if complete else (None,)
    totals = {"grid", "solar", "storage", "heat_pump", "switched_load", "variable_power_load"}
    for message in messages(portal):
        assert set(message) == {"time", "siteNodeId"} | totals
        assert message["siteNodeId"] == "SITE_1"
        assert message["grid"].get("active_power_W") in (500, *empty)
        assert message["solar"].get("active_power_W") in (1500, *empty)
    sent = [(each["siteNodeId"], each["nodeId"]) for each in messages(trader)]
    assert set(sent) == {("their-site", "theirs"), ("their-site", "pv-2")}
    found = {each["solar"].get("active_power_W") for each in messages(trader) if each["nodeId"] == "theirs"}
    assert found - {*empty} == {700}
    assert all(map(signed, trader.accepted))
    assert {tuple(each["nodes"]) for each in messages(archive) if "nodes" in each} == {("meter-1", "pv-1", "pv-2")}
    for server, tokens in ((portal, {"portal"}), (trader, {"trader", "desk"}), (archive, {"archive"})):
        assert {each.headers["authorization"] for each in server.requests} == {
            f"Bearer token-of-{name}" for name in tokens
        }
        judge = Validator(" ".join(f"token-of-{name}" for name in tokens))
        assert {judge.judge(each.headers, each.body).problems for each in server.accepted} == {()}
    ids = [{each.headers["webhook-id"] for each in server.accepted} for server in (portal, trader, archive)]
    assert not ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2], "an id belongs to one endpoint"
    for server in (portal, trader, archive):
        bodies: dict[str, set[bytes]] = {}
        for each in server.accepted:
            bodies.setdefault(each.headers["webhook-id"], set()).add(each.body)
        assert all(len(found) == 1 for found in bodies.values()), "one message under one id"
        assert len({body for found in bodies.values() for body in found}) == len(bodies), "one id for one message"


@pytest.fixture
def expired(tmp_path: Path) -> tuple[Authority, ssl.SSLContext]:
    authority = Authority(tmp_path)
    return authority, authority.server_context(authority.issue("127.0.0.1", expired=True))


async def test_broken_endpoints_change_neither_time_nor_content_of_the_others(
    tmp_path: Path, expired: tuple[Authority, ssl.SSLContext]
) -> None:
    """They hang, flood with 429, refuse, show an expired certificate, or have a damaged queue."""
    authority, context = expired
    (tmp_path / "outbox.damaged.sqlite3").write_bytes(b"x" * 65536)
    late_s: list[float] = []
    async with (
        meters() as (devices, _),
        HttpFaults(answer(200)) as good,
        HttpFaults(http.hang_before_headers()) as hanging,
        HttpFaults(answer(429, retry_after="3600")) as flooding,
        HttpFaults(answer(422)) as refusing,
        HttpFaults(answer(200), context) as outdated,
        HttpFaults(answer(200)) as damaged,
    ):
        one = ("interval_s = 1", 'align = "clock"')
        pushes = "".join(
            (
                push("hanging", hanging.url(), *one),
                push("flooding", flooding.url(), *one),
                push("refusing", refusing.url(), *one),
                push("outdated", outdated.url(), *one, f'ca_file = "{authority.ca_file}"'),
                push("damaged", damaged.url(), *one),
                push("good", good.url(), *one),
            )
        )
        async with running(tmp_path, devices, pushes, factor=1.0) as site:

            async def arrives(exchange: http.Exchange) -> None:
                await exchange.accept()
                late_s.append(site.clock.time() - json.loads(exchange.request.body)["time"])
                await exchange.answer(200)

            good.behaviour = arrives
            await good.until(lambda: len(late_s) >= 8)
            assert site.app is not None
            snapshot = await site.app.snapshot()
        assert without_gaps(good, 1)
        assert len(good.accepted) == len(labels(good)), "each message was sent once"
        assert {each["grid"]["active_power_W"] for each in messages(good)} == {500}
        assert sorted(late_s)[len(late_s) // 2] < 0.5, "the time-out of an endpoint is 5 s"
        assert without_gaps(damaged, 1)
        assert len(flooding.requests) <= 3
        assert outdated.requests == []
    reasons = {each.name: each.reason for each in snapshot.endpoints}
    assert reasons["good"] is None
    assert reasons["damaged"] is None
    assert "expired" in str(reasons["outdated"])
    assert snapshot.reason == "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    assert {each.name: each.outcomes["delivered"] > 0 for each in snapshot.endpoints} == {
        name: name in ("good", "damaged") for name in reasons
    }


async def test_the_number_of_requests_to_devices_is_that_of_the_fastest_endpoint_alone(tmp_path: Path) -> None:
    counts = []
    for number in (1, 4):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with meters() as (devices, servers), HttpFaults(answer(200)) as server:
            pushes = "".join(
                push(f"e{index}", server.url(), f"interval_s = {30 * (index + 1)}") for index in range(number)
            )
            async with running(folder, devices, pushes) as site:
                await site.clock.sleep(70)
            counts.append(len(servers[0].requests))
    assert abs(counts[0] - counts[1]) <= 1


async def test_after_a_start_a_wrong_token_is_tried_every_few_seconds(tmp_path: Path) -> None:
    async with meters() as (devices, _), HttpFaults(answer(401)) as server:
        single = f'[push]\nurl = "{server.url()}"\ntoken = "t"\ninterval_s = 60\nwait_for_clock_s = 0\n'
        async with running(tmp_path, devices, single) as site:
            began = site.clock.monotonic()
            await server.until(lambda: len(server.requests) >= 4)
            assert site.clock.monotonic() - began < 300, "four attempts took more than 450 s"
            server.behaviour = answer(200)
            await server.until(lambda: bool(server.accepted))


async def test_endpoints_are_added_and_removed_and_the_queue_of_a_removed_one_stays(tmp_path: Path) -> None:
    async with meters() as (devices, _), HttpFaults(answer(200)) as first, HttpFaults(answer(503)) as second:
        single = f'[push]\nurl = "{first.url()}"\ntoken = "t"\ninterval_s = 5\nwait_for_clock_s = 0\n'
        trader = push("trader", second.url(), "interval_s = 5")
        both = single.replace("[push]", '[[push]]\nname = "default"') + trader
        async with running(tmp_path, devices, single) as site:
            await first.until(lambda: len(labels(first)) >= 2)
            await site.reload(both)
            await second.until(lambda: len(second.accepted) >= 3)
            await site.reload(single)
            count = len(second.requests)
            with contextlib.closing(sqlite3.connect(tmp_path / "outbox.trader.sqlite3")) as queue:
                waiting = {row[0] for row in queue.execute("SELECT id FROM message")}
            await site.clock.sleep(10)
            assert len(second.requests) == count
            second.behaviour = answer(200)
            await site.reload(both)
            await second.until(lambda: waiting <= {each.headers["webhook-id"] for each in delivered(second)})
            await first.until(lambda: without_gaps(first, 5))
        assert len(first.accepted) == len(labels(first))
        assert waiting


async def test_a_reload_can_add_an_endpoint_while_the_status_waits_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Running(tmp_path, METER, 1.0)
    one, two = (push(name, "http://127.0.0.1:9/") for name in ("one", "two"))
    deliveries = Deliveries(site.config(one), site.clock, {})
    passes = []

    def opened(*arguments: Any) -> Outbox:
        passes.append(each := iter(deliveries))
        next(each)
        return open_queue(*arguments)

    open_queue = manager._opened
    monkeypatch.setattr(manager, "_opened", opened)
    await deliveries.change(site.config(one + two))
    assert [list(each) for each in passes] == [[]]
    await deliveries.close()


async def test_a_rename_that_is_said_later_needs_no_restart(tmp_path: Path) -> None:
    site = Running(tmp_path, METER, 1.0)
    old = Outbox.open(tmp_path / "outbox.trader.sqlite3", max_age_s=1e9, max_size_mb=8)
    old.put([b"1", b"2"])
    old.close()
    portal = push("portal", "http://127.0.0.1:9/")
    deliveries = Deliveries(site.config(portal + push("desk", "http://127.0.0.1:9/")), site.clock, {})
    await deliveries.change(site.config(portal + push("desk", "http://127.0.0.1:9/", 'formerly = "trader"')))
    assert await deliveries["desk"].waiting() == 2
    await deliveries.close()


async def test_a_reload_that_opens_the_queue_anew_keeps_the_count_of_dropped_messages(tmp_path: Path) -> None:
    site = Running(tmp_path, METER, 1.0)
    old = Outbox.open(tmp_path / "outbox.sqlite3", max_age_s=1e9, max_size_mb=8, now=lambda: site.clock.time() - 1e6)
    old.put([b"1", b"2"])
    old.close()
    config = site.config(push("portal", "http://127.0.0.1:9/"))
    deliveries = Deliveries(config, site.clock, {})
    await deliveries["portal"].submit([b"new"], site.clock.monotonic())
    assert (await deliveries["portal"].backlog()).dropped == {"age": 2}
    larger = config.outbox.model_copy(update={"max_size_mb": 2})
    await deliveries.change(config.model_copy(update={"outbox": larger}))
    assert (await deliveries["portal"].backlog()).dropped == {"age": 2}
    await deliveries.change(site.config(push("desk", "http://127.0.0.1:9/", 'formerly = "portal"')))
    assert (await deliveries["desk"].backlog()).dropped == {"age": 2}
    await deliveries.close()


async def test_pushes_of_two_endpoints_at_one_tick_write_one_hourly_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.status.hourly_report.EVERY_S", 20.0)
    async with meters() as (devices, _), HttpFaults(answer(200)) as first, HttpFaults(answer(200)) as second:
        pushes = "".join(
            push(name, server.url(), "interval_s = 5", 'align = "clock"')
            for name, server in (("one", first), ("two", second))
        )
        with capture_logs() as events:
            async with running(tmp_path, devices, pushes) as site:
                began = site.clock.monotonic()
                await second.until(lambda: len(labels(second)) >= 9)
            took_s = site.clock.monotonic() - began
    reports = [each for each in events if each["event"] == "report"]
    assert 1 <= len(reports) <= took_s / 20 + 1


async def test_the_log_names_the_endpoint(tmp_path: Path) -> None:
    stream = StringIO()
    async with meters() as (devices, _), HttpFaults(answer(200)) as good, HttpFaults(answer(503)) as bad:
        pushes = push("good", good.url(), "interval_s = 5") + push("bad", bad.url(), "interval_s = 5")
        logging_setup.configure("info", "json", stream)
        try:
            async with running(tmp_path, devices, pushes) as site:
                await bad.until(lambda: len(bad.accepted) >= 2)
                bad.behaviour = answer(200)
                await bad.until(lambda: bool(delivered(bad)))
                await site.clock.sleep(5)
        finally:
            structlog.reset_defaults()
    events = [(each["event"], each.get("endpoint")) for each in map(json.loads, stream.getvalue().splitlines())]
    assert ("push_failed", "bad") in events
    assert ("push_recovered", "bad") in events
    assert {name for event, name in events if event.startswith("push_")} == {"bad"}
    assert {name for event, name in events if event.startswith("device_")} == {None}


async def test_a_restart_to_several_endpoints_and_back_loses_nothing(tmp_path: Path) -> None:
    async with meters() as (devices, _), HttpFaults(answer(503)) as first, HttpFaults(answer(200)) as second:
        single = f'[push]\nurl = "{first.url()}"\ntoken = "t"\ninterval_s = 5\nwait_for_clock_s = 0\n'
        async with running(tmp_path, devices, single):
            await first.until(lambda: len(first.accepted) >= 2)
        several = push("portal", first.url(), "interval_s = 5") + push("trader", second.url(), "interval_s = 5")
        async with running(tmp_path, devices, several):
            await second.until(lambda: len(second.accepted) >= 2)
        waiting = {each.headers["webhook-id"] for each in first.accepted}
        first.behaviour = answer(200)
        async with running(tmp_path, devices, single):
            await first.until(lambda: waiting <= {each.headers["webhook-id"] for each in delivered(first)})
