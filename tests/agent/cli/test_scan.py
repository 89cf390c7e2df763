"""`scan` as an installer calls it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import tomllib
from asyncio import to_thread
from dataclasses import replace
from pathlib import Path

import pytest

from agent.commissioning import scan
from drivers.model import Table
from tests.agent.cli.test_hostile_files import assert_told
from tests.faults.modbus import FaultServer
from tests.support.in_process import call_inside
from tests.support.profiles import families
from tests.support.site import configuration
from tests.support.terminal import written_to

PROFILE = """
manufacturer = "Acme"
models = ["X1"]
kind = "meter"
source = "this test"
[[point]]
quantity = "active_power"
table = "input"
address = 0
type = "float32"
[identify]
table = "holding"
address = 64000
type = "uint16"
equals = [7]
"""


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "acme-x1.toml").write_text(PROFILE)
    return folder


def meters(*marks: int) -> dict[tuple[int, Table], dict[int, int]]:
    return {
        (unit_id, table): words
        for unit_id, mark in enumerate(marks, 1)
        for table, words in ((Table.INPUT, {0: 0x42C8, 1: 0}), (Table.HOLDING, {64000: mark}))
    }


async def test_the_output_can_be_pasted_and_checked(tmp_path: Path, profiles: Path) -> None:
    async with FaultServer(meters(7, 7, 99)) as server:
        arguments = ("127.0.0.1", "--port", str(server.port), "--units", "1-3", "--profile-dir", profiles)
        result = await to_thread(call_inside, "scan", *arguments)
        assert result.returncode == 0, result.stderr
        assert f"#   telemetry-agent dump 127.0.0.1 --port {server.port} --unit 3" in result.stdout
        path = configuration(tmp_path, "http://127.0.0.1:1/", result.stdout)
        path.write_text(path.read_text() + f'[drivers]\nprofile_dirs = ["{profiles}"]\n')
        checked = await to_thread(call_inside, "check", "--config", path)
        assert checked.returncode == 0, checked.stderr
        assert "meter-1: grid by acme-x1" in checked.stdout
        read = await to_thread(call_inside, "read", "--config", path)
        assert "meter-1\tactive_power\t100\tW" in read.stdout
        as_json = await to_thread(call_inside, "scan", *arguments, "--json")
    (place,) = json.loads(as_json.stdout)
    assert [unit["identified"] for unit in place["units"]] == [True, True, False]
    assert server.functions <= {1, 2, 3, 4, 43}


async def test_a_serial_line_becomes_a_connection(tmp_path: Path, profiles: Path) -> None:
    async with FaultServer(meters(7), transport="rtu") as server:
        port = str(server.link().serial_port)
        arguments = (port, "--units", "1", "--baudrate", "19200", "--parity", "N", "--profile-dir", profiles)
        result = await to_thread(call_inside, "scan", *arguments)
        assert result.returncode == 0, result.stderr
        path = configuration(tmp_path, "http://127.0.0.1:1/", result.stdout)
        path.write_text(path.read_text() + f'[drivers]\nprofile_dirs = ["{profiles}"]\n')
        read = await to_thread(call_inside, "read", "--config", path)
    assert "meter-1\tactive_power\t100\tW" in read.stdout, read.stderr


async def test_a_converter_that_does_not_translate(tmp_path: Path, profiles: Path) -> None:
    async with FaultServer(meters(7, 99), transport="rtu_over_tcp") as server:
        place = ("127.0.0.1", "--port", str(server.port), "--transport", "rtu_over_tcp")
        result = await to_thread(call_inside, "scan", *place, "--units", "1-2", "--profile-dir", profiles)
        assert result.returncode == 0, result.stderr
        dump = f"dump 127.0.0.1 --port {server.port} --transport rtu_over_tcp --unit 2"
        assert dump in result.stdout
        path = configuration(tmp_path, "http://127.0.0.1:1/", result.stdout)
        path.write_text(path.read_text() + f'[drivers]\nprofile_dirs = ["{profiles}"]\n')
        read = await to_thread(call_inside, "read", "--config", path)
        dumped = await to_thread(call_inside, *dump.split(), "--range", "input:0-1")
    assert "meter-1\tactive_power\t100\tW" in read.stdout, read.stderr
    assert json.loads(dumped.stdout)["registers"]["input"]["0"] == [0x42C8, 0]


async def test_ctrl_c_prints_what_had_been_found(profiles: Path) -> None:
    async with FaultServer(meters(7)) as server, FaultServer(meters(7)) as silent:
        silent.faults.silent = True
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "scan", "127.0.0.1", "--units", "1", "--timeout", "50"),
            *("--port", str(server.port), "--port", str(silent.port), "--profile-dir", str(profiles)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await silent.wait(lambda: bool(silent.requests))
        process.send_signal(signal.SIGINT)
        out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b'driver = "acme-x1"' in out
    assert error == b"telemetry-agent: interrupted; the results are not complete\n"


async def test_nothing_found_fails_and_says_why() -> None:
    async with FaultServer({}) as server:
        await server.refuse()
        result = await to_thread(call_inside, "scan", "127.0.0.1", "--port", str(server.port))
    assert result.returncode == 1
    assert result.stderr == (
        f"telemetry-agent: 127.0.0.1:{server.port}: connection refused; nothing listens on that port\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [("10.0.0.0/99",), ("a b",), ("h", "--units", "0-300"), ("h", "--port", "0"), ("h", "--parity", "X"),
     ("h", "--transport", "rtu"), ("h", "--baudrate", "1"), ("h", "--timeout", "0")],
)  # fmt: skip
def test_wrong_options_are_usage_errors_of_one_line(arguments: tuple[str, ...]) -> None:
    result = call_inside("scan", *arguments)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "(found " in result.stderr


async def test_on_a_terminal_there_is_a_bar_and_the_tables_stay_clean(profiles: Path) -> None:
    master, slave = os.openpty()
    async with FaultServer(meters(7)) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "scan", "127.0.0.1", "--units", "1"),
            *("--port", str(server.port), "--profile-dir", str(profiles)),
            stdout=asyncio.subprocess.PIPE,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(slave)
        bar, (out, _) = await asyncio.gather(to_thread(written_to, master), process.communicate())
    assert b"places" in bar
    assert b"\x1b" not in out
    assert b'driver = "acme-x1"' in out


class Babbler(asyncio.Protocol):
    """Answers each request with bytes at random: frames that are nearly right among them."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        dice = self._dice
        head, text = data[:2] + b"\0\0", b"\x1b[2J\x9b31m\n" + dice.randbytes(dice.randrange(240))
        pdu = bytes((data[7] if len(data) > 7 else 3, len(text))) + text
        match dice.randrange(6):
            case 0:
                self._transport.write(dice.randbytes(dice.randrange(1, 300)))
            case 1:
                self._transport.write(head + (len(pdu) + 1).to_bytes(2, "big") + data[6:7] + pdu)
            case 2:
                wanted = 2 * int.from_bytes(data[10:12], "big") % 256
                words = (text * 256)[:wanted]
                self._transport.write(head + (wanted + 3).to_bytes(2, "big") + data[6:8] + bytes((wanted,)) + words)
            case 3:
                self._transport.write(head + b"\0\3" + data[6:7] + bytes((data[7] | 0x80, dice.randrange(256))))
            case 4:
                self._transport.abort()
            case 5:
                identification = b"\x2b\x0e\x01\x01\x00\x00\x02\x00" + bytes((len(text),)) + text + b"\x01\xff" + text
                self._transport.write(head + (len(identification) + 1).to_bytes(2, "big") + data[6:7] + identification)


@pytest.mark.seeds(1, 2, 3)
async def test_a_peer_that_babbles_ends_in_a_few_plain_lines(seed: int) -> None:
    dice = random.Random(seed)
    server = await asyncio.get_running_loop().create_server(lambda: Babbler(dice), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    arguments = ("127.0.0.1", "--port", str(port), "--units", "1-3", "--timeout", "0.05")
    async with asyncio.timeout(60):
        result = await to_thread(call_inside, "scan", *arguments)
    server.close()
    assert result.returncode in (0, 1)
    assert_told(result, lines=5)
    tomllib.loads(result.stdout)


def test_the_usual_units_are_few_the_likely_first_and_named() -> None:
    profiles = families()
    targets, settings = scan.request(["192.0.2.1"], None, "", 1.0, None, None, "tcp", profiles)
    units = settings.usual_units(serial=False)
    assert units[:10] == tuple(range(1, 11))
    assert {254, 247, 255, 200, 71, 126, 100, 11} <= set(units)
    assert len(units) <= 24
    summary = scan.asked_units(targets, settings)
    assert summary.startswith("# Asked for: units 0-11, ")
    others = r"\n# Not asked for: the others of units 12-\d+, .*-253\. To ask for them: --units 1-255$"
    assert re.search(others, summary)
    serial = scan.request(["/dev/ttyUSB0"], None, "", 1.0, None, None, "tcp", profiles)
    assert scan.asked_units(*serial).endswith(
        "# Not asked for: the others of units 11-247. To ask for them: --units 1-247"
    )
    assert scan.asked_units(targets, replace(settings, units=(1,))) == ""
    both = scan.request(["192.0.2.1", "/dev/ttyUSB0"], None, "", 1.0, None, None, "tcp", profiles)
    assert scan.asked_units(*both).splitlines() == [
        *(line.replace("sked for:", "sked for on hosts:") for line in summary.splitlines()),
        "# Asked for on serial ports: units 1-10, and the ones after each unit found.",
        "# Not asked for on serial ports: the others of units 11-247. To ask for them: --units 1-247",
    ]
