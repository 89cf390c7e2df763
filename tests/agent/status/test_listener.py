"""The status listener of a running agent: real devices on one side, a real endpoint on the other, HTTP in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.app import App
from agent.config.errors import ConfigError
from agent.config.loader import parse
from agent.config.model import Config
from agent.outbox.backlog import Backlog
from agent.runtime.clock import SystemClock
from agent.site.builder import build
from agent.status.http_server import HttpRequest
from agent.status.listener import StatusListener, is_loopback_name, page
from agent.status.model import EndpointStatus, Snapshot
from drivers.model import Scan, Table
from tests.faults.modbus import FaultServer
from tests.support.delivery import FastClock
from tests.support.site import TOKEN, Endpoint, sdm630

LIMIT_S = 60
STATUS_TOKEN = "0123456789abcdef-status"
HOSTILE = "<script>alert('pv')</script>"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as receiver:
        yield receiver


def configuration(folder: Path, url: str, devices: list[tuple[str, str, int]], **status: object) -> Config:
    table = {
        "site": {"node_id": "SITE_1"},
        "push": {"url": url, "token": TOKEN, "interval_s": 1, "align": "clock", "retry": {"max_s": 1.0}},
        "poll": {"interval_s": 0.3, "stale_after_s": 1.0},
        "outbox": {"path": f"{folder}/outbox.sqlite3"},
        "status": {"listen": "127.0.0.1:0", **status},
        "device": [
            {
                "node_id": node_id,
                "type": type_,
                "driver": "eastron-sdm630",
                "host": "127.0.0.1",
                "port": port,
                "timeout_s": 0.2,
            }
            for node_id, type_, port in devices
        ],
    }
    return parse(table, {}, "test")


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[App]:
    app = App(config, build(config, "test"), FastClock(1.0, time.time()), {})
    task = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            while app.status is None or app.status.port is None:  # noqa: ASYNC110 - the listener's task sets it
                await asyncio.sleep(0.01)
        yield app
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def get(app: App, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    assert app.status is not None
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {"Host": "localhost", **headers}.items())]
    reader, writer = await asyncio.open_connection("127.0.0.1", app.status.port)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in rest), body


async def until(app: App, holds: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(LIMIT_S):
        while not holds(status := json.loads((await get(app, "/status.json"))[2])):  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.1)
    return status


def delivers_without_its_second_device(status: Any) -> bool:
    return bool(
        status["ready"]
        and status["devices"][1]["failed_polls"] > 0
        and not status["endpoints"][0]["backlog"]["waiting"]
    )


async def test_a_site_that_is_well_and_one_device_that_is_not(tmp_path: Path, endpoint: Endpoint) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(-1500.5, 10, 20)}) as meter, FaultServer({}) as silent:
        devices = [("meter-1", "grid", meter.link().port), (HOSTILE, "solar", silent.link().port)]
        async with running(configuration(tmp_path, endpoint.url, devices)) as app:
            status = await until(app, delivers_without_its_second_device)
            metrics = (await get(app, "/metrics"))[2].decode()
            code, _, history = await get(app, "/history.json")
            assert (await get(app, "/readyz"))[::2] == (200, b"ok\n")
    assert status["site"] == "SITE_1"
    assert status["flow"]["grid"]["active_power_W"] == -1500.5
    assert status["flow"]["solar"] == {}
    assert [device["state"] for device in status["devices"]] == ["ok", "lost"]
    assert status["devices"][1]["reason"]
    assert status["endpoints"][0]["recent"][0]["outcome"] == "delivered"
    assert status["endpoints"][0]["next_attempt_s"] is None
    assert status["clock_reason"] is None or "time service" in status["clock_reason"]
    (link, _) = status["links"]
    assert link["address"] == f"127.0.0.1:{meter.port}"
    assert 0 < link["load"] < 1
    assert code == 200
    assert json.loads(history)["endpoints"].keys() == {"default"}
    assert status["endpoints"][0]["url"] == endpoint.url.removesuffix("/v1")
    backlog = status["endpoints"][0]["backlog"]
    assert backlog == {"waiting": 0, "oldest_s": None, "parked": 0, "in_memory": False, "dropped": {}}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert samples["telemetry_agent_ready",] == 1
    assert samples["telemetry_agent_power_watts", "grid"] == -1500.5
    assert samples["telemetry_agent_device_up", "meter-1"] == 1
    assert samples["telemetry_agent_device_up", HOSTILE] == 0
    assert samples["telemetry_agent_device_errors_total", HOSTILE, "silent"] >= 1
    assert samples["telemetry_agent_device_poll_seconds_count", "meter-1"] >= 1
    assert samples["telemetry_agent_pushes_total", "default", "delivered"] >= 1


async def test_the_load_of_a_link_is_that_of_its_last_polls(tmp_path: Path, endpoint: Endpoint) -> None:
    """Otherwise a gateway that was slow for a day would be called too slow for the next day."""
    async with (
        FaultServer({(1, Table.INPUT): sdm630(-1500.5, 10, 20)}) as meter,
        running(configuration(tmp_path, endpoint.url, [("meter-1", "grid", meter.link().port)])) as app,
    ):
        (device,) = app.site.devices
        for _ in range(10_000):
            device.health.answered(Scan((), 0.0, 1.0), device.health.last_answer or 0.0)
        await until(app, lambda status: 0 < (status["links"][0]["load"] or 0) < 1)
        await meter.refuse()
        await until(app, lambda status: status["devices"][0]["state"] == "lost")
        await until(app, lambda status: status["links"][0]["load"] is None)


async def test_a_load_with_its_nominal_power_is_marked(tmp_path: Path, endpoint: Endpoint) -> None:
    async with FaultServer({(1, Table.COIL): {0: 1}}) as relay:
        config = configuration(tmp_path, endpoint.url, [("m", "grid", relay.port)])
        boiler = {"node_id": "boiler", "type": "switched_load", "driver": "relay", "nominal_power_W": 2000}
        table = config.model_dump(mode="json", exclude_unset=True)
        table["push"][0]["token"] = TOKEN
        table["device"] = [{**boiler, "host": "127.0.0.1", "port": relay.port}]
        async with running(parse(table, {}, "test")) as app:
            status = await until(app, lambda each: each["devices"][0]["state"] == "ok")
    (node,) = status["devices"][0]["nodes"]
    assert (node["fields"], node["assumed"]) == ({"active_power_W": 2000.0}, "nominal")


async def test_nothing_arrives(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.desk.token = "another-token"
    async with (
        FaultServer({(1, Table.INPUT): sdm630(1, 1, 1)}) as meter,
        running(configuration(tmp_path, endpoint.url, [("m", "grid", meter.link().port)])) as app,
    ):
        status = await until(app, lambda each: each["endpoints"][0]["failing_s"] is not None)
        code, _, body = await get(app, "/readyz")
        assert (await get(app, "/healthz"))[::2] == (200, b"ok\n")
    assert code == 503
    assert re.fullmatch(rb"no delivery for \d+ s: HTTP 401.*\n", body)
    assert not status["ready"]
    assert 0 <= status["endpoints"][0]["next_attempt_s"] < 7
    assert status["endpoints"][0]["recent"][-1]["outcome"] == "misconfigured"
    assert status["endpoints"][0]["backlog"]["waiting"] >= 1


async def test_no_secret_is_shown(tmp_path: Path, endpoint: Endpoint) -> None:
    url = endpoint.url + "?code=a-secret-in-the-url"
    async with FaultServer({(1, Table.INPUT): sdm630(1, 1, 1)}) as meter:
        config = configuration(tmp_path, url, [("m", "grid", meter.link().port)], token=STATUS_TOKEN)
        async with running(config) as app:
            await endpoint.wait_for(1)
            shown = [await get(app, path, Authorization=f"Bearer {STATUS_TOKEN}") for path in ("/status.json", "/")]
            shown.append(await get(app, "/metrics", Authorization=f"Bearer {STATUS_TOKEN}"))
    assert [code for code, _, _ in shown] == [200, 200, 200]
    for secret in (TOKEN, STATUS_TOKEN, "a-secret-in-the-url"):
        assert all(secret.encode() not in body and secret not in str(headers) for _, headers, body in shown)


async def test_a_token_is_rotated_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "status-token"
    file.write_text(STATUS_TOKEN + "\n")
    config = configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)], token_file=str(file))
    async with running(config) as app:
        assert (await get(app, "/readyz", Authorization=f"Bearer {STATUS_TOKEN}"))[0] == 503
        file.write_text("another-token-0123456789")
        assert (await get(app, "/readyz", Authorization=f"Bearer {STATUS_TOKEN}"))[0] == 401
        assert (await get(app, "/readyz", Authorization="Bearer another-token-0123456789"))[0] == 503
        for unusable in ("short", "", "a token with blanks", "\u00e4" * 20):
            file.write_text(unusable)
            assert (await get(app, "/readyz", Authorization=f"Bearer {unusable}"))[0] == 401
            assert (await get(app, "/readyz", Authorization="Bearer another-token-0123456789"))[0] == 503
        file.unlink()
        assert (await get(app, "/readyz", Authorization="Bearer "))[0] == 401


async def test_a_reload_moves_the_listener(tmp_path: Path, endpoint: Endpoint) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(1, 1, 1)}) as meter:
        devices = [("m", "grid", meter.link().port)]
        async with running(configuration(tmp_path, endpoint.url, devices)) as app:
            first = app.status
            assert first is not None
            guarded = configuration(tmp_path, endpoint.url, devices, token=STATUS_TOKEN)
            await app.reload(guarded, build(guarded, "test", app.site))
            async with asyncio.timeout(LIMIT_S):
                while app.status is None or app.status.port is None:  # noqa: ASYNC110 - the listener's task sets it
                    await asyncio.sleep(0.01)
            assert first.port is None
            assert (await get(app, "/status.json"))[0] == 401
            assert (await get(app, "/status.json", Authorization=f"Bearer {STATUS_TOKEN}"))[0] == 200


async def _nothing() -> Snapshot:
    raise AssertionError("nobody may look")


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"authorization": STATUS_TOKEN}])
@pytest.mark.parametrize("path", ["/status.json", "/history.json", "/metrics", "/readyz"])
async def test_a_token_is_asked_for(tmp_path: Path, header: dict[str, str], path: str) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)], listen="0.0.0.0:0", token=STATUS_TOKEN)
    assert config.status is not None
    listener = StatusListener(config.status, _nothing, SystemClock())
    response = await listener.answer(HttpRequest("GET", path, {"host": "site.example", **header}))
    assert response.status is HTTPStatus.UNAUTHORIZED
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_what_a_peer_says_is_escaped(tmp_path: Path) -> None:
    evil = "HTTP 503: \x1b[2J\x9b31m\u202e\udc80\n" + "x" * 100_000
    config = configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)])
    assert config.status is not None

    async def take() -> Snapshot:
        backlog = Backlog(3, 60.0, 1, False, {})
        push = EndpointStatus("default", "https://e", 60, evil, 5.0, 1.0, {"delivered": 3}, (), backlog)
        return Snapshot("1.2", "S", 0.0, 1.0, False, evil, "waiting", {}, (), (push,))

    listener = StatusListener(config.status, take, SystemClock())
    for path in ("/status.json", "/readyz"):
        text = (await listener.answer(HttpRequest("GET", path, {"host": "localhost"}))).body.decode()
        assert text.removesuffix("\n").isprintable()
        assert r"[2J" in text
        assert len(text) < 5000


@pytest.mark.parametrize(("stuck", "status"), [([], HTTPStatus.OK), (["poll of m"], HTTPStatus.SERVICE_UNAVAILABLE)])
async def test_health_is_what_the_watchdog_sees(tmp_path: Path, stuck: list[str], status: HTTPStatus) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)])
    assert config.status is not None
    listener = StatusListener(config.status, _nothing, SystemClock(), lambda: stuck)
    response = await listener.answer(HttpRequest("GET", "/healthz", {"host": "localhost"}))
    assert response.status is status
    assert b"poll of m" not in response.body


async def test_without_a_token_only_loopback_names_are_answered(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)])
    assert config.status is not None
    listener = StatusListener(config.status, _nothing, SystemClock())
    response = await listener.answer(HttpRequest("GET", "/", {"host": "rebound.example"}))
    assert response.status is HTTPStatus.MISDIRECTED_REQUEST


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST:9464", True),
        ("agent.localhost", True),
        ("127.0.0.1:9464", True),
        ("[::1]:9464", True),
        ("[::1]", True),
        ("localhost.example", False),
        ("192.168.1.2", False),
        ("", False),
        ("localhost:", True),
        ("evil host.localhost", False),
        ("evil\x1b.localhost", False),
        ("user@localhost", False),
        ("a/b.localhost", False),
        (".localhost", False),
        ("a..localhost", False),
        ("-a.localhost", False),
        (f"{'a' * 64}.localhost", False),
        ("\u00e4.localhost", False),
        ("localhost:80:80", False),
        ("localhost:\u0663", False),
        ("localhost:123456", False),
        ("[localhost]", False),
        ("[127.0.0.1]", False),
        ("[[::1]]", False),
        ("::1", False),
        ("[::1", False),
        ("127.0.0.1.localhost\n", False),
    ],
)
def test_loopback_names(host: str, loopback: bool) -> None:
    assert is_loopback_name(host) is loopback


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html, policy = page()
    assert b"http://" not in html.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in html
    assert b" style=" not in html
    assert b"innerHTML" not in html
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            {"listen": "0.0.0.0:9464"},
            "test: status.token_file: missing; anybody who reaches 0.0.0.0:9464 could read the status",
        ),
        ({"listen": "site.example:9464"}, "test: status.token_file: missing; anybody who reaches site.example:9464"),
        ({"listen": "9464"}, "test: status.listen: must be an address and a port, such as 127.0.0.1:9464"),
        ({"listen": "::1:9464"}, "test: status.listen: must have an IPv6 address in brackets"),
        ({"listen": "127.0.0.1:99999"}, "test: status.listen: must be an address and a port"),
        ({"token": "short"}, "test: status.token: must be at least 16 visible ASCII characters"),
        ({"token_file": "/no/such/file"}, "test: status.token_file: must be a readable file (No such file"),
        ({"token": STATUS_TOKEN, "token_file": "/x"}, "test: status.token: give either token or token_file, not both"),
    ],
)
def test_what_is_refused(tmp_path: Path, status: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)], **status)
    (line,) = caught.value.lines
    assert line.startswith(message)
    assert "short" not in line


async def test_an_address_that_is_taken_does_not_stop_the_agent(tmp_path: Path, endpoint: Endpoint) -> None:
    taken = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    config = configuration(tmp_path, endpoint.url, [("m", "grid", 1)], listen=f"127.0.0.1:{port}")
    app = App(config, build(config, "test"), FastClock(1.0, time.time()), {})
    task = asyncio.create_task(app.run())
    await endpoint.wait_for(1)
    assert app.status is not None
    assert app.status.port is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    taken.close()
