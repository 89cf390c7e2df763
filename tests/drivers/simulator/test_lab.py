"""The laboratory of `simulate --lab`: the powers are those of one house, and the counters follow them."""

from __future__ import annotations

import time

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import NodeType, Quantity, Value
from drivers.simulator import ModbusServer, lab_devices

PATIENCE_S = 60


Values = dict[tuple[NodeType | None, Quantity], Value | None]


async def test_the_counters_follow_the_powers() -> None:
    now = [0.0]
    server = ModbusServer([device.unit for device in lab_devices(lambda: now[0])], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=PATIENCE_S))

    async def read(unit_id: int, driver: str) -> Values:
        scan = await Catalogue().create(driver, ReadOptions()).poll(link.unit(unit_id), time.monotonic)
        return {(each.node, each.quantity): each.value for each in scan.readings if each.phase is None}

    async def site() -> tuple[Values, ...]:
        hybrid = await read(3, "sunspec")
        return await read(1, "eastron-sdm630"), await read(2, "sunspec"), hybrid, hybrid, await read(5, "peblar")

    try:
        before = await site()
        now[0] = 3600.0
        after = await site()
    finally:
        await link.close()
        await server.stop()
    counters = (
        (None, Quantity.EXPORTED_ENERGY),
        (NodeType.SOLAR, Quantity.PRODUCED_ENERGY),
        (NodeType.SOLAR, Quantity.PRODUCED_ENERGY),
        (NodeType.STORAGE, Quantity.CHARGED_ENERGY),
        (None, Quantity.CONSUMED_ENERGY),
    )
    for one, other, (node, counter) in zip(before, after, counters, strict=True):
        first, second, power = one[node, counter], other[node, counter], other[node, Quantity.ACTIVE_POWER]
        assert isinstance(first, float)
        assert isinstance(second, float)
        assert isinstance(power, float)
        assert second - first == abs(power), "after an hour"
    assert before[2][NodeType.STORAGE, Quantity.DISCHARGED_ENERGY] == 700_000
    assert after[2][NodeType.STORAGE, Quantity.DISCHARGED_ENERGY] == 700_000
