"""The commands as a user calls them. Those whose process is not the subject run in the process of the tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from asyncio import to_thread
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import Console

from agent.cli.main import app
from agent.commissioning.config_snippets import driver_table
from agent.commissioning.describe import _grid, number
from agent.config.loader import load
from agent.site.builder import build
from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.cases import for_each
from tests.support.in_process import Done, call_inside
from tests.support.site import configuration, device, sdm630


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


DEVICE = '[[device]]\nnode_id = "m"\ntype = "grid"\ndriver = "{driver}"\nhost = "127.0.0.1"\n'


@pytest.mark.parametrize(("command", "how"), [("run", call), ("check", call_inside), ("read", call_inside)])
def test_a_wrong_configuration_ends_with_78_and_one_line(
    tmp_path: Path, command: str, how: Callable[..., Done | subprocess.CompletedProcess[str]]
) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE.format(driver="eastron-sdm360"))
    result = how(command, "--config", path)
    assert result.returncode == 78
    assert result.stderr == (
        f"telemetry-agent: {path}: device[0].driver (m): no such driver 'eastron-sdm360'"
        "; did you mean 'eastron-sdm630'?\n"
    )


def test_check_says_what_it_understood(tmp_path: Path) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE.format(driver="eastron-sdm630"))
    result = call_inside("check", "--config", path)
    assert result.returncode == 0
    assert "m: grid by eastron-sdm630 at 127.0.0.1:502 unit 1; import is sent as positive" in result.stdout
    assert result.stdout.endswith(f"{path}: ok\n")


def test_strict_fails_with_one_line_for_each_warning(tmp_path: Path) -> None:
    sound = DEVICE.format(driver="eastron-sdm630")
    path = configuration(tmp_path, "http://127.0.0.1:1/", sound + "nominal_power_W = 2000\n")
    path.chmod(0o600)
    path.write_text(path.read_text().replace("[push]", 'timezone = "Europe/Brussels"\n[push]', 1))
    lenient = call_inside("check", "--config", path)
    assert (lenient.returncode, lenient.stderr) == (0, "")
    assert "warning: nominal_power_W of m has no effect" in lenient.stdout
    strict = call_inside("check", "--strict", "--config", path)
    assert strict.returncode == 1
    (line,) = strict.stderr.splitlines()
    assert line.startswith(f"telemetry-agent: {path}: warning: nominal_power_W of m has no effect")
    assert "ok" not in strict.stdout.splitlines()[-1]
    path.write_text(path.read_text().replace("nominal_power_W = 2000\n", ""))
    sound_result = call_inside("check", "--strict", "--config", path)
    assert (sound_result.returncode, sound_result.stderr) == (0, "")


def test_a_device_that_cannot_be_the_node_is_refused(tmp_path: Path) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE.format(driver="relay"))
    result = call_inside("check", "--config", path)
    assert result.returncode == 78
    assert "device[0].type (m): a device of kind relay cannot be grid" in result.stderr


async def test_read_shows_values_and_bodies(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(42.5, 1.0, 2.0)}) as meter:
        path = configuration(tmp_path, "http://127.0.0.1:1/", device("meter-1", "grid", meter))
        table = await to_thread(call_inside, "read", "--config", path)
        bodies = await to_thread(call_inside, "read", "--json", "--config", path)
    assert table.returncode == 0, table.stderr
    assert "meter-1\tactive_power\t42.5\tW\t" in table.stdout
    assert json.loads(bodies.stdout)["grid"]["active_power_W"] == 42.5


async def test_read_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    registers = {(1, Table.INPUT): sdm630(42.5, 1.0, 2.0)}
    async with FaultServer(registers) as slow, FaultServer(registers) as quick:
        slow.faults.latency_s = 0.1
        devices = device("slow", "grid", slow) + device("quick", "heat_pump", quick)
        path = configuration(tmp_path, "http://127.0.0.1:1/", devices)
        result = await to_thread(call_inside, "read", "--config", path)
    assert list(dict.fromkeys(line.split("\t")[0] for line in result.stdout.splitlines())) == ["slow", "quick"]


async def test_one_node_can_be_read_alone(tmp_path: Path) -> None:
    registers = {(1, Table.INPUT): sdm630(42.5, 1.0, 2.0)}
    async with FaultServer(registers) as first, FaultServer(registers) as second:
        devices = device("one", "grid", first) + device("two", "heat_pump", second)
        path = configuration(tmp_path, "http://127.0.0.1:1/", devices)
        alone = await to_thread(call_inside, "read", "--node", "two", "--config", path)
        asked = len(first.requests)
        checked = await to_thread(call_inside, "check", "--node", "two", "--config", path)
        wrong = await to_thread(call_inside, "read", "--node", "tow", "--config", path)
        bodies = await to_thread(call_inside, "read", "--node", "two", "--json", "--config", path)
    assert {line.split("\t")[0] for line in alone.stdout.splitlines()} == {"two"}
    assert asked == len(first.requests) == 0
    assert "two\teastron-sdm630\t" in checked.stdout
    assert "one\teastron-sdm630\t" not in checked.stdout
    assert wrong.stderr == "telemetry-agent: --node: no enabled node is named 'tow'; did you mean 'two'?\n"
    assert (wrong.returncode, bodies.returncode) == (2, 2)


def test_the_help_of_check_says_which_options_poll() -> None:
    shown = " ".join(call_inside("check", "--help").stdout.split())
    for option in ("--json", "--node NODE"):
        assert re.search(f"{option} [^-]*Implies --online[.]", shown), option


async def test_read_says_what_of_a_device_is_missing(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): dict.fromkeys(range(40), 0)}) as meter:
        path = configuration(tmp_path, "http://127.0.0.1:1/", device("meter-1", "grid", meter))
        result = await to_thread(call_inside, "read", "--config", path)
    assert result.returncode == 0
    assert "some values are missing: unit 1, input " in result.stderr


async def test_read_says_which_device_failed(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(42.5, 1.0, 2.0)}) as meter:
        meter.faults.silent = True
        path = configuration(tmp_path, "http://127.0.0.1:1/", device("meter-1", "grid", meter, timeout_s=1))
        result = await to_thread(call_inside, "read", "--config", path)
    assert result.returncode == 1
    assert result.stderr.startswith("telemetry-agent: meter-1 (127.0.0.1:")
    assert len(result.stderr.splitlines()) == 1


def test_demo_shows_pushes_that_arrive_and_are_valid() -> None:
    result = call("demo", "--pushes", "2")
    assert result.returncode == 0, result.stderr
    messages = [json.loads(line.split(" ", 3)[3]) for line in result.stdout.splitlines() if " valid " in line]
    groups = ("grid", "solar", "storage", "heat_pump", "switched_load", "variable_power_load")
    # Which of them is complete depends on the machine.
    assert any(all("active_power_W" in message[group] for group in groups) for message in messages)
    assert "0 refused" in result.stdout


def test_drivers_lists_shows_and_checks(tmp_path: Path) -> None:
    listed = call_inside("drivers")
    assert listed.returncode == 0
    assert "any (meter)\teastron-sdm630\tconfirmed\tEastron" in listed.stdout
    assert "sunspec" in listed.stdout
    shown = call_inside("drivers", "show", "eastron-sdm120")
    assert "imported_energy\tWh\tinput\t72" in shown.stdout
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        'manufacturer = "x"\nmodels = ["y"]\nkind = "meter"\nsource = "s"\n[[point]]\nquantity = "watts"\n'
    )
    checked = call_inside("drivers", "check", wrong)
    assert checked.returncode == 78
    assert "quantity" in checked.stderr
    assert "watts" in checked.stderr


@for_each("name", Catalogue().names())
def test_each_driver_is_shown_with_a_table_that_can_be_pasted(tmp_path: Path, name: str) -> None:
    table = driver_table(name, Catalogue().create(name, ReadOptions()))
    path = tmp_path / "config.toml"
    path.write_text(
        f'[site]\nnode_id = "S"\n[push]\nurl = "http://127.0.0.1/"\ntoken = "t"\n'
        f'[outbox]\npath = "{tmp_path}/outbox.sqlite3"\n{table}'
    )
    (built,) = build(load(path, {}), str(path)).devices
    assert built.driver_name == name


def test_the_table_of_a_driver_is_shown() -> None:
    shown = call_inside("drivers", "show", "solaredge-sunspec").stdout
    assert '\nTo use it:\n\n[[device]]\nnodes = { grid = "meter-1", solar = "pv-1", storage = "battery-1" }' in shown
    assert 'driver = "solaredge-sunspec"\nhost = "192.168.1.20"\nport = 1502\nunit_id = 1\n' in shown


def test_the_drivers_of_the_simulated_site_are_listed_only_by_a_search() -> None:
    assert "simulated" not in call_inside("drivers").stdout
    assert "simulated-inverter" in call_inside("drivers", "--search", "simulated").stdout


@pytest.mark.parametrize("command", [(), ("drivers",), ("outbox",), ("config",)])
def test_the_help_has_whole_summaries_within_80_columns(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = call_inside(*command, "--help").stdout
    assert "..." not in text.replace("[ARGS]...", "")
    assert all(len(line) <= 80 for line in text.splitlines())


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [(*path, name)]


@pytest.mark.parametrize("path", [*commands(typer.main.get_command(app))], ids=" ".join)
def test_the_help_names_values_by_words(path: tuple[str, ...]) -> None:
    text = call_inside(*path, "--help").stdout
    assert text.startswith("Usage: ")
    assert "[[ID]" not in text
    assert not re.search(r"<|\b(INTEGER|FLOAT|RANGE\b.*INTEGER|str|int)\b", text.replace("<=", "")), text


def test_completion_can_be_installed_without_a_package(tmp_path: Path) -> None:
    done = subprocess.run(
        # The library looks for the shell among the parents of the process.
        ["bash", "-c", f"{shlex.quote(sys.executable)} -m agent --show-completion; exit $?"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert done.returncode == 0
    assert "complete -o default" in done.stdout


def _plain(message: str) -> str:
    """Without what differs between the versions of the library."""
    return message.replace("'", "").replace(": ", " ").replace("WHERE...", "WHERE")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "No such command 'nonsense'; see `telemetry-agent --help`"),
        (("scan",), "Missing argument 'WHERE'; see `telemetry-agent scan --help`"),
        (("simulate", "--xyzzy"), "No such option: --xyzzy; see `telemetry-agent simulate --help`"),
        (("simulate", "--base-port", "70000"), "Invalid value for '--base-port'"),
        (("simulate", "--lab", "--dump", "x.json"), "give either --lab or --dump"),
        (("simulate", "--speed", "-1"), "Invalid value for '--speed'"),
        (("demo", "--speed", "0"), "Invalid value for '--speed'"),
        (("receive", "--token", "x", "--port", "99999"), "Invalid value for '--port'"),
        (("init", "--interval", "x"), "must be a whole number; see `telemetry-agent init --help`"),
        (("simulate", "--speed", "x"), "must be a number; see `telemetry-agent simulate --help`"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(arguments: tuple[str, ...], words: str) -> None:
    result = call(*arguments) if arguments == ("nonsense",) else call_inside(*arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("telemetry-agent: ")
    assert _plain(words) in _plain(line.replace("python -m agent", "telemetry-agent"))


@pytest.mark.parametrize("command", [("check",), ("run",), ("outbox", "drop", "--waiting")])
def test_an_empty_path_of_the_configuration_is_named(command: tuple[str, ...]) -> None:
    result = call_inside(*command, "--config", "")
    words = "--config: an empty path is the working directory, not a file; is a variable of the shell not set?"
    assert (result.returncode, result.stderr) == (78, f"telemetry-agent: {words}\n")


@pytest.mark.parametrize("lab", [(), ("--lab",)])
def test_a_simulator_whose_output_is_closed_ends_without_words(lab: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "agent", "simulate", "--base-port", "0", *lab]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = call_inside("simulate", "--base-port", str(port))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"telemetry-agent: cannot listen on 127.0.0.1, ports from {port}: ")


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE.format(driver="eastron-sdm630"))
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "agent", "check", "--config", path],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == "telemetry-agent: cannot write the output: No space left on device\n"


def test_a_configuration_that_only_root_may_read_is_not_tried_for_ever(tmp_path: Path) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE.format(driver="eastron-sdm630"))
    path.chmod(0)
    command = [sys.executable, "-m", "agent", "run", "--config", str(path)]
    if os.geteuid() == 0:  # root without its privileges, as a service has none
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78, "the status that the service is not started again with"
    assert result.stderr == (
        f"telemetry-agent: {path}: cannot be read (Permission denied); run this as root or as the user of the service\n"
    )


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("check", "site.toml"), ": put a file after its option, as in --config FILE; see `"),
        (("--config", "site.toml", "check"), "No such option: --config here: put it after the command; see `"),
        (
            ("drivers", "check", "x.toml", "--config", "site.toml"),
            "No such option: --config; this command needs no configuration; see `",
        ),
    ],
)
def test_a_misplaced_file_is_put_right(arguments: tuple[str, ...], hint: str) -> None:
    result = call_inside(*arguments)
    assert result.returncode == 2
    assert _plain(hint) in _plain(result.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_name_can_be_written_in_any_locale(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "sité"
    folder.mkdir()
    path = configuration(
        folder, "http://127.0.0.1:1/", DEVICE.format(driver="eastron-sdm630").replace('"m"', '"Zähler ☀"')
    )
    result = subprocess.run(
        [sys.executable, "-m", "agent", "check", "--config", str(path)],
        capture_output=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode("utf-8").count("Zähler ☀") == 1


def test_nobody_has_to_take_the_output(tmp_path: Path) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE.format(driver="eastron-sdm630"))
    command = f"{shlex.quote(sys.executable)} -m agent check --config {shlex.quote(str(path))} >&-"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_ends_a_command_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        table = DEVICE.format(driver="eastron-sdm630") + f"port = {silent.getsockname()[1]}\ntimeout_s = 30\n"
        path = configuration(tmp_path, "http://127.0.0.1:1/", table)
        with (
            subprocess.Popen(
                [sys.executable, "-m", "agent", "read", "--config", path], stderr=subprocess.PIPE, text=True
            ) as process,
            silent.accept()[0] as asked,
        ):
            asked.recv(1)  # it waits for the answer now
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "telemetry-agent: interrupted\n"


def test_the_name_of_a_driver_is_whole_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "carlo-gavazzi-em24-ethernet"
    grid = _grid("Drivers", ("for", "driver", "registers", "devices"))
    grid.add_row("grid, solar, storage", name, "12 of 13 confirmed", "Carlo Gavazzi EM110, EM111, EM112, ET112")
    Console(width=80).print(grid)
    assert name in capsys.readouterr().out
    assert number(False) == "false"


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0, "0"), (-0.0004, "0"), (-0.0006, "-0.001"), (230.1, "230.1"), (1e6, "1000000")]
)
def test_a_value_has_at_most_three_decimals_and_zero_has_no_sign(value: float, text: str) -> None:
    assert number(value) == text
