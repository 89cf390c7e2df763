"""The commands with several endpoints: what each receives, one push to each, and the queue of each."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.outbox import Outbox
from drivers.model import Table
from tests.faults.http import HttpFaults, answer
from tests.faults.modbus import FaultServer
from tests.support.in_process import Done, call_inside
from tests.support.site import device, sdm630
from tests.support.terminal import on_a_terminal

PORTAL = 'name = "portal"\nurl = "https://portal.example.org/"\ntoken = "one"\n'
TRADER = 'name = "trader"\nurl = "https://trader.example.org/"\ntoken = "two"\ninterval_s = 5\nlevels = ["device"]\n'
SHARED = (
    "endpoint trader has the token of endpoint portal; each endpoint should have its own token, because whoever"
    " has a token can send in the name of the site"
)
DEVICES = """
[[device]]
node_id = "meter-1"
type = "grid"
driver = "eastron-sdm630"
host = "127.0.0.1"
[[device]]
node_id = "pv-meter"
type = "solar"
driver = "eastron-sdm630"
host = "127.0.0.2"
[[device]]
node_id = "pv-1"
type = "solar"
driver = "eastron-sdm630"
host = "127.0.0.3"
within = "pv-meter"
"""


@pytest.fixture(autouse=True)
def _no_variable_for_a_single_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEMETRY_AGENT__PUSH__WAIT_FOR_CLOCK_S", raising=False)


def written(folder: Path, *pushes: str, devices: str = DEVICES) -> Path:
    file = folder / "config.toml"
    tables = "".join(f"[[push]]\n{push}\n" for push in pushes)
    file.write_text(
        f'[site]\nnode_id = "SITE_1"\ntimezone = "UTC"\n{tables}\n[outbox]\npath = "{folder}/outbox.sqlite3"\n{devices}'
    )
    file.chmod(0o600)
    return file


def checked(file: Path) -> list[str]:
    done = call_inside("check", "--config", file)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def warnings(file: Path) -> list[str]:
    return [line.removeprefix("warning: ") for line in checked(file) if line.startswith("warning: ")]


def test_check_says_what_each_endpoint_receives(tmp_path: Path) -> None:
    trader = (
        TRADER + 'nodes = ["pv-*"]\nexclude_nodes = ["pv-1"]\nnode_ids = { pv-meter = "pv" }\n[push.sign]\nsolar = -1\n'
    )
    file = written(tmp_path, PORTAL, trader, 'name = "old"\nurl = "https://x.test"\nenabled = false')
    lines = checked(file)
    assert lines[:4] == [
        "site SITE_1: 2 endpoints",
        "endpoint portal: totals by device type of all devices to https://portal.example.org/ every 60 s",
        "endpoint trader: single devices of pv-meter to https://trader.example.org/ every 5 s; sends pv-meter as pv",
        "endpoint old: not enabled; its queue is kept",
    ]
    assert "; to portal: production is sent as positive, own consumption as negative; " in lines[5]
    assert "; to trader: own consumption is sent as positive, production as negative (push.sign.solar = -1)" in lines[5]
    assert warnings(file) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            'nodes = ["pv-*"]',
            ["endpoint trader: its grid is empty, because meter-1 is not chosen"],
        ),
        (
            'exclude_nodes = ["pv-meter"]',
            ["endpoint trader: its solar is the sum of pv-1, because the meter pv-meter is not chosen"],
        ),
        (
            'nodes = ["meter-*", "pv-*", "bat-*"]',
            ["endpoint trader: nodes has 'bat-*', but no enabled device has such a node"],
        ),
        (
            'exclude_nodes = ["*"]',
            ["endpoint trader: no device is sent, so the endpoint gets no values"],
        ),
        (
            'token_file = "{folder}/token"',
            [SHARED],
        ),
    ],
)
def test_check_warns_of_a_selection_or_token_that_is_probably_wrong(
    tmp_path: Path, keys: str, expected: list[str]
) -> None:
    (tmp_path / "token").write_text("one\n")
    (tmp_path / "token").chmod(0o600)
    trader = TRADER.replace('["device"]', '["device_type"]')
    if "token_file" in keys:
        trader = trader.replace('token = "two"\n', "")
    assert warnings(written(tmp_path, PORTAL, trader + keys.format(folder=tmp_path))) == expected


def test_check_says_to_whom_a_node_behind_a_meter_is_added(tmp_path: Path) -> None:
    for trader, expected in (("", True), ('exclude_nodes = ["pv-meter"]\n', False)):
        line = next(each for each in checked(written(tmp_path, PORTAL, TRADER + trader)) if each.startswith("pv-1: "))
        assert line.endswith("; not added to the total, because it is behind pv-meter") is expected
        assert line.endswith("because it is behind pv-meter; but added in the messages to trader") is not expected


def test_check_of_a_single_endpoint_is_as_before(tmp_path: Path) -> None:
    file = written(tmp_path, 'url = "https://portal.example.org/"\ntoken = "one"\n')
    file.write_text(file.read_text().replace("[[push]]", "[push]"))
    assert checked(file)[0] == "site SITE_1: device_type to https://portal.example.org/ every 60 s"


def stored(path: Path, *bodies: bytes) -> None:
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8)
    outbox.put(list(bodies))
    outbox.close()


def listed(file: Path, *options: str) -> Any:
    done = call_inside("outbox", "--config", file, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_queue_of_each_endpoint_and_of_a_removed_one(tmp_path: Path) -> None:
    file = written(tmp_path, PORTAL, TRADER)
    stored(tmp_path / "outbox.sqlite3", b"1")
    stored(tmp_path / "outbox.trader.sqlite3", b"2", b"3")
    stored(tmp_path / "outbox.gone.sqlite3", b"4")
    assert [(each["endpoint"], each["configured"], each["waiting"]) for each in listed(file)] == [
        ("portal", True, 1),
        ("trader", True, 2),
        ("gone", False, 1),
    ]
    assert listed(file, "--endpoint", "trader")["waiting"] == 2
    several = call_inside("outbox", "--config", file, "drop", "--waiting")
    assert (several.returncode, several.stderr) == (
        2,
        "telemetry-agent: there are several queues; choose one with --endpoint: portal, trader, gone\n",
    )
    wrong = call_inside("outbox", "--config", file, "--endpoint", "trade")
    assert (wrong.returncode, "did you mean 'trader'?" in wrong.stderr) == (2, True)
    dropped = call_inside("outbox", "--config", file, "drop", "--waiting", "--endpoint", "gone")
    assert dropped.stdout == "1 dropped\n"
    assert not list(tmp_path.glob("outbox.gone*"))
    assert [each["endpoint"] for each in listed(file)] == ["portal", "trader"]
    assert call_inside("outbox", "--config", file, "drop", "--waiting", "--endpoint", "trader").stdout == "2 dropped\n"
    assert (tmp_path / "outbox.trader.sqlite3").exists()


def test_the_suggested_command_also_deletes_the_messages_that_wait_for_the_clock(tmp_path: Path) -> None:
    file = written(tmp_path, PORTAL)
    outbox = Outbox.open(tmp_path / "outbox.gone.sqlite3", max_age_s=1e9, max_size_mb=8)
    outbox.put([b"1"])
    outbox.put([b"2", b"3"], boot="earlier", mono=5.0)
    outbox.close()
    assert listed(file, "--endpoint", "gone")["undated"] == 2
    dropped = call_inside("outbox", "--config", file, "drop", "--waiting", "--endpoint", "gone")
    assert dropped.stdout == "3 dropped\n"
    assert not list(tmp_path.glob("outbox.gone*"))


@pytest.mark.parametrize(
    ("waiting", "parked", "options"),
    [(1, 0, ["--waiting"]), (0, 1, ["--all"]), (1, 1, ["--waiting", "--all"])],
)
def test_the_queue_of_a_removed_endpoint_is_empty_after_the_suggested_commands(
    tmp_path: Path, waiting: int, parked: int, options: list[str]
) -> None:
    file = written(tmp_path, PORTAL)
    outbox = Outbox.open(tmp_path / "outbox.gone.sqlite3", max_age_s=1e9, max_size_mb=8)
    outbox.put([b"1"] * (waiting + parked))
    for record in outbox.live()[:parked]:
        outbox.update(replace(record, parked="HTTP 422: no"))
    outbox.close()
    status, shown = on_a_terminal(200, 24, "outbox", "--config", str(file), "--endpoint", "gone")
    assert status == 0, shown
    shown = " ".join(shown.split())
    suggested = re.findall(r"`telemetry-agent outbox (drop (\S+) --endpoint gone)`", shown)
    assert [option for _, option in suggested] == options
    for arguments, _ in suggested:
        assert call_inside("outbox", "--config", file, *arguments.split()).stdout == "1 dropped\n"
    assert not list(tmp_path.glob("outbox.gone*"))


async def test_one_push_to_each_endpoint_and_the_bodies_of_one(tmp_path: Path) -> None:
    async with (
        FaultServer({(1, Table.INPUT): sdm630(500.0, 1.0, 0.0)}) as meter,
        HttpFaults(answer(503)) as portal,
        HttpFaults(answer(200)) as trader,
    ):
        file = written(
            tmp_path,
            f'name = "portal"\nurl = "{portal.url()}"\ntoken = "one"\n',
            f'name = "trader"\nurl = "{trader.url()}"\ntoken = "two"\nlevels = ["device"]\nsite_node_id = "theirs"\n',
            devices=device("meter-1", "grid", meter),
        )

        async def call(*arguments: str) -> Done:
            return await asyncio.to_thread(call_inside, *arguments, "--config", str(file))

        both = await call("push", "--once")
        one = await call("push", "--once", "--endpoint", "trader")
        bodies = await call("read", "--json", "--endpoint", "trader")
        undecided = await call("read", "--json")
        unknown = await call("push", "--once", "--endpoint", "x")
    assert both.returncode == 1
    assert both.stderr.startswith("portal: not delivered: HTTP 503")
    assert both.stdout.startswith("trader: delivered: HTTP 200")
    assert one.returncode == 0
    assert len(portal.accepted) == 1
    sent = json.loads(trader.accepted[0].body)
    assert (sent["siteNodeId"], sent["nodeId"]) == ("theirs", "meter-1")
    assert trader.accepted[0].headers["authorization"] == "Bearer two"
    assert json.loads(bodies.stdout)["siteNodeId"] == "theirs"
    assert undecided.stderr == (
        "telemetry-agent: there are several endpoints; choose one with --endpoint: portal, trader\n"
    )
    assert "no enabled endpoint is named 'x'; there are portal, trader" in unknown.stderr
    assert (undecided.returncode, unknown.returncode) == (2, 2)
