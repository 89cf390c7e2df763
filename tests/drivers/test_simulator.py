from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.model import NodeType
from drivers.physics import Site
from drivers.simulator import SimulatedSite


@given(st.integers(0, 10_000), st.lists(st.floats(0.1, 4000), min_size=1, max_size=15))
def test_kirchhoff_and_counters_hold_on_any_day(seed: int, steps: list[float]) -> None:
    site = Site(seed=seed)
    for step in steps:
        before = {id(plant): plant.positive - plant.negative for plant in site.plants}
        site.advance(step)
        loads = sum(plant.power for plant in site.loads)
        solar = sum(plant.power for plant in site.solar)
        assert site.grid.power == pytest.approx(loads + site.battery.power - solar)
        assert -1e-6 <= site.stored_Wh <= site.capacity_Wh + 1e-6
        grown = {id(plant): plant.positive - plant.negative - before[id(plant)] for plant in site.plants}
        assert grown[id(site.grid)] == pytest.approx(
            sum(grown[id(plant)] for plant in (*site.loads, site.battery))
            - sum(grown[id(plant)] for plant in site.solar),
            abs=1e-3,
        )


async def exchange(port: int, frame: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(bytes.fromhex(frame))
    head = await reader.readexactly(6)
    reply = await reader.readexactly(int.from_bytes(head[4:6], "big"))
    writer.close()
    await writer.wait_closed()
    return reply


async def test_devices_answer_by_hand_made_frames() -> None:
    site = Site(seed=3, speed=0.0)
    async with SimulatedSite(site) as running:
        ports = {device.node_id: device.port for device in running.devices}
        assert {device.type for device in running.devices} == set(NodeType)
        power = await exchange(ports["meter-1"], "000100000006 01 04 0034 0002")
        assert struct.unpack(">f", power[3:])[0] == pytest.approx(site.grid.power, rel=1e-6)
        marker = await exchange(ports["pv-south"], "000100000006 01 03 9C40 0002")
        assert marker[3:] == b"SunS"
        assert await exchange(ports["meter-1"], "000100000006 01 04 7000 0002") == bytes.fromhex("018402")
        assert await exchange(ports["meter-1"], "000100000006 01 06 0001 0002") == bytes.fromhex("018601")
