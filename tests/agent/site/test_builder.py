"""A configuration → links, devices and nodes; read once from devices on real sockets where values matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.commissioning.read_once import read_site
from agent.config.errors import ConfigError
from agent.config.loader import parse
from agent.config.model import Config
from agent.site.builder import Site, build
from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.faults.sunspec import common, device, inverter, meter, words

PROFILE = """
manufacturer = "Acme"
models = ["One"]
kind = "meter"
source = "this test"
[defaults]
{defaults}
[[point]]
quantity = "active_power"
table = "holding"
address = 0
type = "int16"
"""


def config(folder: Path, devices: list[dict[str, Any]], **tables: Any) -> Config:
    content = {
        "site": {"node_id": "SITE"},
        "push": {"url": "http://127.0.0.1:9/", "token": "t", "levels": ["device"], "device_format": "snapshot"},
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "drivers": {"profile_dirs": [str(folder)]},
        "device": devices,
        **tables,
    }
    return parse(content, {}, "config.toml")


def site(folder: Path, devices: list[dict[str, Any]], **tables: Any) -> Site:
    return build(config(folder, devices, **tables), "config.toml")


def load(node_id: str, **keys: Any) -> dict[str, Any]:
    return {"node_id": node_id, "type": "variable_power_load", "driver": "acme", "host": "127.0.0.1"} | keys


@pytest.mark.parametrize(
    ("defaults", "keys", "address"),
    [
        ("", {}, "127.0.0.1:502 unit 1"),
        ("unit_id = 71\nport = 1502", {}, "127.0.0.1:1502 unit 71"),
        ("unit_id = 71\nport = 1502", {"unit_id": 0, "port": 502}, "127.0.0.1:502 unit 0"),
    ],
)
def test_unit_and_port_are_those_of_the_family_unless_configured(
    tmp_path: Path, defaults: str, keys: dict[str, int], address: str
) -> None:
    (tmp_path / "acme.toml").write_text(PROFILE.format(defaults=defaults))
    assert [device.address for device in site(tmp_path, [load("a", **keys)]).devices] == [address]


async def test_the_family_s_unit_is_the_one_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(PROFILE.format(defaults="unit_id = 71"))
    async with FaultServer({(71, Table.HOLDING): {0: 5}}) as server:
        found = config(tmp_path, [load("a", port=server.port)])
        result = await read_site(found, build(found, "config.toml"))
    assert not result.failed
    assert {seen.unit_id for seen in server.requests} == {71}


async def test_a_sunspec_meter_can_stand_for_a_solar_feeder_and_for_a_load(tmp_path: Path) -> None:
    registers = device(
        common(), inverter(W=999, W_SF=0), meter(W=-1234, W_SF=0, TotWhExp=words("I", 7), TotWhImp=[0, 0], TotWh_SF=0)
    )
    async with FaultServer({(unit, Table.HOLDING): registers for unit in (1, 2)}) as server:
        base = {"driver": "sunspec-meter", "host": "127.0.0.1", "port": server.port}
        found = config(
            tmp_path,
            [
                {**base, "node_id": "roof", "type": "solar"},
                {**base, "node_id": "pump", "type": "heat_pump", "unit_id": 2},
            ],
        )
        result = await read_site(found, build(found, "config.toml"))
    nodes = json.loads(result.bodies["default"][0])["nodes"]
    assert nodes["roof"]["solar"]["active_power_W"] == 1234
    assert nodes["pump"]["heat_pump"]["active_power_W"] == -1234
    assert server.max_connections == 1


async def test_two_meters_of_one_device_are_a_grid_and_a_solar_node_on_one_link(tmp_path: Path) -> None:
    """As SolarEdge has them, whose meters count export positive."""
    grid = meter(W=-300, W_SF=0, TotWhImp=words("I", 8), TotWh_SF=0)
    roof = meter(W=2500, W_SF=0, TotWhExp=words("I", 9), TotWh_SF=0)
    registers = device(common("SolarEdge"), inverter(W=999, W_SF=0), common("x"), grid, common("x"), roof)
    async with FaultServer({(1, Table.HOLDING): registers}) as server:
        base = {"host": "127.0.0.1", "port": server.port}
        found = config(
            tmp_path,
            [
                {**base, "nodes": {"grid": "house", "solar": "inverter"}, "driver": "sunspec"},
                {**base, "node_id": "roof", "type": "solar", "driver": "sunspec-meter:2"},
            ],
        )
        result = await read_site(found, build(found, "config.toml"))
    assert not result.failed
    nodes = json.loads(result.bodies["default"][0])["nodes"]
    assert nodes["house"]["grid"]["active_power_W"] == 300
    assert nodes["inverter"]["solar"]["active_power_W"] == 999
    assert nodes["roof"]["solar"]["active_power_W"] == 2500
    assert server.max_connections == 1


async def test_a_sunspec_device_without_a_meter_says_so(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.HOLDING): device(common(), inverter(W=999, W_SF=0))}) as server:
        found = config(tmp_path, [load("a", driver="sunspec-meter", port=server.port)])
        result = await read_site(found, build(found, "config.toml"))
    (_, error) = result.failed[0]
    assert str(error) == "SunSpec at 40000 offers no meter model (found: 1, 103)"


def test_a_load_behind_sunspec_is_told_of_the_meter_driver(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"device\[0\]\.type \(a\): driver 'sunspec' offers .*; the meter .* 'sunspec-meter'"
    ):
        site(tmp_path, [load("a", driver="sunspec")])


def test_one_endpoint_is_one_link_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(PROFILE.format(defaults=""))
    (tmp_path / "slow.toml").write_text(PROFILE.format(defaults="connect_delay_s = 2.0"))
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    built = site(
        tmp_path,
        [
            load("a", host="Meter.local"),
            load("b", host="meter.LOCAL", unit_id=2, driver="slow"),
            load("c", host="meter.local", port=503),
            {**load("d"), "host": None, "connection": "one"},
            {**load("e"), "host": None, "connection": "two", "unit_id": 2},
        ],
        connection={
            "one": {"transport": "rtu", "serial_port": str(tmp_path / "ttyUSB0")},
            "two": {"transport": "rtu", "serial_port": str(tmp_path / "by-id")},
        },
    )
    names = [[device.name for device in connection.devices] for connection in built.connections]
    assert names == [["a", "b"], ["c"], ["d", "e"]]


def test_what_cannot_share_a_link_is_a_mistake_that_names_both(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(PROFILE.format(defaults=""))
    with pytest.raises(ConfigError) as caught:
        site(
            tmp_path,
            [load("a", host="gateway"), {**load("b"), "host": None, "connection": "other"}],
            connection={"other": {"transport": "rtu_over_tcp", "host": "gateway", "port": 502}},
        )
    assert str(caught.value) == (
        "config.toml: device[1].host (b): gateway:502 is one link; transport is rtu_over_tcp, but tcp for device[0] (a)"
    )


def test_a_device_has_its_own_interval_or_that_of_the_site_but_a_poll_for_each_push(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(PROFILE.format(defaults=""))
    devices = [load("a"), load("b", unit_id=2, poll_interval_s=300.0)]
    push = {"url": "http://127.0.0.1:9/", "token": "t"}
    for poll_s, push_s, expected in ((5.0, 60, 5.0), (60.0, 10, 10.0)):
        built = site(tmp_path, devices, poll={"interval_s": poll_s}, push=push | {"interval_s": push_s})
        assert [device.interval_s for device in built.devices] == [expected, 300.0]
        assert [node.stale_after_s for node in built.nodes] == [None, 900.0]
    again = build(config(tmp_path, [load("a"), load("b", unit_id=2, poll_interval_s=60.0)]), "config.toml", built)
    assert [device.interval_s for device in again.devices] == [10.0, 60.0]
    assert [new.health is old.health for new, old in zip(again.devices, built.devices, strict=True)] == [True, True]
    assert again.devices[0] is built.devices[0]


def test_what_did_not_change_is_the_same_object_in_a_site_built_beside_a_running_one(tmp_path: Path) -> None:
    profile = tmp_path / "acme.toml"
    profile.write_text(PROFILE.format(defaults=""))
    devices = [load("a"), load("b", unit_id=2), load("c", host="127.0.0.2"), load("d", host="127.0.0.3")]
    before = site(tmp_path, devices)
    running = {device.name: device for device in before.devices}
    links = {device.name: line.link for line in before.connections for device in line.devices}

    changed = [load("a"), load("b", unit_id=2, push=False), load("c", host="127.0.0.2", unit_id=3), load("d")]
    after = build(config(tmp_path, changed), "config.toml", before)
    devices_after = {device.name: device for device in after.devices}
    assert after.connections[0].link is links["a"]
    assert devices_after["a"] is running["a"]
    b = devices_after["b"]
    assert b is not running["b"]
    assert b.health is running["b"].health, "what it feeds changed, not the device"
    assert b.driver is running["b"].driver
    assert not b.nodes[0].push
    assert after.connections[1].link is links["c"]
    assert devices_after["c"].health is not running["c"].health, "another unit is another device"
    assert devices_after["d"].driver is not running["d"].driver, "it moved to another link"

    profile.write_text(PROFILE.format(defaults="max_registers = 3"))
    edited = build(config(tmp_path, devices), "config.toml", before)
    assert edited.connections[0].link is links["a"]
    assert edited.devices[0].driver is not running["a"].driver, "its profile was edited"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"driver": "goodwe-dt", "node_id": "pv", "type": "solar"}, {"pv": "sleep"}),
        ({"driver": "goodwe-dt", "node_id": "pv", "type": "solar", "when_offline": "missing"}, {"pv": "missing"}),
        ({"driver": "goodwe-dt", "node_id": "pv", "type": "solar", "when_offline": "zero"}, {"pv": "zero"}),
        ({"driver": "goodwe-et", "nodes": {"solar": "pv"}}, {"pv": "missing"}),
        ({"driver": "sunspec", "node_id": "pv", "type": "solar"}, {"pv": "sleep"}),
        ({"driver": "fronius-sunspec", "nodes": {"solar": "pv", "storage": "b"}}, {"pv": "sleep", "b": "missing"}),
        ({"driver": "sunspec-meter", "node_id": "pv", "type": "solar"}, {"pv": "missing"}),
        (
            {"driver": "goodwe-et", "nodes": {"solar": "pv", "storage": "b"}, "when_offline": "sleep"},
            {"pv": "sleep", "b": "missing"},
        ),
        # A meter that is read through a sleeping inverter has no value at night, and that is not 0.
        ({"driver": "solis-string", "nodes": {"solar": "pv", "grid": "meter"}}, {"pv": "sleep", "meter": "missing"}),
    ],
)
def test_the_sun_of_a_family_that_sleeps_may_be_silent_at_night(
    tmp_path: Path, keys: dict[str, Any], expected: dict[str, str]
) -> None:
    nodes = site(tmp_path, [{"host": "127.0.0.1", **keys}]).nodes
    assert {node.node_id: node.when_offline for node in nodes} == expected


def test_channels_of_one_board_are_devices_on_one_link(tmp_path: Path) -> None:
    relays = [
        load(f"boiler-{number}", type="switched_load", driver=f"kmtronic-relay:{number}", nominal_power_W=1000)
        for number in (1, 2)
    ]
    found = site(tmp_path, relays)
    assert len(found.connections) == 1
    assert [device.driver_name for device in found.devices] == ["kmtronic-relay:1", "kmtronic-relay:2"]


def test_a_channel_that_is_not_there_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"device\[0\]\.driver \(boiler\): kmtronic-relay: the channel must be 1\."):
        site(tmp_path, [load("boiler", type="switched_load", driver="kmtronic-relay:9", nominal_power_W=1000)])


@pytest.mark.parametrize(
    ("transport", "requests"), [("tcp", 1), ("udp", 1), ("rtu_over_tcp", 2), ("ascii_over_tcp", 2)]
)
async def test_a_hole_is_read_through_where_that_is_cheaper(tmp_path: Path, transport: str, requests: int) -> None:
    """Twenty registers cost less than a request on a network, and more on the serial line behind a converter."""
    second = (
        PROFILE.format(defaults="").partition("[defaults]")[2].replace("= 0", "= 21").replace("active_power", "voltage")
    )
    (tmp_path / "acme.toml").write_text(PROFILE.format(defaults="") + second)
    async with FaultServer({(1, Table.HOLDING): dict(enumerate(range(1, 31)))}, transport=transport) as server:
        found = config(
            tmp_path,
            [{**load("a"), "host": None, "connection": "c"}],
            connection={"c": {"transport": transport, "host": "127.0.0.1", "port": server.port}},
        )
        await read_site(found, build(found, "config.toml"))
    assert len(server.requests) == requests
