"""Energies under disturbances: simulated days against the aggregator. See `tests.support.energy_campaign`.

Each row runs one day or two here, and is polled every minute while nothing happens. In the table that
`python -m tests.support.energy_campaign 20` prints, it runs four days and is polled every 10 s.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.support.energy_campaign import combination, run, scenario_of
from tests.support.energy_disturbances import ROWS


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.seeds(3)
def test_a_disturbance_costs_nothing_that_is_not_declared(row: str, seed: int) -> None:
    scenario = scenario_of((row,), seed, days=1 + Random(seed).randrange(2))
    scenario.watch_closely()
    found = run(scenario)
    assert found.holds, (row, seed, found)


def test_a_glitch_after_sunset_is_gone_before_midnight() -> None:
    found = run(scenario_of(("thirty_glitches",), 8))
    assert found.holds
    assert found.day <= found.tolerance


@pytest.mark.seeds(*range(8))
def test_two_disturbances_cost_nothing_that_is_not_declared(seed: int) -> None:
    rows, found = combination(seed, days=1)
    assert found.holds, (rows, seed, found)


@pytest.mark.parametrize(
    "seed",
    [
        *(50, 72, 330, 404),
        *(258, 301, 549, 713, 1032, 1211, 1435, 1470, 1573, 5196, 5384, 5558, 5911, 6195, 6366, 6408, 6647),
        *(729, 920, 1222, 5302, 5440, 5972, 6274, 8486, 20247),
    ],
)
def test_combinations_that_once_failed(seed: int) -> None:
    rows, found = combination(seed)
    assert found.holds, (rows, seed, found)
