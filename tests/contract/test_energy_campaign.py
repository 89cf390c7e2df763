"""Energies under disturbances: simulated days against the ledger. See `tests.support.energy_campaign`.

Each row runs one day here and four in the table that `python -m tests.support.energy_campaign 20` prints.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.support.energy_campaign import combination, run, scenario_of
from tests.support.energy_disturbances import ROWS


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.seeds(3)
def test_a_disturbance_costs_nothing_that_is_not_declared(row: str, seed: int) -> None:
    found = run(scenario_of((row,), seed, days=1 + Random(seed).randrange(2)))
    assert found.holds, (row, seed, found)


@pytest.mark.seeds(*range(8))
def test_two_disturbances_cost_nothing_that_is_not_declared(seed: int) -> None:
    rows, found = combination(seed, days=1)
    assert found.holds, (rows, seed, found)
