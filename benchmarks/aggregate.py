"""CPU time of closing a push interval, per device and for 500 devices, and of taking the scans in between.

A third each are meters, inverters and batteries with the quantities that such devices report. What is measured is
`Totals.close` with the message of the device-type level, and `Totals.observe` for one scan of every device.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from agent.energy_store import EnergyStore
from agent.node import Node
from agent.payload import PayloadOptions, bodies
from agent.supervise import collect_rarely
from agent.totals import Totals, TotalsSettings
from drivers.model import Kind, NodeType, Phase, Quality, Quantity, Reading, Scan

ROUNDS = 40
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
    readings = [
        Reading(quantity, phase, 10.0 + step, Quality.GOOD, at) for quantity in _PER_PHASE for phase in (None, *Phase)
    ]
    readings += [Reading(quantity, None, 50.0 + step, Quality.GOOD, at) for quantity in own]
    return Scan(tuple(readings), at, at)


def measure(devices: int, folder: Path) -> tuple[float, float]:
    """CPU milliseconds of one push and of one round of scans: the lower quartile, as other load can only add to it."""
    nodes = _site(devices)
    collect_rarely()  # as the daemon does
    store = EnergyStore.open(folder / f"{devices}.sqlite3")
    totals = Totals(nodes, TotalsSettings(ZoneInfo("Europe/Brussels")), store)
    options = PayloadOptions("S")
    pushes, rounds = [], []
    for step in range(ROUNDS):
        scans = [(node, _scan(node, 10.0 * step, step)) for node in nodes]
        begin = time.process_time()
        for node, scan in scans:
            totals.observe([node], scan, WALL + 10.0 * step)
        read = time.process_time()
        bodies(totals.close(10.0 * step, WALL + 10 * step), options)
        closed = time.process_time()
        rounds.append(1000 * (read - begin))
        pushes.append(1000 * (closed - read))
    store.close()
    return statistics.quantiles(pushes[5:])[0], statistics.quantiles(rounds[5:])[0]


def _bare_loop_ms() -> float:
    begin = time.process_time()
    for _ in range(100_000):
        pass
    return 1000 * (time.process_time() - begin)


def main() -> None:
    with TemporaryDirectory() as scratch:
        results = {devices: measure(devices, Path(scratch)) for devices in (10, 100, 500, 1000)}
    print(f"a bare loop of 100000 steps: {min(_bare_loop_ms() for _ in range(20)):.2f} ms; floor: 500 devices in 5 ms")
    print("devices  push ms  per device us  of that at 10  a round of scans ms")
    first = results[10][0] / 10
    for devices, (push, scans) in results.items():
        each = push / devices
        print(f"{devices:7}  {push:7.2f}  {1000 * each:13.2f}  {each / first:13.2f}  {scans:19.2f}")


if __name__ == "__main__":
    main()
