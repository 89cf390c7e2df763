"""SunSpec chains at random: whatever a device says, a number is right or there is none."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.driver import ReadOptions
from drivers.errors import DriverError
from drivers.model import NodeType, Quality, Quantity, Scan, Table
from drivers.sunspec.driver import SunSpec
from drivers.sunspec.formulas import (
    Cell,
    Formula,
    PointAddress,
    cell,
    first,
    total,
    total_count,
    total_of_some,
    weighted_mean,
)
from drivers.sunspec.mapping import BATTERIES, CHANNELS, INVERTERS, METERS, STATUS, STORAGE_DETAILS
from drivers.sunspec.models import ModelPoint, load
from tests.faults.sunspec import END, SUNS, FakeReader, battery, common, device, inverter, meter, model, words

GRID, SOLAR, STORAGE = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE
WORD = st.integers(0, 0xFFFF)
FACTOR = st.integers(-10, 10)
INT16 = st.integers(-0x7FFF, 0x7FFF)
COUNT = st.integers(1, 0xFFFF_FFFE)
FOREIGN = st.builds(
    lambda model_id, length, fill: model(model_id, length, {}, fill),
    st.integers(64_000, 64_999),
    st.integers(1, 300),
    WORD,
)


def scan_of(reader: FakeReader, options: ReadOptions, polls: int = 1) -> Scan:
    driver = SunSpec(options)

    async def run() -> Scan:
        for _ in range(polls - 1):
            await driver.poll(reader, lambda: 0.0)
        return await driver.poll(reader, lambda: 0.0)

    return asyncio.run(run())


def exact(raw: int, factor: int) -> float:
    return float(raw * Fraction(10) ** factor)


@st.composite
def sites(draw: st.DrawFn) -> tuple[list[list[int]], Mapping[tuple[NodeType, Quantity], float]]:
    """Models in any order, with what must be read from them."""
    power, power_sf, energy, energy_sf = draw(INT16), draw(FACTOR), draw(COUNT), draw(FACTOR)
    grid, grid_sf, imported, exported, counters_sf = draw(INT16), draw(FACTOR), draw(COUNT), draw(COUNT), draw(FACTOR)
    charge, charge_sf, soc = draw(st.integers(0, 100)), draw(FACTOR), draw(st.integers(0, 100))
    models = [
        common(),
        inverter(
            draw(st.sampled_from([101, 102, 103])), W=power, W_SF=power_sf, WH=words("I", energy), WH_SF=energy_sf
        ),
        meter(
            draw(st.sampled_from([201, 202, 203, 204])), W=grid, W_SF=grid_sf,
            TotWhImp=words("I", imported), TotWhExp=words("I", exported), TotWh_SF=counters_sf,
        ),
        battery(W=charge, W_SF=charge_sf, SoC=soc, SoC_SF=0),
        *draw(st.lists(FOREIGN, max_size=3)),
    ]  # fmt: skip
    given = exact(charge, charge_sf)
    expected = {
        (GRID, Quantity.ACTIVE_POWER): exact(grid, grid_sf),
        (GRID, Quantity.IMPORTED_ENERGY): exact(imported, counters_sf),
        (GRID, Quantity.EXPORTED_ENERGY): exact(exported, counters_sf),
        (STORAGE, Quantity.ACTIVE_POWER): -given,
        (STORAGE, Quantity.SOC): float(soc),
        (SOLAR, Quantity.ACTIVE_POWER): exact(power, power_sf) - given,
    }
    if not charge:
        expected[SOLAR, Quantity.PRODUCED_ENERGY] = exact(energy, energy_sf)
    return draw(st.permutations(models)), expected


@given(
    sites(),
    st.sampled_from([40000, 50000, 0]),
    st.booleans(),
    st.one_of(st.none(), st.integers(60, 200)),
    st.one_of(st.none(), st.integers(0, 60)),
)
@settings(max_examples=150)
def test_every_order_place_and_limit_gives_the_same_numbers(
    site: tuple[list[list[int]], Mapping[tuple[NodeType, Quantity], float]],
    base: int,
    end: bool,
    max_registers: int | None,
    max_gap: int | None,
) -> None:
    models, expected = site
    reader = FakeReader(device(*models, base=base, end=end))
    scan = scan_of(reader, ReadOptions(max_registers=max_registers, max_gap=max_gap), polls=2)
    assert scan.complete
    assert all(count <= (max_registers or 125) for _, count in reader.asked)
    found = {(r.node, r.quantity): r.value for r in scan.readings if r.phase is None and r.value is not None}
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-12)


class Restless(FakeReader):
    """Every request sees the same quantities under other scale factors."""

    factors: Sequence[int] = ()
    turns = 0

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.turns += 1
        factor = self.factors[self.turns % len(self.factors)]
        raw = 10_000 // 10**factor
        models = (common(), inverter(W=raw, W_SF=factor, WH=words("I", raw), WH_SF=factor), meter(W=raw, W_SF=factor))
        self.registers = device(*models)
        return await super().read(table, address, count)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(20, 125), st.integers(0, 31))
@settings(max_examples=100)
def test_a_number_and_its_factor_are_never_of_two_requests(factors: list[int], limit: int, gap: int) -> None:
    reader = Restless({})
    reader.factors = factors
    scan = scan_of(reader, ReadOptions(max_registers=limit, max_gap=gap), polls=3)
    for node, quantity in (
        (SOLAR, Quantity.ACTIVE_POWER),
        (SOLAR, Quantity.PRODUCED_ENERGY),
        (GRID, Quantity.ACTIVE_POWER),
    ):
        (reading,) = [r for r in scan.readings if (r.node, r.quantity, r.phase) == (node, quantity, None)]
        assert reading.value == 10_000.0


KNOWN_IDS = sorted({1, *INVERTERS, *METERS, *BATTERIES, *STORAGE_DETAILS, *STATUS, *CHANNELS, 64_001, 0xFFFF, 0})
WILD_MODEL = st.builds(
    lambda model_id, length, data: [model_id, length, *data],
    st.sampled_from(KNOWN_IDS),
    st.one_of(st.integers(0, 170), WORD),
    st.lists(st.one_of(WORD, st.sampled_from([0, 1, 0x8000, 0xFFFF, 0x7FC0])), max_size=170),
)


@given(st.lists(WILD_MODEL, max_size=6), st.one_of(st.none(), st.integers(1, 125)))
@settings(max_examples=150)
def test_nonsense_is_an_error_or_finite_numbers(models: list[list[int]], max_registers: int | None) -> None:
    run = [*SUNS, *(word for each in models for word in each), *END]
    reader = FakeReader(dict(enumerate(run, 40000)))
    try:
        scan = scan_of(reader, ReadOptions(max_registers=max_registers), polls=2)
    except DriverError:
        return
    for reading in scan.readings:
        if reading.quality is Quality.GOOD:
            assert isinstance(reading.value, float)
            assert math.isfinite(reading.value)
        else:
            assert reading.value is None
    keys = [(reading.node, reading.quantity, reading.phase) for reading in scan.readings]
    assert len(keys) == len(set(keys))


@given(st.integers(-0x7FFF, 0x7FFF), FACTOR, st.sampled_from([1, -1]))
def test_a_scaled_number_is_the_nearest_there_is(raw: int, factor: int, sign: int) -> None:
    place = PointAddress(0, ModelPoint(0, 1, "int16", "SF", unscaled=False), 1, sign)
    assert place.decode(raw, factor) == pytest.approx(exact(raw * sign, factor), rel=1e-15)


CELL = st.one_of(st.none(), st.sampled_from([Quality.MISSING, Quality.INVALID]), st.floats(-1e9, 1e9))


@given(st.lists(CELL, min_size=1, max_size=5))
def test_sums_have_every_part_or_say_why_not(cells: list[Cell]) -> None:
    parts: list[Formula] = [cell(slot) for slot in range(len(cells))]
    numbers = [part for part in cells if isinstance(part, float)]
    worst = None if None in cells else next((q for q in (Quality.INVALID, Quality.MISSING) if q in cells), None)
    if len(numbers) == len(cells):
        assert total(parts)(cells) == sum(numbers)
        assert total_count(parts)(cells) == (sum(numbers) or Quality.MISSING)
        assert weighted_mean(parts, [])(cells) == pytest.approx(sum(numbers) / len(numbers))
    else:
        assert total(parts)(cells) is total_count(parts)(cells) is weighted_mean(parts, parts)(cells) is worst
    if numbers:
        assert first(parts)(cells) == numbers[0]
    else:
        assert first(parts)(cells) is worst
    some = total_of_some(parts)(cells)
    assert some == sum(numbers) if numbers and not {None, Quality.INVALID} & set(cells) else some is worst


@pytest.mark.parametrize(
    ("weights", "mean"), [((0.75, 0.25), 65.0), ((300.0, 100.0), 65.0), ((0.0, 0.0), 50.0), ((1.0, -1.0), 50.0)]
)
def test_a_mean_is_weighted_if_the_sum_of_the_weights_is_positive(weights: tuple[float, float], mean: float) -> None:
    formula = weighted_mean([cell(0), cell(1)], [cell(2), cell(3)])
    assert formula((80.0, 20.0, *weights)) == pytest.approx(mean)


def test_definitions_stand_where_the_standard_publishes_them() -> None:
    three_phase = load(103, frozenset({"W", "WH"}))
    assert {name: point.offset - 2 for name, point in three_phase.points.items()} == {
        "W": 12, "W_SF": 13, "WH": 22, "WH_SF": 24
    }  # fmt: skip
    inputs = load(160, frozenset({"DCW"}))
    assert (inputs.fixed_size, inputs.repeated_size, inputs.repeated["DCW"].offset) == (10, 20, 11)
    assert inputs.repeated.keys() == {"DCW"}
    assert three_phase.repetitions(50) == 0
    assert [inputs.repetitions(length) for length in (0, 8, 27, 28, 48, 8 + 20 * 4 + 3)] == [0, 0, 0, 1, 2, 4]
    assert load(203, frozenset({"Hz"})).points["Hz"].unscaled
    assert not load(203, frozenset({"W"})).points["W"].unscaled
    assert not load(203, frozenset({"VA"})).points["VA"].unscaled


def test_every_point_of_the_map_exists() -> None:
    tables = (INVERTERS, METERS, BATTERIES, STORAGE_DETAILS, STATUS)
    for table in tables:
        for model_id, rules in table.items():
            points = load(model_id, frozenset(rule.point for rule in rules)).points
            assert {rule.point for rule in rules} <= set(points)
    for model_id, inputs in CHANNELS.items():
        assert {rule.point for rule in inputs} <= set(load(model_id, frozenset(rule.point for rule in inputs)).repeated)
