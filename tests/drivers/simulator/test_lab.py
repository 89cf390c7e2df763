"""The laboratory of `simulate --lab`: the powers are those of one house, and the counters follow them."""

from __future__ import annotations

import time

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Quantity, Value
from drivers.simulator import ModbusServer, lab_devices

PATIENCE_S = 60


async def test_the_counters_follow_the_powers() -> None:
    now = [0.0]
    server = ModbusServer([device.unit for device in lab_devices(lambda: now[0])], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=PATIENCE_S))

    async def read(unit_id: int, driver: str) -> dict[Quantity, Value | None]:
        scan = await Catalogue().create(driver, ReadOptions()).poll(link.unit(unit_id), time.monotonic)
        return {each.quantity: each.value for each in scan.readings if each.phase is None}

    async def site() -> tuple[dict[Quantity, Value | None], ...]:
        return await read(1, "eastron-sdm630"), await read(2, "sunspec"), await read(5, "peblar")

    try:
        before = await site()
        now[0] = 3600.0
        after = await site()
    finally:
        await link.close()
        await server.stop()
    counters = (Quantity.EXPORTED_ENERGY, Quantity.PRODUCED_ENERGY, Quantity.CONSUMED_ENERGY)
    for one, other, counter in zip(before, after, counters, strict=True):
        first, second, power = one[counter], other[counter], other[Quantity.ACTIVE_POWER]
        assert isinstance(first, float)
        assert isinstance(second, float)
        assert isinstance(power, float)
        assert second - first == abs(power), "after an hour"
