"""What looks wrong, and what must not: a hint that is often false is worth nothing."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commissioning.plausibility import empty_hint, hints, possible, word_order_hint
from agent.domain.node import Node
from agent.domain.ranges import ranges
from drivers.driver import ReadOptions
from drivers.model import Kind, NodeType, Phase, Quality, Quantity, Reading
from drivers.registers.codec import Encoding, decoder, encode

P, V, A, PF = Quantity.ACTIVE_POWER, Quantity.VOLTAGE, Quantity.CURRENT, Quantity.POWER_FACTOR


def node(type_: NodeType, kind: Kind = Kind.METER) -> Node:
    return Node("n", type_, kind)


def reading(quantity: Quantity, value: float | None, phase: Phase | None = None) -> Reading:
    quality = Quality.MISSING if value is None else Quality.GOOD
    return Reading(quantity, phase, None if value is None else float(value), quality, 0.0)


def readings(values: Iterable[tuple[Quantity, Phase | None, float]]) -> list[Reading]:
    return [reading(quantity, value, phase) for quantity, phase, value in values]


def of(type_: NodeType, *values: tuple[Quantity, Phase | None, float]) -> list[str]:
    return list(hints(node(type_), readings(values)))


def three_phases(powers: Iterable[float], currents: Iterable[float], factors: Iterable[float] = ()) -> list[Reading]:
    values = [(P, phase, power) for phase, power in zip(Phase, powers, strict=True)]
    values += [(A, phase, current) for phase, current in zip(Phase, currents, strict=True)]
    values += [(PF, phase, factor) for phase, factor in zip(Phase, factors, strict=False)]
    return readings([*values, *((V, phase, 230.0) for phase in Phase)])


def test_a_site_in_order_has_no_hints() -> None:
    assert list(hints(node(NodeType.GRID), three_phases((-690, 1150, 230), (-3, 5.2, 1.4)))) == []
    assert list(hints(node(NodeType.GRID), three_phases((-690, 1150, 230), (3, 5.2, 1.4), (-1, 0.96, 0.71)))) == []
    assert of(NodeType.SOLAR, (P, None, 3456.0), (Quantity.PRODUCED_ENERGY, None, 6e6)) == []
    assert of(NodeType.SOLAR, (P, None, -12.0)) == [], "an inverter's own consumption at night"
    assert of(NodeType.STORAGE, (P, None, -2500.0), (Quantity.SOC, None, 68.0)) == []
    assert of(NodeType.HEAT_PUMP, (P, None, 0.0), (V, None, 0.0), (Quantity.FREQUENCY, None, 0.0)) == []


@pytest.mark.parametrize("quantity", Quantity)
def test_what_the_agent_would_drop_is_never_plausible(quantity: Quantity) -> None:
    low, high = ranges({})[quantity]
    assert not possible(reading(quantity, nextafter(low, -inf)))
    assert not possible(reading(quantity, nextafter(high, inf)))


@pytest.mark.parametrize("type_", [NodeType.SOLAR, NodeType.HEAT_PUMP, NodeType.VARIABLE_POWER_LOAD])
def test_negative_power_where_there_can_be_none(type_: NodeType) -> None:
    (hint,) = of(type_, (P, None, -3456.0))
    assert hint.startswith("the sign seems inverted: active_power is -3456 W")
    assert "invert" in hint


@pytest.mark.parametrize("ratio", [2, 10, 40, 60, 250])
def test_a_ct_ratio_on_one_side(ratio: int) -> None:
    (hint,) = hints(node(NodeType.GRID), three_phases((690.0 * ratio,) * 3, (3.0,) * 3))
    assert f"power is {ratio} times voltage x current" in hint


@pytest.mark.parametrize("ratio", [5, 10, 40, 60])
def test_a_ct_ratio_that_is_missing_in_the_power(ratio: int) -> None:
    (hint,) = hints(node(NodeType.GRID), three_phases((1380.0 / ratio,) * 3, (6.0,) * 3))
    assert f"voltage x current / {ratio}" in hint


def test_a_power_factor_is_no_ct_ratio() -> None:
    assert list(hints(node(NodeType.GRID), three_phases((690,) * 3, (6.0,) * 3))) == []
    assert list(hints(node(NodeType.GRID), three_phases((138,) * 3, (6.0,) * 3, (0.1,) * 3))) == []


def test_a_single_phase_meter_has_no_phases() -> None:
    (hint,) = of(NodeType.GRID, (P, None, 9200.0), (V, None, 230.0), (A, None, 4.0))
    assert "power is 10 times" in hint


def test_what_need_not_fit_gives_no_hint() -> None:
    hybrid = Node("n", NodeType.SOLAR, Kind.HYBRID, of_hybrid=True)
    charging = readings([(P, None, 5000.0), (V, None, 230.0), (A, None, 2.2)])
    assert list(hints(hybrid, charging)) == [], "what charges the battery does not pass the AC side"
    assert of(NodeType.VARIABLE_POWER_LOAD, (P, None, 11_040.0), (V, None, 230.0), (A, None, 16.0)) == []


def test_a_turned_transformer_is_named_by_its_phase() -> None:
    (hint,) = hints(node(NodeType.GRID), three_phases((690, 1150, 690), (3, -5, 3)))
    assert "the signs of power and voltage x current differ on l2" in hint
    (hint,) = hints(node(NodeType.GRID), three_phases((690, 1150, 690), (3, 5, 3), (1, 1, -1)))
    assert "the signs of power and voltage x current differ on l3" in hint
    assert list(hints(node(NodeType.GRID), three_phases((690, 1150, 690), (3, 5, 3), (-1, -1, -1)))) == []


@pytest.mark.parametrize(
    ("quantity", "value"),
    [(V, 2.3e6), (Quantity.FREQUENCY, 5000.0), (Quantity.SOC, 680.0), (P, 1.02e8), (PF, 7.0),
     (P, -2.4e-41), (Quantity.IMPORTED_ENERGY, -1.0), (Quantity.TEMPERATURE, 3276.7)],
)  # fmt: skip
def test_what_cannot_be_is_named(quantity: Quantity, value: float) -> None:
    assert not possible(reading(quantity, value))
    (hint,) = of(NodeType.GRID, (quantity, None, value))
    assert hint.startswith(f"{quantity.value} is ")


def test_a_state_without_a_name_has_no_scale() -> None:
    mode = Reading(Quantity.OPERATION_MODE, None, None, Quality.INVALID, 0.0)
    assert list(hints(Node("hp-1", NodeType.HEAT_PUMP, Kind.HEAT_PUMP), [mode])) == [
        "operation_mode is a number that the profile does not name: is the profile correct?"
    ]


def test_missing_is_no_finding_but_invalid_is() -> None:
    assert possible(reading(P, None))
    assert not possible(Reading(P, None, None, Quality.INVALID, 0.0))


@given(st.floats(100, 250, width=32), st.floats(500, 20_000, width=32))
def test_swapped_words_are_recognised(voltage: float, power: float) -> None:
    def read(order: str) -> list[Reading]:
        made = []
        for quantity, value in ((V, voltage), (P, power)):
            words = encode(Encoding("float32"), value)
            decoded, quality = decoder(Encoding("float32", word_order=order))(words)  # type: ignore[arg-type]
            made.append(Reading(quantity, None, decoded, quality, 0.0))
        return made

    right, wrong = read("big"), read("little")
    assert word_order_hint(right, wrong, "little") is None
    if not all(map(possible, wrong)):
        hint = word_order_hint(wrong, right, "big")
        assert hint is not None
        assert 'word_order = "big"' in hint


def test_an_order_that_helps_nothing_is_not_named() -> None:
    wrong = [reading(V, 1e9)]
    assert word_order_hint(wrong, [reading(V, 2e9)], "little") is None
    assert word_order_hint(wrong, [reading(V, None)], "little") is None
    assert ReadOptions().word_order is None


@pytest.mark.parametrize("volts", [20.0, 49.9, 800.1])
def test_a_voltage_that_no_installation_has_is_named(volts: float) -> None:
    (hint,) = of(NodeType.GRID, (V, None, volts))
    assert hint.startswith(f"voltage is {volts:g} V")
    assert of(NodeType.GRID, (V, None, 50.0), (V, Phase.L1, 800.0)) == []


def test_the_hint_on_a_sign_says_what_is_positive() -> None:
    (solar,) = of(NodeType.SOLAR, (P, None, -100.0))
    (load,) = of(NodeType.HEAT_PUMP, (P, None, -100.0))
    assert "but production is positive" in solar
    assert "but consumption is positive" in load


def test_a_device_whose_numbers_are_all_0_is_blank_and_an_idle_one_is_not() -> None:
    zeros = [reading(quantity, 0) for quantity in (P, A, Quantity.IMPORTED_ENERGY)]
    state = Reading(Quantity.ON, None, False, Quality.GOOD, 0.0)
    assert empty_hint([*zeros, state, reading(V, None)]) is None, "three numbers and a state"
    assert empty_hint([*zeros, reading(V, 0)]) == "all values are 0: are the driver and the unit id correct?"
    assert empty_hint([*zeros, reading(V, 230)]) is None
    assert empty_hint([reading(V, None)]) == (
        "it answers, but it has no values: does it sleep, or is the driver wrong?"
    )


def test_hints_begin_at_100_w_and_500_va() -> None:
    """Less is the consumption of a device in standby, and within the errors of measurement."""
    (hint,) = hints(node(NodeType.GRID), three_phases((690, 100, 690), (3, -0.4, 3)))
    assert "differ on l2" in hint
    assert list(hints(node(NodeType.GRID), three_phases((690, 99, 690), (3, -0.4, 3)))) == []
    (hint,) = of(NodeType.GRID, (P, None, 500.0), (V, None, 250.0), (A, None, 0.2))
    assert "power is 10 times" in hint
    assert of(NodeType.GRID, (P, None, 499.0), (V, None, 249.5), (A, None, 0.2)) == []


def test_a_factor_of_three_is_a_ratio_only_if_each_phase_has_a_power() -> None:
    (hint,) = hints(node(NodeType.GRID), three_phases((2070.0,) * 3, (3.0,) * 3))
    assert "power is 3 times voltage x current" in hint
    assert of(NodeType.GRID, (P, None, 2070.0), (V, None, 230.0), (A, None, 3.0)) == []


def test_a_power_or_a_current_of_0_has_no_ratio() -> None:
    assert of(NodeType.GRID, (P, None, 0.0), (V, None, 230.0), (A, None, 10.0)) == []
    assert of(NodeType.GRID, (P, None, 2300.0), (V, None, 230.0), (A, None, 0.0)) == []
