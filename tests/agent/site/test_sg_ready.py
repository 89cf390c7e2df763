"""SG-ready heat pumps: two contacts on a hand-written board, and what the endpoint gets in each of the four states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.commissioning.describe import describe
from agent.commissioning.read_once import read_site
from agent.config.loader import parse
from agent.config.model import Config
from agent.site.builder import build
from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.site import Endpoint, agent, device
from tests.support.site import configuration as line_configuration

NOMINAL_W = 2400

BLOCKED, NORMAL, RECOMMENDED, FORCED = (1, 0), (0, 0), (0, 1), (1, 1)
KNOWN: dict[tuple[int, int], dict[str, Any]] = {
    BLOCKED: {"active_power_W": 0, "operation_modes": ["off"]},
    NORMAL: {},
    RECOMMENDED: {},
    FORCED: {"active_power_W": NOMINAL_W, "operation_modes": ["on"]},
}
TABLES = {"sg-ready-relay": Table.COIL, "sg-ready-contact": Table.DISCRETE}


def configuration(folder: Path, host: str, port: int, **drivers: str) -> Config:
    """`drivers` by node id."""
    where = {"type": "heat_pump", "host": host, "port": port, "nominal_power_W": NOMINAL_W}
    devices = [{"node_id": node_id, "driver": driver, **where} for node_id, driver in drivers.items()]
    content = {
        "site": {"node_id": "SITE"},
        "push": {"url": "http://127.0.0.1:9/", "token": "t"},
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "drivers": {"profile_dirs": [str(folder)]},
        "device": devices,
    }
    return parse(content, {}, "config.toml")


async def pushed(folder: Path, board: FaultServer, **drivers: str) -> dict[str, Any]:
    """The device types as they would be pushed."""
    config = configuration(folder, board.host, board.port, **drivers)
    result = await read_site(config, build(config, "config.toml"))
    assert not result.failed
    return dict(json.loads(result.bodies["default"][0]))


@pytest.mark.parametrize("driver", TABLES)
@pytest.mark.parametrize("contacts", KNOWN)
async def test_mode_and_power_are_those_of_the_state(tmp_path: Path, driver: str, contacts: tuple[int, int]) -> None:
    async with FaultServer({(1, TABLES[driver]): dict(enumerate(contacts))}) as board:
        message = await pushed(tmp_path, board, heating=driver)
    assert message["heat_pump"] == KNOWN[contacts]
    assert [seen.count for seen in board.requests] == [2], "both contacts are of one moment"


def test_check_says_that_its_mode_is_not_always_known(tmp_path: Path) -> None:
    config = configuration(tmp_path, heating="sg-ready-relay", boiler="relay", host="192.0.2.1", port=502)
    lines = dict(line.split(": ", 1) for line in describe(config, build(config, "config.toml")))
    unknown = "while its contacts do not say whether it runs, operation mode and power (nominal_power_W) are omitted"
    assert lines["heating"].endswith(f"; {unknown}")
    assert "omitted" not in lines["boiler"]


async def test_two_heat_pumps_on_one_board(tmp_path: Path) -> None:
    """Contacts 1 and 2, and 5 and 6; the power of both waits for both to be known."""
    coils = dict.fromkeys(range(8), 0)
    drivers = {"house": "sg-ready-relay", "flat": "sg-ready-relay:5"}
    async with FaultServer({(1, Table.COIL): coils}) as board:
        coils.update({0: 1, 1: 1, 4: 1, 5: 0})
        both = await pushed(tmp_path, board, **drivers)
        coils.update({4: 0})
        one = await pushed(tmp_path, board, **drivers)
    assert both["heat_pump"] == {"active_power_W": NOMINAL_W, "operation_modes": ["on", "off"]}
    assert one["heat_pump"] == {"operation_modes": ["on"]}


async def test_a_site_may_take_a_recommendation_for_on(tmp_path: Path) -> None:
    """By a copy of the profile, as its comment says."""
    built_in = Path(__file__).parents[3] / "drivers" / "profiles" / "sg-ready-relay.toml"
    text = built_in.read_text(encoding="utf-8")
    own = text.replace('"3" = "on" }', '"2" = "on", "3" = "on" }').replace("invalid = [0, 2]", "invalid = [0]")
    (tmp_path / "own-sg-ready.toml").write_text(own, encoding="utf-8")
    async with FaultServer({(1, Table.COIL): dict(enumerate(RECOMMENDED))}) as board:
        message = await pushed(tmp_path, board, heating="own-sg-ready")
    assert message["heat_pump"] == KNOWN[FORCED]


async def test_the_daemon_follows_the_contacts(tmp_path: Path) -> None:
    """At once: what was known a second ago is not sent, though it is younger than `stale_after_s`."""
    coils = dict(enumerate(FORCED))
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.COIL): coils}) as board:
            heat_pump = device("heating", "heat_pump", board, "sg-ready-relay") + f"nominal_power_W = {NOMINAL_W}"
            config = line_configuration(tmp_path, endpoint.url, heat_pump)
            config.write_text(config.read_text().replace("stale_after_s = 1", "stale_after_s = 60"))
            async with agent(config):
                for contacts in (FORCED, NORMAL, BLOCKED):
                    coils.update(enumerate(contacts))
                    seen = len(endpoint.messages)
                    # The first one may be of a moment before.
                    await endpoint.wait_for(seen + 2)
                    assert endpoint.messages[seen + 1]["heat_pump"] == KNOWN[contacts]
