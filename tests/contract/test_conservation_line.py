"""What the receiver gets adds up: whole days from the registers of devices to acknowledged POSTs, all on real sockets.

`test_conservation` asks devices in memory: five seeds, random accidents, a push every five minutes. Here are fewer days
and the whole daemon: links (Modbus TCP, a gateway, an RTU line), schedule, outbox on its disk, sender and HTTP, with a
fixed list of accidents in each. Days of 23 and 25 hours, each after the evening of a day of 24 hours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers.model import NodeType
from drivers.simulator.physics import Energy
from tests.support.conservation_line import COARSE_S, FINE_S, Line
from tests.support.conservation_site import (
    AUTUMN,
    FIELDS,
    RESOLUTION_W,
    RESOLUTION_WH,
    SPRING,
    Changes,
    imbalance,
    is_complete,
)

PRODUCED = 2  # of pv-west, simulated-inverter
CHARGED = 5  # of battery-1, simulated-battery
HALF = 0x1_0000
"""The low word rolled over, the high one is still, or already, another."""


MEMBERS = {
    NodeType.GRID: ("grid",),
    NodeType.SOLAR: ("pv_south", "pv_west"),
    NodeType.STORAGE: ("storage",),
}
"""By device type, the devices of the physics whose energies it sums."""


async def a_day(line: Line) -> None:
    """From eight in the evening to half past midnight of the day after next; hours are local, from the midnight before.

    No accident within half an hour of midnight: what nobody saw of it can only be divided.
    """
    plant = line.plant
    await line.until(21)
    await line.restart(after_s=1200)
    await line.until(22)
    await line.restart(after_s=600, power_cut=True)
    await over_midnight(line, 24)

    await line.until(25)
    plant.devices["meter-1"].online = False
    await line.until(25.1)
    plant.devices["meter-1"].online = True
    await line.until(28)
    await plant.hang_up("battery-1")
    await line.until(29)
    await plant.listen("battery-1")
    await line.until(31)
    await line.restart(after_s=3600, power_cut=True)

    await line.until(34)
    with plant.altered("pv-west", PRODUCED, lambda counter: counter - HALF):
        await line.until(34.1)
    await line.until(34.5)
    with plant.altered("pv-west", PRODUCED, lambda counter: counter + HALF):
        await line.until(34.6)
    await line.until(35)
    with plant.altered("battery-1", CHARGED, lambda counter: 0):
        await line.until(35.1)
    await line.until(36)
    with line.endpoint_down():
        await line.until(36.5)
        await line.restart(after_s=600, power_cut=True)
        await line.until(37)
    await line.until(38)
    plant.devices["household"].online = False
    await line.until(38.1)
    plant.devices["household"].online = True

    await line.until(39)
    reset_at = round(line.site.pv_west.positive_Wh)
    with plant.altered("pv-west", PRODUCED, lambda counter: counter - reset_at):
        await line.until(42)
        await line.restart(after_s=1200)
        await over_midnight(line, 48)
        await line.deliver_all()


async def over_midnight(line: Line, hour: float) -> None:
    """In shorter intervals, so that the last message of a day is one of its end."""
    await line.until(hour - 1 / 6)
    await line.push_every(FINE_S)
    await line.until(hour + 1 / 6)
    await line.push_every(COARSE_S)
    await line.until(hour + 0.5)


@pytest.mark.parametrize(("seed", "first_day", "changes"), [(3, *SPRING), (4, *AUTUMN)], ids=["23h", "25h"])
async def test_a_day_adds_up_at_the_receiver(tmp_path: Path, seed: int, first_day: str, changes: Changes) -> None:
    line = Line(tmp_path, seed, first_day, changes)
    async with line.running():
        await a_day(line)
    assert line.starts == 6
    assert line.verdicts.keys() == {200, 503}
    assert line.received.keys() == line.true.keys(), "a message for each tick"
    complete = compared = undecided = 0
    for time, messages in line.received.items():
        (message,) = messages  # acknowledged once
        if is_complete(message):
            complete += 1
            assert abs(imbalance(message)) <= RESOLUTION_W
        today = {type_: group["today"] for type_, group in message["quality"].items() if "today" in group}
        # Set to zero at hour 39; half a counter at 34 and 34.5, and a 0 of the battery's at 35.
        declared = {"estimated", "reset"} if time < line.next_midnight else set()
        assert set(today.values()) <= ({"partial"} if time < line.midnight else declared), (time, today)
        for type_, key, published, true in sums(message, line.true[time]):
            compared += 1
            resolution = len(MEMBERS[type_]) * RESOLUTION_WH
            if today.get(type_) == "estimated":
                undecided += 1
                assert published <= true + resolution, (type_, key, time)
            else:
                assert published == pytest.approx(true, abs=resolution), (type_, key, time)
    assert 0 < undecided <= 12
    last = max(time for time in line.received if time < line.next_midnight)
    assert line.next_midnight - last == FINE_S
    assert [key for _, key, _, _ in sums(line.received[last][0], line.true[last])] == [*sum(FIELDS.values(), ())]
    assert 0.8 * len(line.true) < complete < len(line.true)
    assert compared > 4 * len(line.true)


def sums(message: dict[str, Any], true: dict[str, Energy]) -> list[tuple[NodeType, str, float, float]]:
    """(type, field, published, true) of every energy of the day of a device type."""
    return [
        (type_, key, message[type_][key], sum(true[name][number] for name in MEMBERS[type_]))
        for type_, fields in FIELDS.items()
        for number, key in enumerate(fields)
        if key in message[type_]
    ]
