from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from agent.aggregation.aggregator import AggregationSettings, Aggregator
from agent.cli.demo import device_tables
from agent.cli.demo_view import DemoDisplay
from agent.config.loader import parse
from agent.energy.store import EnergyStore
from agent.receiver.server import Verdict
from agent.site.builder import Site, build
from drivers.model import NodeType, Quality, Quantity, Reading, Scan
from drivers.simulator.devices import demo_devices
from drivers.simulator.physics import SimulatedPlant
from tests.support.terminal import on_a_terminal


@pytest.fixture
def site() -> Site:
    devices = demo_devices(SimulatedPlant())
    for number, device in enumerate(devices):
        device.port = 5000 + number
    table = {"site": {"node_id": "S"}, "push": {"url": "http://127.0.0.1/", "token": "t"}}
    return build(parse(table | tomllib.loads(device_tables(devices, "127.0.0.1")), {}, "demo"), "demo")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EnergyStore]:
    opened = EnergyStore.open(tmp_path / "energy.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def picture(site: Site, store: EnergyStore) -> DemoDisplay:
    """After two polls of each device, with the meter lost and a refused message."""
    totals = Aggregator(site.nodes, AggregationSettings(), store)
    for number, device in enumerate(site.devices):
        marked = NodeType.SOLAR if device.driver.nodes else None
        for at, counter in ((-800.0, 0.0), (1000.0, 500.0)):
            power = Reading(Quantity.ACTIVE_POWER, None, 1000.0 + number, Quality.GOOD, at, marked)
            energy = Reading(Quantity.PRODUCED_ENERGY, None, counter, Quality.GOOD, at, marked)
            totals.observe(device.nodes, Scan((power, energy), at, at), 1e9 + at)
    site.devices[0].health.failed(OSError("unplugged"), 1000.0)
    arrivals = [
        Verdict(200, message={"time": 1, "grid": {"active_power_W": -42.0}, "solar": {}}),
        Verdict(401, ("wrong or missing bearer token",)),
    ]
    summary = totals.close(1000.0, 1_000_001_000)
    return DemoDisplay(site.devices, summary, arrivals, {"accepted": 1, "refused": 1}, "it is late", "the end")


def test_less_than_half_a_watt_is_none_and_has_no_direction(picture: DemoDisplay) -> None:
    assert picture.summary is not None
    meter, *others = picture.summary.nodes
    nearly_none = meter._replace(fields={"active_power_W": -0.4})
    arrivals = [Verdict(200, message={"time": 1, "grid": {"active_power_W": -0.4}})]
    console = Console(width=130, file=StringIO(), record=True)
    summary = picture.summary._replace(nodes=(nearly_none, *others))
    console.print(replace(picture, summary=summary, arrivals=arrivals))
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "grid meter-1 0 W eastron-sdm630 lost: unplugged" in rows
    assert "1 0 W" in rows


def test_the_picture_shows_each_node_each_total_and_what_arrived(picture: DemoDisplay) -> None:
    console = Console(width=130, file=StringIO(), record=True)
    console.print(picture)
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "grid meter-1 1,000 W import eastron-sdm630 lost: unplugged" in rows
    assert "solar 2 nodes 2,003 W production 1.00" in rows
    assert "pv-west 1,002 W production 0.50 simulated-inverter 0" in rows
    assert "1 -42 W" in rows
    assert any(row.startswith("refused: wrong") for row in rows)
    assert '{"time": 1, "grid": {"active_power_W": -42.0}, "solar": {}}' in rows


LONG_MESSAGE = {group: {"active_power_W": -12345.678, "today_energy_Wh": 1234567} for group in NodeType}


@pytest.mark.parametrize(("height", "earlier"), [(24, 0), (30, 5), (40, 6)])
def test_on_a_terminal_of_80_columns_nothing_is_cut(picture: DemoDisplay, height: int, earlier: int) -> None:
    arrivals = [Verdict(200, message={"time": 1_700_000_000 + n} | LONG_MESSAGE) for n in range(6)]
    console = Console(width=80, height=height, file=StringIO(), force_terminal=True, record=True)
    console.print(replace(picture, arrivals=arrivals))
    lines = console.export_text().splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    rows = [" ".join(line.split()) for line in lines]
    assert "grid meter-1 1,000 W import lost:" in rows
    assert "unplugged" in rows
    assert "pv-west 1,002 W production 0.50" in rows
    assert sum(row.startswith("170000000") for row in rows) == earlier
    assert "the end" in rows


def test_the_picture_of_a_running_demo_fits_a_terminal_of_80_columns() -> None:
    status, shown = on_a_terminal(80, 24, "demo", "--pushes", "2")
    assert status == 0, shown
    assert re.search(r"Arrived by HTTP: [2-9]\d* valid, 0 refused", shown)
    assert '"siteNodeId": "DEMO_site_0"' in shown
    assert "…" not in shown
    # On a busy machine, warnings of the log come between the pictures, also directly behind the end of one.
    picture = [re.sub(r"20\d\d-\d\d-\d\d .*\[\w+ *\].*", "", line) for line in re.split(r"[\r\n]+", shown)]
    assert max(map(len, picture)) <= 80
    assert re.match(r"[2-9]\d* accepted", shown.splitlines()[-1])
