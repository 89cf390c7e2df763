"""The five worst disturbances of a counter through the whole line: sockets, daemon, queue, HTTP, reference endpoint.

`test_energy_campaign` has the others, against the aggregator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_conservation_line import HALF, PRODUCED
from tests.support.conservation_line import COARSE_S, FINE_S, Line

RESOLUTION_WH = 2.0
HIGHER = 7_000_000
TEN_MINUTES = 1 / 6
"""In hours."""


async def quietly(line: Line, *, after: float, before: float) -> None:
    """In longer intervals, from hour `after` to `before`; in the shorter ones until then, and again from there on."""
    await line.until(after)
    await line.push_every(COARSE_S)
    await line.until(before)
    await line.push_every(FINE_S)


async def a_morning(line: Line) -> dict[str, tuple[int, int]]:
    """(first, last) Unix second of each disturbance of pv-west. Hours are local, from the midnight before the start."""
    plant, when = line.plant, {}
    await quietly(line, after=21, before=34 - TEN_MINUTES)
    await line.until(34)

    begin = line.wall
    with plant.altered("pv-west", PRODUCED, lambda counter: counter + 5000):
        await line.until(34 + 60 / 3600)
    when["two wrong polls"] = begin, line.wall
    await quietly(line, after=34 + TEN_MINUTES, before=34.5 - TEN_MINUTES)
    await line.until(34.5)

    begin = line.wall
    with plant.altered("pv-west", PRODUCED, lambda counter: counter + HALF):
        await line.until(34.5 + 30 / 3600)
        await line.restart(after_s=FINE_S)
    when["a glitch, then a restart"] = begin, line.wall
    await quietly(line, after=34.5 + TEN_MINUTES, before=35 - TEN_MINUTES)
    await line.until(35)

    begin = line.wall
    with plant.altered("pv-west", PRODUCED, lambda counter: 0):
        await line.until(35 + 60 / 3600)
    when["0 on two polls"] = begin, line.wall
    await quietly(line, after=35 + TEN_MINUTES, before=35.5 - TEN_MINUTES)
    await line.until(35.5)

    begin = line.wall
    with plant.altered("pv-west", PRODUCED, lambda counter: 0):
        await line.until(35.75)
    # It had been taken for a reset: the readings after it decide again, within five minutes.
    when["0 for a quarter of an hour"] = begin, line.wall + 330
    await quietly(line, after=36, before=36.5 - TEN_MINUTES)
    await line.until(36.5)

    begin = line.wall
    with plant.altered("pv-west", PRODUCED, lambda counter: counter + HIGHER):
        await line.restart(after_s=1800)
        await quietly(line, after=37 + TEN_MINUTES, before=38)
        when["replaced by a higher counter"] = begin, line.wall
        await line.deliver_all()
    return when


def of_pv_west(message: dict[str, Any]) -> tuple[float, str | None]:
    """(energy of the day of both inverters, how it is known)."""
    return message["solar"]["today_energy_Wh"], message["quality"]["solar"].get("today")


async def test_the_worst_disturbances_cost_nothing_that_is_not_declared(tmp_path: Path) -> None:
    line = Line(tmp_path, 11, "2026-06-10", ())
    async with line.running():
        when = await a_morning(line)
    replaced_at, _ = when.pop("replaced by a higher counter")
    before = 0.0
    declared: dict[str, int] = dict.fromkeys(when, 0)
    for time, (message,) in sorted(line.received.items()):
        if time < line.midnight:
            continue
        energy, word = of_pv_west(message)  # never left out
        true = sum(line.true[time][name][0] for name in ("pv_south", "pv_west"))
        during = [name for name, (begin, end) in when.items() if begin <= time <= end]
        assert energy >= before, (time, during)
        before = energy
        if during and word is not None:
            assert word in ("estimated", "reset"), (time, during)
            assert energy <= true + RESOLUTION_WH, (time, during)
            declared[during[0]] += 1
        elif time < replaced_at:
            assert word is None, (time, during)
            assert energy == pytest.approx(true, abs=RESOLUTION_WH), (time, during)
    assert all(declared.values()), declared
    # What flowed while nobody looked is lost, and said; from there on all is counted.
    gap = [line.true[time]["pv_west"][0] for time in sorted(line.true) if replaced_at <= time <= replaced_at + 1800]
    lost = gap[-1] - gap[0]
    assert word == "replaced"
    assert energy == pytest.approx(true - lost, abs=2 * RESOLUTION_WH)
    assert lost > 100
