"""CPU time of closing a push interval, per device and for 500 devices, and of taking the scans in between.

A third each are meters, inverters and batteries with the quantities that such devices report. What is measured is
`Aggregator.close`, the message of the device-type level (six groups, however many devices), and
`Aggregator.observe` for one scan of every device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from agent.aggregation.aggregator import AggregationSettings, Aggregator
from agent.contract.payload import PayloadOptions, bodies
from agent.domain.node import Node
from agent.energy.store import EnergyStore
from agent.service.supervisor import collect_rarely
from benchmarks._figures import Figure, table
from drivers.model import Kind, NodeType, Phase, Quality, Quantity, Reading, Scan

SIZES = 10, 100, 500, 1000
MOST_DEVICES, MOST_MS = 500, 5.0
ROUNDS = 25
TURNS = 6
WALL = 1_780_300_000

_PER_PHASE = (Quantity.ACTIVE_POWER, Quantity.VOLTAGE, Quantity.CURRENT)
_FAMILIES = (
    (NodeType.GRID, Kind.METER, (Quantity.FREQUENCY, Quantity.IMPORTED_ENERGY, Quantity.EXPORTED_ENERGY)),
    (NodeType.SOLAR, Kind.INVERTER, (Quantity.TEMPERATURE, Quantity.PRODUCED_ENERGY, Quantity.TODAY_PRODUCED_ENERGY)),
    (NodeType.STORAGE, Kind.BATTERY, (Quantity.SOC, Quantity.CHARGED_ENERGY, Quantity.DISCHARGED_ENERGY)),
)


def _site(devices: int) -> list[Node]:
    kinds = [_FAMILIES[number % 3][:2] for number in range(devices)]
    return [
        Node(f"device-{number}", type_, kind, energy_capacity_Wh=10_000.0 if kind is Kind.BATTERY else None)
        for number, (type_, kind) in enumerate(kinds)
    ]


def _scan(node: Node, at: float, step: int) -> Scan:
    own = next(quantities for type_, _, quantities in _FAMILIES if type_ is node.type)
    power_W = 10.0 + step % 7  # a power that rises all the time is rare
    readings = [
        Reading(quantity, phase, power_W, Quality.GOOD, at) for quantity in _PER_PHASE for phase in (None, *Phase)
    ]
    readings += [Reading(quantity, None, 50.0 + 0.1 * step, Quality.GOOD, at) for quantity in own]
    return Scan(tuple(readings), at, at)


class _Measured:
    """A site of so many devices; CPU milliseconds of each round."""

    def __init__(self, devices: int, folder: Path) -> None:
        self.nodes = _site(devices)
        self.store = EnergyStore.open(folder / f"{devices}.sqlite3")
        self.totals = Aggregator(self.nodes, AggregationSettings(ZoneInfo("Europe/Brussels")), self.store)
        self.scans: list[float] = []
        self.closes: list[float] = []
        self.messages: list[float] = []

    def round(self, step: int) -> None:
        scans = [(node, _scan(node, 10.0 * step, step)) for node in self.nodes]
        begin = time.process_time()
        for node, scan in scans:
            self.totals.observe([node], scan, WALL + 10.0 * step)
        read = time.process_time()
        summary = self.totals.close(10.0 * step, WALL + 10 * step)
        closed = time.process_time()
        bodies(summary, PayloadOptions("S"))
        self.messages.append(1000 * (time.process_time() - closed))
        self.closes.append(1000 * (closed - read))
        self.scans.append(1000 * (read - begin))


def _usual(values: list[float]) -> float:
    """The lowest decile: other load can only add."""
    return statistics.quantiles(values, n=10)[0]


def figures() -> Iterator[Figure]:
    collect_rarely()  # as the daemon does
    with TemporaryDirectory() as scratch:
        sites = [_Measured(devices, Path(scratch)) for devices in SIZES]
        for turn in range(TURNS):  # a machine that is slow for a while is slow for all
            for site in sites:
                for step in range(ROUNDS):
                    site.round(turn * ROUNDS + step)
        for site in sites:
            site.store.close()
    for site in sites:
        devices, least = len(site.nodes), MOST_MS if len(site.nodes) == MOST_DEVICES else None
        yield Figure(f"close a push interval of {devices} devices", _usual(site.closes), "ms CPU", least)


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
