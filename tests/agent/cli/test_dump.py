"""`dump`, `drivers` and `drivers check` as an installer calls them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio import to_thread
from pathlib import Path
from typing import Any

import pytest

from drivers.dump.file import load
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Table
from drivers.simulator.modbus_server import ModbusServer
from drivers.simulator.register_image import dump_unit
from tests.faults import sunspec
from tests.faults.modbus import FaultServer
from tests.support.in_process import call_inside
from tests.support.site import configuration, device, sdm630

PROFILE = """
manufacturer = "Acme"
models = ["X1"]
kind = "meter"
source = "this test"
[[point]]
quantity = "active_power"
table = "input"
address = 52
type = "float32"
[[point]]
quantity = "voltage"
phase = "l1"
table = "input"
address = 0
type = "float32"
"""


async def test_a_configured_device_is_dumped_and_the_dump_reads_as_the_device(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(42.5, 1.0, 2.0)}) as meter:
        path = configuration(tmp_path, "http://127.0.0.1:1/", device("meter-1", "grid", meter))
        result = await to_thread(call_inside, "dump", "--node", "meter-1", "--config", path)
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["driver"] == "eastron-sdm630"
    assert content["type"] == "grid"
    assert content["expected"]["active_power"] == 42.5
    assert content["expected"]["imported_energy"] == 1000
    file = tmp_path / "dump.json"
    file.write_text(result.stdout)
    server = ModbusServer([dump_unit(load(file).tables)], "127.0.0.1")
    await server.start()
    served = device("meter-1", "grid", meter).replace(f"port = {meter.port}", f"port = {server.port}")
    read = await to_thread(call_inside, "read", "--config", configuration(tmp_path, "http://127.0.0.1:1/", served))
    await server.stop()
    assert "meter-1\tactive_power\t42.5\tW" in read.stdout


@pytest.mark.parametrize("driver", ["eastron-sdm630", "sunspec"])
async def test_no_request_of_a_dump_is_larger_than_the_device_allows(tmp_path: Path, driver: str) -> None:
    chain = sunspec.device(sunspec.common(), sunspec.inverter(W=1, W_SF=0))
    registers = {(1, Table.INPUT): sdm630(42.5, 1.0, 2.0), (1, Table.HOLDING): chain}
    async with FaultServer(registers) as server:
        table = device("node-1", "solar", server, driver).replace("timeout", "max_registers = 16\ntimeout")
        path = configuration(tmp_path, "http://127.0.0.1:1/", table)
        result = await to_thread(call_inside, "dump", "--node", "node-1", "--config", path)
    assert result.returncode == 0, result.stderr
    assert max(seen.count for seen in server.requests) <= 16


async def test_an_unknown_device_is_dumped_by_what_all_profiles_know() -> None:
    async with FaultServer({(3, Table.INPUT): sdm630(42.5, 1.0, 2.0)}) as meter:
        result = await to_thread(call_inside, "dump", "127.0.0.1", "--port", str(meter.port), "--unit", "3")
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["unit_id"] == 3
    assert content["vendor"] == "unknown"
    assert words(content, "input")[52] == 0x422A
    assert any(place.startswith("holding") for place in content["refused"])
    assert meter.functions <= {1, 2, 3, 4}


MARKED = """
manufacturer = "Acme"
models = ["Marked"]
kind = "inverter"
source = "this test"

[mark.there]
table = "holding"
address = 300
type = "uint16"
min = 1

[repeat.panels]
most = 3
step = 10
present = "there"

[[point]]
quantity = "active_power"
table = "holding"
address = 301
type = "uint16"
repeat = "panels"

[identify]
table = "holding"
address = 40
type = "uint16"
equals = [4711]
also = [
    { table = "holding", address = 60, type = "string", length = 5, equals = ["??????????"] },
    { table = "holding", address = 80, type = "uint16", equals = [815] },
]
"""


async def test_a_dump_has_what_identifies_the_device_and_counts_its_blocks(tmp_path: Path) -> None:
    acme(tmp_path, MARKED)
    serial = [0x4142, 0x3132, 0x3334, 0x3536, 0x3738]
    registers = {40: 4711, **dict(enumerate(serial, 60)), 80: 815, 300: 1, 301: 70, 310: 1, 311: 30, 320: 0, 321: 0}
    own = ("--profile-dir", str(tmp_path))
    async with FaultServer({(1, Table.HOLDING): registers}) as inverter:
        place = ("127.0.0.1", "--port", str(inverter.port), "--driver", "acme-x1")
        result = await to_thread(call_inside, "dump", *place, *own)
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["expected"] == {"active_power": 100}
    assert content["redacted"] == ["holding 60-64"]
    file = tmp_path / "dump.json"
    file.write_text(result.stdout)
    server = ModbusServer([dump_unit(load(file).tables)], "127.0.0.1")
    await server.start()
    found = await to_thread(call_inside, "scan", "127.0.0.1", "--port", str(server.port), "--units", "1", *own)
    await server.stop()
    assert 'driver = "acme-x1"' in found.stdout


async def test_ranges_and_text() -> None:
    text = [0x4142, 0x4344, 0x3132, 0x3334, 0x3536]
    async with FaultServer({(1, Table.HOLDING): dict(enumerate(text, 10))}) as server:
        arguments = ("127.0.0.1", "--port", str(server.port), "--range", "holding:10-14", "--range", "holding:20")
        blanked = await to_thread(call_inside, "dump", *arguments)
        kept = await to_thread(call_inside, "dump", *arguments, "--keep-text")
    assert json.loads(blanked.stdout)["redacted"] == ["holding 10-14"]
    assert json.loads(blanked.stdout)["refused"] == ["holding 20"]
    assert set(words(json.loads(blanked.stdout), "holding").values()) == {0x5858}
    assert list(words(json.loads(kept.stdout), "holding").values()) == text


async def test_a_device_that_does_not_answer_is_one_line() -> None:
    async with FaultServer({}) as server:
        await server.refuse()
        result = await to_thread(call_inside, "dump", "127.0.0.1", "--port", str(server.port))
    assert (result.returncode, result.stdout) == (1, "")
    assert "connection refused" in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_ctrl_c_prints_what_had_been_read() -> None:
    async with FaultServer({(1, Table.INPUT): {0: 5}, (1, Table.HOLDING): {0: 6}}) as server:
        server.faults.latency_s = 2
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "dump", "127.0.0.1", "--port", str(server.port), "--timeout", "50"),
            *("--range", "input:0", "--range", "holding:0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await server.wait(lambda: len(server.requests) == 2)
        process.send_signal(signal.SIGINT)
        out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert json.loads(out)["registers"] == {"input": {"0": [5]}}
    assert error == b"telemetry-agent: interrupted; the dump is not complete\n"


async def test_a_dump_is_served_as_a_device(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "simulate", "--base-port", "0", "--dump", str(dump_file(tmp_path, unit_id=7))),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    name, place, unit, unit_id = line.split()
    assert (name, unit, unit_id) == ("dump.json:", "unit", "7")
    link = Link(LinkSettings(host="127.0.0.1", port=int(place.partition(":")[2]), timeout_s=5))
    assert list(await link.unit(7).read(Table.INPUT, 52, 2)) == [0x422A, 0]
    await link.close()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either HOST (or a serial port) or --node"),
        (("h", "--node", "x"), "give either HOST (or a serial port) or --node"),
        (("h", "--range", "x"), "--range: must be like holding:40000-40099"),
        (("h", "--range", "input:0x"), "--range: must be like holding:40000-40099"),
        (("--node", "x", "--unit", "2", "--driver", "y"), "--driver needs HOST; with --node it comes from the"),
        (("h", "--profile-dir", "/nowhere"), "--profile-dir: /nowhere does not exist"),
        (("h", "--profile-dir", "/etc/passwd"), "--profile-dir: /etc/passwd is not a directory"),
        (("h:502",), "(found 'h:502'); set the port with --port"),
        (("h", "--unit", "300"), "--unit: must be 0..255 (found 300)"),
        (("10.0.0.0/30",), "must be one host or serial port"),
        (("h", "--port", "0"), "--port: must be 1..65535 (found 0)"),
    ],
)
def test_wrong_options_are_usage_errors(arguments: tuple[str, ...], message: str) -> None:
    result = call_inside("dump", *arguments)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    "option",
    [
        ("--driver", "sunspec"),
        ("--port", "502"),
        ("--unit", "1"),
        ("--timeout", "1"),
        ("--baudrate", "9600"),
        ("--parity", "N"),
        ("--transport", "tcp"),
    ],
    ids=lambda option: option[0],
)
def test_an_option_of_a_host_is_refused_with_a_node(option: tuple[str, str]) -> None:
    result = call_inside("dump", "--node", "x", *option)
    assert (result.returncode, result.stderr) == (
        2,
        f"telemetry-agent: {option[0]} needs HOST; with --node it comes from the configuration\n",
    )


def test_an_unknown_driver_is_guessed() -> None:
    result = call_inside("dump", "127.0.0.1", "--driver", "eastron-sdm360")
    assert result.returncode == 1
    assert result.stderr == "telemetry-agent: no such driver 'eastron-sdm360'; did you mean 'eastron-sdm630'?\n"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SDM630", "'eastron-sdm630'"),
        ("Eastron SDM 630", "'eastron-sdm630'"),
        ("Plenticore", "'kostal-plenticore' or 'kostal-plenticore-inverter' or 'kostal-sunspec'"),
        ("luna2000", "'huawei-sun2000'"),
        ("fluxcapacitor", None),
        ("???", None),
    ],
)
def test_a_driver_is_found_by_what_stands_on_the_device(name: str, meant: str | None) -> None:
    hint = f"did you mean {meant}" if meant else "`telemetry-agent drivers` lists them"
    assert call_inside("drivers", "show", name).stderr.startswith(f"telemetry-agent: no such driver {name!r}; {hint}")


def test_a_site_s_own_profiles_are_where_its_configuration_says(tmp_path: Path) -> None:
    own = tmp_path / "profiles"
    own.mkdir()
    acme(own).rename(own / "acme-own.toml")
    file = tmp_path / "site.toml"
    file.write_text(f'site = 1\n[drivers]\nprofile_dirs = ["{own}"]\n')
    assert "acme-own" in call_inside("drivers", "--config", file).stdout
    assert call_inside("drivers", "show", "acme-own", "--config", file).returncode == 0
    assert call_inside("drivers", "show", "acme-own").returncode == 1
    missing = call_inside("drivers", "--config", tmp_path / "none.toml")
    assert (missing.returncode, "no such file" in missing.stderr) == (78, True)


async def test_what_a_device_refuses_or_does_not_answer_has_a_next_step() -> None:
    async with FaultServer({(1, Table.HOLDING): {0: 1}}) as server:
        place = ("127.0.0.1", "--port", str(server.port))
        refused = await to_thread(call_inside, "dump", *place, "--range", "input:0x10-0x12")
        silent = await to_thread(call_inside, "dump", *place, "--unit", "9", "--timeout", "0.1", "--range", "input:0")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["refused"] == ["input 16-18"]
    assert "refuses all of these registers" in refused.stderr
    assert f"; is the unit id correct? `telemetry-agent scan 127.0.0.1 --port {server.port} --units" in silent.stderr


def words(content: dict[str, Any], table: str) -> dict[int, int]:
    runs = content["registers"][table].items()
    return {address: word for first, run in runs for address, word in enumerate(run, int(first))}


def acme(folder: Path, text: str = PROFILE) -> Path:
    path = folder / "acme-x1.toml"
    path.write_text(text)
    return path


def dump_file(folder: Path, **changes: object) -> Path:
    path = folder / "dump.json"
    registers = {"input": {"0": list(sdm630(42.5, 1, 2).values())}}
    path.write_text(json.dumps({"registers": registers, **changes}))
    return path


def test_check_shows_what_a_profile_makes_of_a_dump(tmp_path: Path) -> None:
    result = call_inside("drivers", "check", acme(tmp_path), "--against", dump_file(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "active_power\t42.5\tW\tinput 52\t\n" in result.stdout
    assert "voltage.l1\t231.5\tV\tinput 0\t\n" in result.stdout


@pytest.mark.parametrize(
    ("profile", "dump", "remark"),
    [
        (PROFILE.replace('"float32"', '"float32"\nword_order = "little"', 1), {}, "active_power\t0\tW"),
        (PROFILE.replace("address = 0", "address = 4000"), {}, "not in the dump"),
        (PROFILE.replace("address = 0", "address = 2"), {}, "voltage.l1\t0"),
        (PROFILE, {"expected": {"active_power": 41}}, "expected 41"),
    ],
)
def test_check_doubts_what_cannot_be(tmp_path: Path, profile: str, dump: dict[str, object], remark: str) -> None:
    result = call_inside("drivers", "check", acme(tmp_path, profile), "--against", dump_file(tmp_path, **dump))
    assert remark in result.stdout, result.stderr
    if "\t0" not in remark:
        assert result.returncode == 1
        assert "values are in doubt" in result.stderr


def test_check_says_what_stays_empty(tmp_path: Path) -> None:
    result = call_inside("drivers", "check", acme(tmp_path))
    assert result.returncode == 0
    assert "2 points in 2 requests" in result.stdout
    assert "meter: has no imported_energy" in result.stderr
    assert "has no [identify]" in result.stderr


def test_a_wrong_profile_is_named_by_file_point_rule_and_value(tmp_path: Path) -> None:
    path = acme(tmp_path, PROFILE.replace('"float32"', '"float33"', 1))
    result = call_inside("drivers", "check", path)
    assert result.returncode == 78
    assert f"{path}: point[0] active_power: type: must be one of" in result.stderr
    assert "(found 'float33')" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_dump_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "dump.json").write_text("{}")
    result = call_inside("drivers", "check", acme(tmp_path), "--against", tmp_path / "dump.json")
    assert result.returncode == 1
    assert "must be an object with" in result.stderr


def test_drivers_says_what_is_a_sites_own_and_what_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "own-meter.toml").write_text(PROFILE)
    (tmp_path / "eastron-sdm630.toml").write_text(PROFILE)
    result = call_inside("drivers", "--profile-dir", tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"Acme X1 ({tmp_path / 'own-meter.toml'})" in result.stdout
    assert f"Acme X1 ({tmp_path / 'eastron-sdm630.toml'}, replaces the built-in profile)" in result.stdout
    assert "grid, solar, storage\tsunspec\tby discovery" in result.stdout
    assert "any (meter)\teastron-sdm120\tconfirmed\t" in result.stdout


def test_drivers_names_the_profiles_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("x = 1")
    result = call_inside("drivers", "--profile-dir", tmp_path)
    assert result.returncode == 78
    assert str(tmp_path / "bad.toml") in result.stderr
    assert "eastron-sdm630" in result.stdout


def test_check_tells_of_a_profile_that_replaces_a_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "eastron-sdm630.toml").write_text(PROFILE)
    table = '[[device]]\nnode_id = "m"\ntype = "grid"\ndriver = "eastron-sdm630"\nhost = "127.0.0.1"\n'
    path = configuration(tmp_path, "http://127.0.0.1:1/", f'[drivers]\nprofile_dirs = ["{tmp_path}"]\n{table}')
    result = call_inside("check", "--config", path)
    assert result.returncode == 0, result.stderr
    notice = f"notice: {tmp_path / 'eastron-sdm630.toml'} is used instead of the built-in profile eastron-sdm630"
    assert notice in result.stdout.splitlines()


def test_a_channel_and_a_discovered_family_can_be_shown() -> None:
    first = call_inside("drivers", "show", "waveshare-relay")
    third = call_inside("drivers", "show", "waveshare-relay:3")
    assert "on\t\tcoil\t0\t" in first.stdout
    assert "on\t\tcoil\t2\t" in third.stdout
    assert "read by driver sunspec" in call_inside("drivers", "show", "solaredge-sunspec").stdout
    assert "sunspec-meter:2: discovers" in call_inside("drivers", "show", "sunspec-meter:2").stdout
    for missing in ("waveshare-relay:99", "sunspec-meter:99"):
        assert call_inside("drivers", "show", missing).returncode == 78


def test_drivers_are_found_by_maker_and_model_in_any_order_and_case() -> None:
    def found(text: str) -> list[str]:
        result = call_inside("drivers", "--search", text)
        assert result.returncode == 0, result.stderr
        return [line.split("\t")[1] for line in result.stdout.splitlines()]

    assert found("kaco") == ["kaco-sunspec"]
    assert "read by driver sunspec" in call_inside("drivers", "--search", "KACO").stdout
    assert "luxpower-hybrid" in found("eg4")
    assert found("630 sdm eastron") == ["eastron-sdm630"]
    assert "sunspec-meter" in found("second meter")
    assert "sunspec-meter" in found("meter SECOND sunspec")
    assert "solaredge" in found("SolarEdge, batteries")
    nothing = call_inside("drivers", "--search", "nothing-like-this")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no driver matches 'nothing-like-this'" in nothing.stderr
