"""Several devices in one SunSpec chain, behind one unit id."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.model import Quantity, Table
from drivers.sunspec.driver import SunSpec
from tests.faults.modbus import FaultServer

CHAIN: dict[str, list[int]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "cases" / "sunspec_two_inverters_one_chain.json").read_text()
)["registers"]["holding"]
COMMON_AND_INVERTER = 119
"""Registers of a device in this chain, without the marker."""


def chain_of(*devices: tuple[str, int]) -> dict[int, int]:
    """A chain of inverters with these serial numbers and powers."""
    words = {int(first) + offset: word for first, run in CHAIN.items() for offset, word in enumerate(run)}
    one = [words[40002 + offset] for offset in range(COMMON_AND_INVERTER)]
    made = {40000: words[40000], 40001: words[40001]}
    address = 40002
    for serial, power in devices:
        device = list(one)
        device[50] = int.from_bytes(serial.encode(), "big")
        device[81] = power
        made |= dict(enumerate(device, address))
        address += len(device)
    return made | {address: 0xFFFF, address + 1: 0}


@pytest.mark.parametrize(
    ("devices", "power"),
    [
        ([("A1", 5000)], 5000.0),
        ([("A1", 5000), ("B2", 3000)], 8000.0),
        ([("A1", 5000), ("B2", 3000), ("C3", 1000)], 9000.0),
        ([("A1", 5000), ("A1", 5000)], 5000.0),
        ([("A1", 5000), ("B2", 3000), ("A1", 5000)], 8000.0),
        ([("", 5000), ("", 3000)], 8000.0),
    ],
)
async def test_the_inverters_of_one_chain_add_up(devices: list[tuple[str, int]], power: float) -> None:
    async with FaultServer({(1, Table.HOLDING): chain_of(*devices)}) as server:
        link = Link(server.link())
        driver = SunSpec(ReadOptions())
        for _ in range(2):
            scan = await driver.poll(link.unit(1), time.monotonic)
            found = [r.value for r in scan.readings if (r.quantity, r.phase) == (Quantity.ACTIVE_POWER, None)]
            assert found == [power]
        await link.close()
