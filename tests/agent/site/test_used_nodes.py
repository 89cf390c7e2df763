"""A hybrid of which the site uses one node: the others are neither asked for nor shown."""

from __future__ import annotations

import time
import tomllib

import pytest

from agent.commissioning.describe import describe
from agent.config import parse
from agent.site import Site, build
from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.model import NodeType, Table
from tests.faults.modbus import FaultServer
from tests.faults.sunspec import common, device, inverter, meter
from tests.support.profiles import PROFILES

SITE = """
[site]
node_id = "site"
timezone = "Europe/Brussels"
[push]
url = "https://integrator.example.org/x"
token = "secret"
"""


def site_of(devices: str) -> tuple[Site, list[str]]:
    config = parse(tomllib.loads(SITE + devices), {}, "site.toml")
    site = build(config, "site.toml")
    return site, [line for line in describe(config, site) if line.startswith("notice: ")]


def hybrid(nodes: str, driver: str = "huawei-sun2000", unit: int = 1) -> str:
    return f'[[device]]\ndriver = "{driver}"\nhost = "192.0.2.1"\nunit_id = {unit}\n{nodes}\n'


async def test_only_the_registers_of_used_nodes_are_read() -> None:
    registers = {(1, Table.HOLDING): dict.fromkeys(range(30_000, 48_000), 1)}
    for nodes, low, high in (({NodeType.SOLAR}, 32_000, 33_000), ({NodeType.STORAGE}, 37_000, 37_800)):
        async with FaultServer(registers) as server:
            link = Link(server.link())
            options = ReadOptions(nodes=frozenset(nodes))
            scan = await Catalogue().create("huawei-sun2000", options).poll(link.unit(1), time.monotonic)
            await link.close()
        assert {reading.node for reading in scan.readings} == nodes
        values = [seen for seen in server.requests if seen.address != 30_073]  # the rated power
        assert values
        assert all(low <= seen.address < high for seen in values)


@pytest.mark.parametrize("nodes", [{NodeType.SOLAR}, {NodeType.GRID}, {NodeType.SOLAR, NodeType.GRID}])
async def test_a_sunspec_device_gives_used_nodes_alone(nodes: set[NodeType]) -> None:
    words = device(common(), inverter(W=4321, W_SF=0), meter(W=-500, W_SF=0))
    async with FaultServer({(1, Table.HOLDING): words}) as server:
        link = Link(server.link())
        driver = Catalogue().create("sunspec", ReadOptions(nodes=frozenset(nodes)))
        for _ in range(2):
            scan = await driver.poll(link.unit(1), time.monotonic)
            assert {reading.node for reading in scan.readings} == nodes
        await link.close()


def test_the_configuration_says_which_nodes_are_used() -> None:
    site, notices = site_of(hybrid('nodes = { solar = "pv-1" }'))
    (only,) = site.devices
    blocks = only.driver.blocks  # type: ignore[attr-defined]
    assert all(32_000 <= block.address < 33_000 for block in blocks)
    assert notices == ["notice: pv-1: grid and storage of this device are not polled; add them to nodes to poll them"]


def test_nodes_in_two_tables_are_read() -> None:
    parts = 'nodes = { solar = "pv-1" }', 'nodes = { grid = "meter-1", storage = "battery-1" }'
    assert site_of("".join(map(hybrid, parts)))[1] == []
    of_two = hybrid(parts[0]) + hybrid(parts[1], unit=2)
    assert [line.split(":")[1].strip() for line in site_of(of_two)[1]] == ["pv-1", "meter-1 + battery-1"]


def test_what_a_profile_notes_is_said() -> None:
    _, notices = site_of(hybrid('node_id = "hp-1"\ntype = "heat_pump"', "lambda-eureka"))
    assert notices == [f"notice: hp-1: {' '.join(PROFILES['lambda-eureka'].notes[0].split())}"]
    assert 'set word_order = "big" for older firmware' in notices[0]


async def test_no_read_of_a_device_is_longer_than_its_limit() -> None:
    """Discovery and what tells variants apart included."""
    words = device(common(), inverter(W=4321, W_SF=0))
    async with FaultServer({(1, Table.HOLDING): words}) as server:
        server.faults.max_registers = 8
        link = Link(server.link())
        driver = Catalogue().create("sunspec", ReadOptions(max_registers=8))
        scan = await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    assert any(reading.value == 4321 for reading in scan.readings)
    assert max(seen.count for seen in server.requests) <= 8
    async with FaultServer({(1, Table.HOLDING): dict.fromkeys(range(30_000, 40_000), 1)}) as server:
        link = Link(server.link())
        driver = Catalogue().create("foxess-h3-smart", ReadOptions(max_registers=2))
        await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    assert max(seen.count for seen in server.requests) <= 2
