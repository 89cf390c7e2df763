"""`check --online` against devices and endpoints that are there, wrong, or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import sys
import termios
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.commissioning import site_check
from drivers.model import Table
from drivers.simulator.register_image import profile_unit
from tests.faults import sunspec
from tests.faults.certificates import Authority
from tests.faults.modbus import FaultServer
from tests.support.in_process import call_inside
from tests.support.profiles import PROFILES
from tests.support.site import TOKEN, configuration, device, sdm630
from tests.support.terminal import written_to


@asynccontextmanager
async def listening(received: list[bytes], tls: object = None) -> AsyncIterator[int]:
    """An endpoint that keeps what it is sent."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.append(await reader.read())
        except ConnectionError:
            received.append(b"")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)


async def check(path: Path, *more: str) -> tuple[int, str, str]:
    result = await to_thread(call_inside, "check", "--online", *more, "--config", path)
    assert TOKEN not in result.stdout + result.stderr
    return result.returncode, result.stdout, result.stderr


async def test_everything_is_reached_and_nothing_sent(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("server"))
    received: list[bytes] = []
    async with listening(received, tls) as port, FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter:
        path = configuration(
            tmp_path,
            f"https://127.0.0.1:{port}/v1",
            device("meter-1", "grid", meter)
            + device("pv-1", "solar", meter).replace("timeout", "unit_id = 1\ntimeout"),
            f'ca_file = "{authority.ca_file}"',
        )
        status, out, error = await check(path)
        as_json = json.loads((await check(path, "--json"))[1])
    assert (status, error) == (0, "")
    assert "meter-1\teastron-sdm630\t127.0.0.1:" in out
    assert "\tanswers\t" in out
    assert re.search(r"meter-1\tactive_power\t42.5\tW\t\d+\.\d s", out)
    assert "pv-1\tactive_power\t-42.5\tW" in out, "as the node has it"
    assert "grid\t42 W\timport" in out
    assert "endpoint: TLSv1.3, certificate valid for " in out
    assert "nothing was sent" in out
    assert "hint: endpoint: its certificate expires in 1 days" in out
    assert re.search(r"(?m)^clock: (synchronised|20\d\d-\S+, but no time service has set it; .*)$", out)
    assert received == [b"", b""]
    assert as_json["ok"] is True
    assert as_json["devices"][0]["latency_s"] > 0
    assert meter.functions == {3, 4}, "input registers for its values, holding registers for who it is"


@pytest.mark.parametrize("strict", [False, True])
async def test_json_has_the_warnings_about_the_configuration(tmp_path: Path, strict: bool) -> None:
    async with listening([]) as port, FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter:
        table = device("meter-1", "grid", meter) + "nominal_power_W = 2000\n"
        path = configuration(tmp_path, f"http://127.0.0.1:{port}/", table)
        text = (await check(path))[1]
        status, out, error = await check(path, "--json", *(["--strict"] if strict else []))
    warnings = [line.removeprefix("warning: ") for line in text.splitlines() if line.startswith("warning: ")]
    assert any(line.startswith("nominal_power_W of meter-1 has no effect") for line in warnings)
    assert json.loads(out)["warnings"] == warnings
    assert json.loads(out)["ok"] is True
    assert (status, len(error.splitlines())) == ((1, len(warnings)) if strict else (0, 0))


async def test_what_is_not_there_is_a_line_each_and_fails(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter, FaultServer({}) as silent:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
            path = configuration(
                tmp_path, url, device("meter-1", "grid", meter) + device("pv-1", "solar", silent, timeout_s=1)
            )
            status, out, error = await check(path)
    assert status == 1
    assert "meter-1\tactive_power\t42.5" in out
    lines = error.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"telemetry-agent: pv-1 (127.0.0.1:{silent.port} unit 1): ")
    assert "no answer within 1 s" in lines[0]
    assert lines[0].endswith(
        f"; is the unit id correct? `telemetry-agent scan 127.0.0.1 --port {silent.port} --units 1-247` finds"
        " the unit ids that answer"
    )
    assert f"pv-1\teastron-sdm630\t127.0.0.1:{silent.port} unit 1\tno answer\t" in out
    assert lines[1] == f"telemetry-agent: endpoint: no connection to {urlsplit(url).netloc}: Connection refused"
    assert len(silent.requests) == 2, "one lost reply is no finding"


@pytest.mark.parametrize(
    ("hosts", "expired", "stranger", "words"),
    [
        (("127.0.0.1",), False, True, "is not trusted"),
        (("other.example",), False, False, "is not trusted"),
        (("127.0.0.1",), True, False, "is expired"),
    ],
)
async def test_certificates_that_will_not_do(
    tmp_path: Path, hosts: tuple[str, ...], expired: bool, stranger: bool, words: str
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path)
    issuer = theirs if not stranger else ours
    tls = issuer.server_context(issuer.issue("server", hosts=hosts, expired=expired))
    async with listening([], tls) as port, FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter:
        push = f'ca_file = "{theirs.ca_file}"'
        path = configuration(tmp_path, f"https://127.0.0.1:{port}/", device("m", "grid", meter), push)
        status, _, error = await check(path)
    assert status == 1
    assert f"endpoint: the server's certificate {words}" in error
    remedy = "is expired" if expired else "name its CA in push.ca_file" if stranger else "push.url must have the name"
    assert remedy in error


async def test_the_way_through_a_proxy(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        port = int(asked[-1].split()[1].rpartition(b":")[2])
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(4096):
                    sink.write(data)
            except ConnectionError:
                pass
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    received: list[bytes] = []
    async with (
        listening(received, authority.server_context(authority.issue("server"))) as port,
        FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter,
    ):
        proxy_port = server.sockets[0].getsockname()[1]
        push = f'ca_file = "{authority.ca_file}"\nproxy_url = "http://me:do%3Anot-show@127.0.0.1:{proxy_port}"'
        path = configuration(tmp_path, f"https://127.0.0.1:{port}/", device("m", "grid", meter), push)
        status, out, error = await check(path)
    server.close()
    assert (status, error) == (0, "")
    assert f"endpoint: TLSv1.3 through 127.0.0.1:{proxy_port}, certificate valid for " in out
    assert asked[0].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n".encode())
    assert b"\r\nProxy-Authorization: Basic bWU6ZG86bm90LXNob3c=\r\n" in asked[0]
    assert "not-show" not in out
    assert TOKEN.encode() not in asked[0]


async def test_the_certificate_of_a_proxy_is_not_shown_as_that_of_the_endpoint(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("proxy"))
    async with listening([], tls) as port, FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter:
        push = f'ca_file = "{authority.ca_file}"\nproxy_url = "https://127.0.0.1:{port}"\nallow_insecure_http = true'
        path = configuration(tmp_path, "http://telemetry.example.com/", device("m", "grid", meter), push)
        _, out, _ = await check(path)
    assert f"endpoint: connected through 127.0.0.1:{port}, without TLS" in out


async def test_what_is_between_us_and_the_endpoint_is_named(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter:
        push = f'proxy_url = "http://127.0.0.1:{port}"'
        path = configuration(tmp_path, "https://telemetry.example.com/", device("m", "grid", meter), push)
        _, _, wants = await check(path)
        server.close()
        _, _, closed = await check(path)
    assert "the proxy says 407 Proxy Authentication Required; set push.proxy_url = " in wants
    assert f"endpoint: no connection to 127.0.0.1:{port}, the proxy: Connection refused" in closed


async def test_a_device_that_says_nothing_is_no_success(tmp_path: Path) -> None:
    nothing = {(1, Table.INPUT): dict.fromkeys(range(80), 0xFFFF)}
    zeros = {(1, Table.INPUT): dict.fromkeys(range(80), 0)}
    async with (
        listening([]) as port,
        FaultServer(nothing) as asleep,
        FaultServer(zeros) as another,
        FaultServer({(1, Table.HOLDING): {0: 1}}) as stranger,
    ):
        url = f"http://127.0.0.1:{port}/"
        devices = device("asleep", "grid", asleep) + device("another", "grid", another)
        status, out, error = await check(configuration(tmp_path, url, devices))
        assert (status, error) == (0, "")
        assert "hint: asleep: it answers, but it has no values" in out
        assert "hint: another: it answers, but it has no values" in out
        status, out, error = await check(configuration(tmp_path, url, device("stranger", "grid", stranger)))
    assert status == 1
    assert f"; the driver does not fit; `telemetry-agent scan 127.0.0.1 --port {stranger.port}` names one" in error
    assert "\trefuses\t" in out


def swapped(registers: dict[int, int]) -> dict[int, int]:
    """Every 32-bit value with its words exchanged."""
    return {address: registers[address ^ 1] for address in registers}


async def test_powers_that_cannot_be_of_one_site_are_doubted(tmp_path: Path) -> None:
    async with (
        listening([]) as port,
        FaultServer({(1, Table.INPUT): sdm630(-4000, 1, 2)}) as grid,
        FaultServer({(1, Table.INPUT): sdm630(-3000, 1, 2)}) as solar,
    ):
        url = f"http://127.0.0.1:{port}/"
        path = configuration(
            tmp_path, url, device("meter-1", "grid", grid) + device("pv-1", "solar", solar, timeout_s=1)
        )
        status, out, _ = await check(path)
        told = json.loads((await check(path, "--json"))[1])["hint"]
        _, alone, _ = await check(path, "--node", "meter-1")
        solar.faults.silent = True
        _, unknown, missing = await check(path)
    assert status == 0, "a hint is no failure"
    assert "hint: grid -4000 W + solar 3000 W leaves -1000 W for the rest of the house; with grid inverted" in out
    assert told.startswith("grid -4000 W")
    assert "for the rest of the house" not in alone + unknown
    assert "no answer" in missing


@pytest.mark.parametrize(
    ("when_offline", "grid_W", "rest"), [("zero", 400.0, "400 W"), ("zero", -0.25, "0 W"), ("missing", 400.0, None)]
)
async def test_an_inverter_that_answers_without_a_power_counts_as_it_does_in_a_push(
    tmp_path: Path, when_offline: str, grid_W: float, rest: str | None
) -> None:
    powerless = sdm630(0, 1, 2) | dict.fromkeys((52, 53), 0xFFFF)
    async with (
        listening([]) as port,
        FaultServer({(1, Table.INPUT): sdm630(grid_W, 1, 2)}) as grid,
        FaultServer({(1, Table.INPUT): powerless}) as solar,
    ):
        devices = device("meter-1", "grid", grid) + device("pv-1", "solar", solar)
        path = configuration(tmp_path, f"http://127.0.0.1:{port}/", f'{devices}when_offline = "{when_offline}"\n')
        _, out, _ = await check(path)
    found = re.search(r"^rest of the house\t(.* W)", out, re.MULTILINE)
    assert (found and found[1]) == rest, out


async def test_hints_come_with_the_values(tmp_path: Path) -> None:
    turned = sdm630(-3456.0, 1, 2)
    ratio = sdm630(0, 1, 2)
    for number in range(3):
        for address, value in ((2 * number, 230.0), (6 + 2 * number, 3.0), (12 + 2 * number, 27_600.0)):
            ratio[address], ratio[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    async with (
        listening([]) as port,
        FaultServer({(1, Table.INPUT): swapped(sdm630(42.5, 1, 2))}) as words,
        FaultServer({(1, Table.INPUT): turned}) as charger,
        FaultServer({(1, Table.INPUT): ratio}) as transformer,
    ):
        path = configuration(
            tmp_path,
            f"http://127.0.0.1:{port}/",
            device("words", "grid", words)
            + device("charger", "variable_power_load", charger)
            + device("transformer", "heat_pump", transformer),
        )
        status, out, error = await check(path)
    assert (status, error) == (0, ""), "hints are no failures"
    hints = [line for line in out.splitlines() if line.startswith("hint: ")]
    assert len(hints) == 3, hints
    assert hints[0].startswith('hint: words: the word order seems wrong: with word_order = "little" ')
    assert hints[1].startswith("hint: charger: the sign seems inverted: active_power is -3456 W")
    assert hints[2].startswith("hint: transformer: power is 40 times voltage x current")


@pytest.mark.parametrize(("synchronised", "words"), [(True, "synchronised"), (False, "1970-01-01T00:00:05+00:00, but")])
def test_a_clock_that_nobody_has_set_is_told(monkeypatch: pytest.MonkeyPatch, synchronised: bool, words: str) -> None:
    monkeypatch.setattr("agent.commissioning.site_check.kernel_synchronised", lambda: synchronised)
    assert site_check._clock(5.0).startswith(words)


async def test_a_device_that_says_it_is_another_is_named(tmp_path: Path) -> None:
    """With the driver of a single-phase meter, a three-phase meter reports only its first phase."""
    code = {(1, Table.HOLDING): {0xFC02: 0x0070}}
    with_code = {(1, Table.INPUT): sdm630(42.5, 1, 2)} | code
    async with listening([]) as port, FaultServer(with_code) as meter, FaultServer(with_code) as right:
        url = f"http://127.0.0.1:{port}/"
        wrong = device("wrong", "grid", meter).replace("eastron-sdm630", "eastron-sdm120")
        _, out, _ = await check(configuration(tmp_path, url, wrong + device("right", "grid", right)))
    assert "hint: wrong: it identifies as Eastron SDM630" in out
    assert "for driver 'eastron-sdm630', not 'eastron-sdm120'" in out
    assert "hint: right: it says" not in out


async def test_a_driver_for_the_same_mark_is_no_other_device(tmp_path: Path) -> None:
    """A Plenticore without a battery has the name of one with a battery."""
    image = profile_unit(PROFILES["kostal-plenticore"], dict).image()
    registers = {(71, kind): dict(words) for kind, words in image.items()}
    registers[71, Table.HOLDING] |= dict.fromkeys((172, 173, 320, 321), 0)
    async with listening([]) as port, FaultServer(registers) as inverter:
        table = device("pv-1", "solar", inverter).replace("eastron-sdm630", "kostal-plenticore-inverter")
        _, out, _ = await check(configuration(tmp_path, f"http://127.0.0.1:{port}/", table))
    assert (71, 768) in {(seen.unit_id, seen.address) for seen in inverter.requests}, "its name was asked for"
    assert "identifies as" not in out


async def test_nodes_of_a_sunspec_device_that_nobody_polls_are_named(tmp_path: Path) -> None:
    chain = sunspec.device(sunspec.common(), sunspec.inverter(W=1, W_SF=0), sunspec.meter(W=2, W_SF=0))
    registers = {(1, Table.HOLDING): chain}
    async with listening([]) as port, FaultServer(registers) as alone, FaultServer(registers) as both:
        tables = device("pv-1", "solar", alone) + device("pv-2", "solar", both) + device("meter-1", "grid", both)
        tables = tables.replace("eastron-sdm630", "sunspec", 2).replace("eastron-sdm630", "sunspec-meter")
        _, out, _ = await check(configuration(tmp_path, f"http://127.0.0.1:{port}/", tables))
    assert "hint: pv-1: grid of this device are not polled; add them to nodes to poll them" in out
    assert "pv-2: grid" not in out


async def test_no_request_of_the_check_is_larger_than_the_device_allows(tmp_path: Path) -> None:
    """Also those that try another word order or identify the device."""
    registers = {(1, Table.INPUT): swapped(sdm630(42.5, 1, 2)), (1, Table.HOLDING): {0xFC02: 0x0070}}
    async with listening([]) as port, FaultServer(registers) as meter:
        table = device("meter-1", "grid", meter).replace("timeout", "max_registers = 4\ntimeout")
        _, out, _ = await check(configuration(tmp_path, f"http://127.0.0.1:{port}/", table))
    assert "the word order seems wrong" in out
    assert max(seen.count for seen in meter.requests) == 4


async def test_http_to_a_port_for_https_and_the_reverse(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    received: list[bytes] = []
    async with (
        listening(received, authority.server_context(authority.issue("server"))) as tls,
        listening(received) as plain,
        FaultServer({(1, Table.INPUT): sdm630(1, 1, 2)}) as meter,
    ):
        one = device("m", "grid", meter)
        status, _, error = await check(configuration(tmp_path, f"http://127.0.0.1:{tls}/v1", one))
        assert (status, error) == (
            1,
            f"telemetry-agent: endpoint: 127.0.0.1:{tls} speaks TLS: write https instead of http in push.url\n",
        )
        status, out, error = await check(configuration(tmp_path, f"http://127.0.0.1:{plain}/v1", one))
        assert (status, error) == (0, "")
        assert "endpoint: connected, without TLS" in out
    assert not any(b"HTTP" in each for each in received)


@asynccontextmanager
async def distant(port: int, delay_s: float) -> AsyncIterator[int]:
    """A relay to `port`. What the endpoint sends arrives after `delay_s`."""
    relays: list[asyncio.Task[None] | None] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(delay_s)
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.append(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, back, 0.0), copy(there, writer, delay_s))
        for each in (writer, back):
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*(each for each in relays if each is not None))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_endpoint_that_is_too_far_away_for_its_messages(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("server"))
    tls.maximum_version = version
    trusted = f'ca_file = "{authority.ca_file}"\n'
    many = 'levels = ["device"]\nconnections = 1\n'
    async with (
        listening([], tls) as behind,
        distant(behind, 0.6) as port,
        FaultServer({(1, Table.INPUT): sdm630(42.5, 1, 2)}) as meter,
    ):
        devices = device("meter-1", "grid", meter) + device("load", "variable_power_load", meter)
        one = configuration(tmp_path, f"https://127.0.0.1:{port}/v1", devices, trusted)
        _, out, _ = await check(one)
        assert "round trip" in out
        path = configuration(tmp_path, f"https://127.0.0.1:{port}/v1", devices, trusted + many)
        status, out, _ = await check(path)
        found = json.loads((await check(path, "--json"))[1])["endpoints"][0]
    assert status == 0
    assert "the site makes 2 messages every 1 s, but with a round trip of" in out
    assert 'set push.device_format = "snapshot"' in out
    assert found["round_trip_s"] >= 0.6
    assert "the site makes 2 messages every 1 s" in found["warning"]


@pytest.mark.parametrize(("command", "last"), [(["check", "--online"], "4 of 4"), (["read"], "2 of 2")])
async def test_a_terminal_shows_how_far_the_polls_are(tmp_path: Path, command: list[str], last: str) -> None:
    """A site with many devices behind a slow gateway takes minutes."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 120))
    received: list[bytes] = []
    units = {(unit, Table.INPUT): sdm630(42.5, 1, 2) for unit in (1, 2)}
    async with listening(received) as port, FaultServer(units) as meters:
        path = configuration(
            tmp_path,
            f"http://127.0.0.1:{port}/",
            device("meter-1", "grid", meters)
            + "unit_id = 1\n"
            + device("meter-2", "heat_pump", meters)
            + "unit_id = 2\n",
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", *command, "--config", str(path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=slave,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(slave)
        bar, (out, _) = await asyncio.gather(to_thread(written_to, master), process.communicate())
        piped = await to_thread(call_inside, *command, "--config", path)
    assert f"{last}: " in bar.decode()
    assert f"127.0.0.1:{meters.port} unit 2" in bar.decode()
    assert b"\x1b" not in out
    assert " of " not in piped.stderr
