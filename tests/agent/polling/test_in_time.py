"""Which devices a push waits for."""

from __future__ import annotations

import pytest

from agent.domain import Node
from agent.polling import Device
from agent.polling.in_time import in_time
from drivers.driver import ReadOptions
from drivers.model import Kind, NodeType
from drivers.sunspec import SunSpec
from tests.support.polling import Channel

LOAD = NodeType.VARIABLE_POWER_LOAD


def devices(
    number: int, took_s: float, interval_s: float = 10.0, type_: NodeType = LOAD, *, slow: bool = False, lost: int = 0
) -> list[Device]:
    found = []
    for unit in range(number):
        node = Node(f"n{unit}", type_, Kind.METER)
        device = Device("d", "sunspec", SunSpec(ReadOptions()), Channel(), (node,), "a", unit, interval_s)
        device.health.took_s, device.health.slow, device.health.failures = took_s, slow, lost
        found.append(device)
    return found


GRID = NodeType.GRID


@pytest.mark.parametrize(
    ("first", "rest", "counted"),
    [
        (devices(1, 0.1), devices(40, 0.1), "all"),
        (devices(1, 0.1), devices(60, 0.1), "none"),
        (devices(1, 0.1, type_=GRID), devices(60, 0.1), "first"),
        (devices(30, 0.1, type_=GRID), devices(60, 0.1), "none"),
        (devices(20, 0.1, type_=GRID, interval_s=1.0), devices(20, 0.1), "first"),
        (devices(2, 0.1, type_=GRID, interval_s=1.0), devices(20, 0.1), "all"),
        (devices(24, 0.1, type_=GRID), devices(20, 0.1), "all"),
        (devices(8, 0.1, type_=GRID, interval_s=5.0), devices(33, 0.1), "all"),
        (devices(10, 0.1), devices(1, 8.0, slow=True), "first"),
        (devices(10, 0.1), devices(5, 0.1, lost=1), "all"),
        (devices(10, 0.1), devices(50, 0.1, lost=1), "all"),
        (devices(2, 0.1, type_=GRID, lost=1), devices(60, 0.1), "none"),
        (devices(1, 8.0), [], "none"),
        (devices(1, 0.0), devices(300, 0.0), "all"),
    ],
)
def test_those_for_which_the_link_has_time(first: list[Device], rest: list[Device], counted: str) -> None:
    expected = {"all": [*first, *rest], "first": first, "none": []}[counted]
    assert set(in_time([*rest, *first], 5.0)) == set(expected)
