from __future__ import annotations

import pytest

from drivers.scan.values import Values


@pytest.mark.parametrize(
    ("before", "now", "after", "same"),
    [
        ((100.0, 50_000.0), (100.0, 50_000.0), (101.0, 50_001.0), True),
        ((100.0, 50_000.0), (100.0, 90_000.0), (101.0, 50_001.0), False),
        ((100.0, None), (100.0, 50_000.0), (100.0, 90_000.0), None),  # no counter before: it was not compared
        ((100.0, 90_000.0), (100.0, 50_000.0), (100.0, None), None),
        ((100.0, 50_000.0), (100.0, None), (100.0, 50_000.0), None),
        ((100.0, 50_000.0), (None, 50_000.0), (100.0, 50_000.0), None),
        ((100.0, None), (9_000.0, 50_000.0), (100.0, 90_000.0), False),
    ],
)
def test_two_units_are_one_device_only_if_power_and_counter_fit(
    before: tuple[float | None, float | None],
    now: tuple[float | None, float | None],
    after: tuple[float | None, float | None],
    same: bool | None,
) -> None:
    values, earlier, later = (Values(power, counter, 1.0) for power, counter in (now, before, after))
    assert values.between(earlier, later) is same
