"""A site in a laboratory: meter, SunSpec inverter, hybrid, relay board and charger behind one gateway."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from agent.domain import QUANTITIES
from drivers.model import Phase, Quantity, Value
from drivers.profile import load, profile_files
from drivers.simulator import ModbusServer
from drivers.simulator.modbus_server import SimulatedUnit
from drivers.simulator.register_image import Key, Values, profile_unit
from drivers.simulator.sunspec_units import battery_model, inverter_model, sunspec_unit


def _three_phases(power_W: float, **counters_Wh: float) -> Values:
    totals = {Quantity.ACTIVE_POWER: power_W, Quantity.CURRENT: abs(power_W) / 230}
    values: dict[Key, Value] = {(None, quantity, None): value for quantity, value in totals.items()}
    for phase in Phase:
        values |= {(None, quantity, phase): value / 3 for quantity, value in totals.items()}
        values[None, Quantity.VOLTAGE, phase] = 230.0
    return values | {(None, QUANTITIES[f"{name}_energy_Wh"], None): value for name, value in counters_Wh.items()}


def units() -> list[SimulatedUnit]:
    """Return the devices: units 1 to 5."""

    def by_profile(name: str, values: Values, unit_id: int) -> SimulatedUnit:
        return profile_unit(load(profile_files()[name]), lambda: values, unit_id)

    meter = _three_phases(-4000.0, imported=1_200_000.0, exported=3_400_000.0)
    charger = _three_phases(3000.0, consumed=500_000.0)
    return [
        by_profile("eastron-sdm630", meter, 1),
        sunspec_unit("roof", lambda: [inverter_model(6000.0, 9_000_000.0, 230.0)], 2),
        sunspec_unit(
            "hybrid", lambda: [inverter_model(2500.0, 4_000_000.0, 230.0), battery_model(500.0, 61.0, 10_000.0)], 3
        ),
        by_profile("relay", {(None, Quantity.ON, None): True}, 4),
        by_profile("peblar", charger, 5),
    ]


@contextlib.contextmanager
def lab() -> Iterator[int]:
    """Serve the laboratory and yield its port. Commands of the same process can use it: it runs in a thread."""
    started = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = ModbusServer(units(), "127.0.0.1")
        await server.start()
        ports.append(server.port)
        started.set()
        await stop.wait()
        await server.stop()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(30)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
