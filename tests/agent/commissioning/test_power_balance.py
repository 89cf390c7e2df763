from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commissioning.plausibility import imbalance
from drivers.model import NodeType

GRID, SOLAR, STORAGE, HEAT_PUMP = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE, NodeType.HEAT_PUMP


@pytest.mark.parametrize(
    "powers",
    [
        {GRID: -4000.0},
        {SOLAR: 3000.0},
        {GRID: -2500.0, SOLAR: 3000.0},
        {GRID: 100.0, SOLAR: 0.0, STORAGE: -900.0},
        {GRID: 2000.0, HEAT_PUMP: 2150.0},
        {GRID: -10_500.0, SOLAR: 10_000.0},
    ],
)
def test_what_can_be_a_site_gets_no_hint(powers: dict[NodeType, float]) -> None:
    assert imbalance(powers) is None


def test_a_house_that_gives_is_doubted_with_what_would_be_right() -> None:
    hint = imbalance({GRID: -4000.0, SOLAR: 3000.0, STORAGE: 0.0})
    assert hint is not None
    assert hint.startswith(
        "grid -4000 W + solar 3000 W - storage 0 W leaves -1000 W for the rest of the house"
        "; with grid inverted 7000 W. Is a sign inverted,"
    )
    hint = imbalance({GRID: 200.0, SOLAR: 0.0, STORAGE: 3000.0})
    assert hint is not None
    assert "; with storage inverted 3200 W." in hint
    hint = imbalance({GRID: -0.25, HEAT_PUMP: 3000.0})
    assert hint is not None
    assert hint.startswith("grid 0 W - heat_pump 3000 W leaves -3000 W for the rest of the house. Is")


POWER = st.floats(-1e5, 1e5)


@given(house=st.floats(0, 1e5), solar=st.floats(0, 1e5), storage=POWER)
def test_a_site_whose_house_takes_is_never_doubted(house: float, solar: float, storage: float) -> None:
    assert imbalance({GRID: house - solar + storage, SOLAR: solar, STORAGE: storage}) is None
