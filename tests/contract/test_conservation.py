"""What is published adds up: simulated days through drivers, totals and payload, by a clock that the test drives.

Devices are asked in memory, so that there is time for five days of different weather and accidents;
`test_conservation_line` has the same with sockets, outbox and HTTP between, for two.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest

from agent.aggregation.aggregator import AggregationSettings, Aggregator
from agent.contract.payload import PayloadOptions, bodies
from agent.contract.schema import problems, unknown_fields
from agent.domain.node import Node
from agent.energy.store import EnergyStore
from drivers.catalogue import Catalogue
from drivers.driver import Driver, ReadOptions
from drivers.errors import SilentError, exception_reply
from drivers.model import NodeType, Table
from drivers.simulator.devices import SimulatedDevice
from drivers.simulator.modbus_server import Image, SimulatedUnit
from drivers.simulator.physics import DAY_S, SimulatedPlant
from tests.support.conservation_site import (
    AUTUMN,
    FIELDS,
    HOUR_S,
    RESOLUTION_W,
    RESOLUTION_WH,
    SPRING,
    ZONE,
    energies,
    imbalance,
    is_complete,
    metered_devices,
)

STEP_S = 300.0
CODES = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}


@dataclass
class InMemory:
    """A `drivers.catalogue.Reader` that asks the unit itself."""

    unit: SimulatedUnit

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        if not self.unit.online:
            raise SilentError("no answer")
        reply = self.unit.answer(struct.pack(">BHH", CODES[table], address, count))
        if reply[0] & 0x80:
            raise exception_reply(reply[1], f"{table} {address}")
        if table in (Table.COIL, Table.DISCRETE):
            return [reply[2 + place // 8] >> place % 8 & 1 for place in range(count)]
        return struct.unpack(f">{count}H", reply[2:])


def once_a_moment(site: SimulatedPlant, image: Callable[[], Image]) -> Callable[[], Image]:
    """`image`, calculated once for all requests of a moment."""
    at, known = -1.0, image()

    def of_now() -> Image:
        nonlocal at, known
        if at != site.now_s:
            at, known = site.now_s, image()
        return known

    return of_now


@dataclass
class Line:
    """Site, devices and totals, restarted at will."""

    site: SimulatedPlant
    first_midnight: float
    folder: Path
    partial: str = "omit"
    devices: dict[str, tuple[SimulatedDevice, Driver, Node]] = field(default_factory=dict)
    saves: int = 0
    restarts: int = 0

    def __post_init__(self) -> None:
        for device in metered_devices(self.site):
            device.unit.image = once_a_moment(self.site, device.unit.image)
            driver = Catalogue().create(device.driver, ReadOptions())
            node = Node(
                device.node_id,
                device.type,
                driver.kind,
                of_hybrid=bool(driver.nodes),
                nominal_power_W=device.options.get("nominal_power_W"),
            )
            self.devices[device.node_id] = (device, driver, node)
        self.start()

    def start(self) -> None:
        self.store = EnergyStore.open(self.folder / "energy.sqlite3")
        nodes = [node for _, _, node in self.devices.values()]
        self.totals = Aggregator(nodes, AggregationSettings(ZONE, stale_after_s=STEP_S / 2), self.store)

    def restart(self, *, clean: bool) -> None:
        """`clean` saves before it stops; a power cut does not."""
        if clean:
            self.totals.save()
        self.store.close()
        self.restarts += 1
        self.start()

    def close(self) -> None:
        self.store.close()

    @property
    def wall(self) -> float:
        return self.first_midnight + self.site.now_s

    async def push(self) -> dict[str, Any]:
        """Poll every device once, and close the interval: the device types, and the nodes under "nodes"."""
        now = self.site.now_s
        for device, driver, node in self.devices.values():
            try:
                scan = await driver.poll(InMemory(device.unit), lambda: now)
            except SilentError:
                self.totals.missed([node])
            else:
                self.totals.observe([node], scan, self.wall)
        summary = self.totals.close(now, int(self.wall))
        if self.totals.save_due(now):
            self.totals.save(now)
            self.saves += 1
        options = PayloadOptions("S", levels=("device_type", "device"), device_format="snapshot", quality=True)
        types, nodes = map(json.loads, bodies(summary, options))
        assert problems(types) == problems(nodes) == unknown_fields(types) == unknown_fields(nodes) == []
        return {**types, "nodes": nodes["nodes"]}


class Start(Protocol):
    def __call__(self, seed: int, first_day: str = ..., changes: Sequence[tuple[float, float]] = ...) -> Line: ...


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Start]:
    """Starts a line; its file is closed after the test."""
    with ExitStack() as files:

        def start(seed: int, first_day: str = "2026-06-01", changes: Sequence[tuple[float, float]] = ()) -> Line:
            site = SimulatedPlant(seed, start_s=20 * HOUR_S, clock_changes=changes)
            started = Line(site, datetime.fromisoformat(first_day).replace(tzinfo=ZONE).timestamp(), tmp_path)
            files.callback(started.close)
            return started

        yield start


# Five days: the clock goes forward in one of them and back in one.
DAYS = [(seed, *{3: SPRING, 4: AUTUMN}.get(seed, (f"2026-0{seed + 1}-10", ()))) for seed in range(1, 6)]


@pytest.mark.parametrize(("seed", "first_day", "changes"), DAYS)
async def test_a_day_adds_up(line: Start, seed: int, first_day: str, changes: tuple[tuple[float, float], ...]) -> None:
    """From eight in the evening through the whole next day, with restarts, power cuts and devices that fall silent."""
    running = line(seed, first_day, changes)
    chance = Random(seed)
    silent_until: dict[str, float] = {}
    complete = total = compared = 0
    while running.site.day < 2 or running.site.time_of_day_s < HOUR_S:
        message = await running.push()
        total += 1
        if is_complete(message):
            complete += 1
            assert abs(imbalance(message)) <= RESOLUTION_W
        for node_id, key, published, true in energies(message["nodes"], running.site.today):
            compared += 1
            assert published == pytest.approx(true, abs=RESOLUTION_WH), (node_id, key, running.site.time_of_day_s)
        for group in message["quality"].values():
            assert group.get("today") == ("partial" if running.site.day == 0 and "today" in group else None)
        running.site.advance(STEP_S)
        disturb(running, chance, silent_until)
    assert len(running.site.days) == 2
    assert 0.5 * total < complete < total
    assert compared > 4 * total
    assert running.restarts > 0
    assert running.saves < total / 2


def disturb(running: Line, chance: Random, silent_until: dict[str, float]) -> None:
    """Not within half an hour of midnight: what nobody saw of it can only be divided."""
    near_midnight = not 0.5 * HOUR_S < running.site.time_of_day_s < DAY_S - 2 * HOUR_S
    if not near_midnight and chance.random() < 0.02:
        running.restart(clean=chance.random() < 0.5)
    for node_id, (device, _, _) in running.devices.items():
        if not near_midnight and chance.random() < 0.01:
            silent_until[node_id] = running.site.now_s + chance.uniform(0, HOUR_S)
        device.online = running.site.now_s >= silent_until.get(node_id, 0.0)


async def test_a_midnight_that_nobody_saw_is_divided_and_said(line: Start) -> None:
    running = line(seed=21)
    await running.push()
    running.site.advance(3 * HOUR_S)
    last = await running.push()
    running.totals.save(0.0)
    unseen = [running.site.grid.energy]
    running.site.advance(2 * HOUR_S)
    running.restart(clean=False)
    unseen.append(running.site.grid.energy)
    message = await running.push()
    assert message["quality"]["grid"]["today"] == "interpolated"
    grid = message["grid"]
    for number, key in enumerate(FIELDS[NodeType.GRID]):
        assert grid[key] == pytest.approx((unseen[1][number] - unseen[0][number]) / 2, abs=RESOLUTION_WH)
        assert last["grid"][key] >= 0
    while running.site.day < 2:
        running.site.advance(STEP_S)
        message = await running.push()
    assert set(message["quality"]["grid"]) == {"devices", "fresh", "expected", "got", "oldest_s"}


async def test_a_silent_member_takes_its_total_with_it_and_no_more(line: Start) -> None:
    running = line(seed=22)
    running.devices["pv-west"][0].online = False
    for _ in range(5):
        message = await running.push()
        running.site.advance(STEP_S)
    assert message["solar"] == {}
    assert set(message["grid"]) == {"active_power_W", *FIELDS[NodeType.GRID]}
    assert "active_power_W" in message["nodes"]["pv-south"]["solar"]
    assert message["nodes"]["pv-west"]["solar"] == {}
    assert message["quality"]["solar"]["fresh"] == 1
