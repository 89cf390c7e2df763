"""docs/tutorial.md is true: its commands, with simulated devices at its addresses, print what it shows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from drivers.model import Key, Phase, Quantity
from drivers.profile import load, profile_files
from drivers.simulator import ModbusServer
from drivers.simulator.modbus_server import SimulatedUnit
from drivers.simulator.register_image import profile_unit
from drivers.simulator.sunspec_units import battery_model, inverter_model, sunspec_unit
from tests.docs.transcript import Person, blocks, free_network
from tests.support.site import TOKEN, Endpoint

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
URL = "https://telemetry.example.com/v1/sites"
PORT = 1502
VOLTAGE_V = 230.0


def meter(profile: str, power_W: float, imported_Wh: float, exported_Wh: float, unit_id: int) -> SimulatedUnit:
    values: dict[Key, float] = {
        (None, Quantity.ACTIVE_POWER, None): power_W,
        (None, Quantity.VOLTAGE, None): VOLTAGE_V,
        (None, Quantity.CURRENT, None): abs(power_W) / VOLTAGE_V,
        (None, Quantity.FREQUENCY, None): 50.0,
        (None, Quantity.IMPORTED_ENERGY, None): imported_Wh,
        (None, Quantity.EXPORTED_ENERGY, None): exported_Wh,
    }
    for phase in Phase:
        values[None, Quantity.ACTIVE_POWER, phase] = power_W / 3
        values[None, Quantity.VOLTAGE, phase] = VOLTAGE_V
        values[None, Quantity.CURRENT, phase] = abs(power_W) / 3 / VOLTAGE_V
    return profile_unit(load(profile_files()[profile]), lambda: values, unit_id)


def house() -> dict[str, list[SimulatedUnit]]:
    """Return the units by the last number of their address. The house exports 4000 W; its meter is wired reversed."""
    return {
        "40": [
            meter("eastron-sdm630", 4000.0, 3_400_000.0, 1_200_000.0, 1),
            meter("eastron-sdm120", 1500.0, 800_000.0, 0.0, 2),
        ],
        "50": [sunspec_unit("roof", lambda: [inverter_model(4000.0, 9_000_000.0, VOLTAGE_V)])],
        "60": [
            sunspec_unit(
                "hybrid",
                lambda: [inverter_model(2000.0, 4_000_000.0, VOLTAGE_V), battery_model(1000.0, 61.0, 10_000.0)],
            )
        ],
    }


@contextlib.contextmanager
def serving(network: str) -> Iterator[None]:
    """Serve the house on `network` plus the last numbers, in a thread."""
    loop = asyncio.new_event_loop()
    servers = [
        ModbusServer(units, f"{network}{number}", PORT, answers_for_absent=True) for number, units in house().items()
    ]
    for server in servers:
        loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for server in servers:
            loop.run_until_complete(server.stop())
        loop.close()


def test_the_page_shows_what_happens(tmp_path: Path) -> None:
    with free_network(PORT) as network, Endpoint() as endpoint, serving(network):
        person = Person(tmp_path, {"192.168.1.": network, URL: endpoint.url}, {"Token": TOKEN}, {"run": ""})
        with contextlib.closing(person):
            for language, text in blocks(PAGE):
                if language == "console":
                    person.console(text)
            assert "stopped" in person.stop("run")
        verdicts = [verdict for verdict, _ in endpoint.verdicts]
        assert [verdict.problems for verdict in verdicts] == [()] * len(verdicts)
        assert endpoint.messages[-1]["grid"]["active_power_W"] == -4000
