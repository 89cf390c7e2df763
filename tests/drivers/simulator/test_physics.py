from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.simulator.physics import DAY_S, Battery, Energy, SimulatedPlant
from drivers.simulator.plants import Roof, Sky

HOUR_S = 3600.0
# What rounding leaves of sums of a few thousand additions to counters of some MWh.
ROUNDING_WH = 1e-4

seeds = st.integers(0, 2**32)
moments = st.floats(0, 2 * DAY_S)
cuts = st.lists(st.floats(0, HOUR_S), min_size=1, max_size=12)
on_a_slow_machine = settings(max_examples=40)


def lifetime(site: SimulatedPlant) -> dict[str, Energy]:
    return {name: flow.energy for name, flow in site.flows.items()}


def grown(site: SimulatedPlant, since: dict[str, Energy]) -> dict[str, float]:
    """Positive minus negative energy of each device since then, in Wh."""
    return {
        name: now.positive_Wh - now.negative_Wh - since[name].positive_Wh + since[name].negative_Wh
        for name, now in lifetime(site).items()
    }


def balance(by_name: dict[str, float]) -> float:
    """loads + storage - solar - grid: nothing."""
    loads = by_name["household"] + by_name["heat_pump"] + by_name["boiler"] + by_name["charger"]
    return loads + by_name["storage"] - by_name["pv_south"] - by_name["pv_west"] - by_name["grid"]


@on_a_slow_machine
@given(seeds, moments, cuts)
def test_the_books_balance_at_every_moment(seed: int, start_s: float, steps: list[float]) -> None:
    site = SimulatedPlant(seed, start_s)
    began, stored_Wh, before = lifetime(site), site.battery.stored_Wh, lifetime(site)
    for step in steps:
        site.advance(step)
        powers = {name: flow.power_W for name, flow in site.flows.items()}
        assert all(map(math.isfinite, powers.values()))
        assert balance(powers) == pytest.approx(0, abs=1e-6)
        assert balance(grown(site, began)) == pytest.approx(0, abs=ROUNDING_WH)
        assert 0 <= site.battery.stored_Wh <= site.battery.capacity_Wh
        assert 0 <= site.soc <= 100
        for name, now in lifetime(site).items():
            assert now.positive_Wh >= before[name].positive_Wh
            assert now.negative_Wh >= before[name].negative_Wh
            assert name in ("grid", "storage") or powers[name] >= 0
        before = lifetime(site)
    charged, discharged = (now - then for now, then in zip(site.storage.energy, began["storage"], strict=True))
    in_and_out = charged * site.battery.efficiency - discharged / site.battery.efficiency
    assert site.battery.stored_Wh - stored_Wh == pytest.approx(in_and_out, abs=1e-3)


@on_a_slow_machine
@given(seeds, moments, cuts)
def test_how_time_is_cut_changes_nothing(seed: int, start_s: float, steps: list[float]) -> None:
    cut, whole = SimulatedPlant(seed, start_s), SimulatedPlant(seed, start_s)
    for step in steps:
        cut.advance(step)
    whole.advance(cut.now_s - whole.now_s)
    assert whole.now_s == pytest.approx(cut.now_s)
    for name, flow in cut.flows.items():
        assert flow.positive_Wh == pytest.approx(whole.flows[name].positive_Wh, rel=0, abs=ROUNDING_WH)
        assert flow.negative_Wh == pytest.approx(whole.flows[name].negative_Wh, rel=0, abs=ROUNDING_WH)
    assert cut.battery.stored_Wh == pytest.approx(whole.battery.stored_Wh, abs=ROUNDING_WH)


@settings(max_examples=6)
@given(seeds, st.sampled_from([5, 11, 19]))
def test_counters_are_the_integrals_of_their_powers(seed: int, hour: int) -> None:
    """Against a sum of its own, second by second. Within a second, only the battery changes its power: when it is full
    or empty, which one second at its limit bounds."""
    site = SimulatedPlant(seed, hour * HOUR_S)
    began = lifetime(site)
    sums = {name: [0.0, 0.0] for name in site.flows}
    ends = 0
    for _ in range(3 * 3600):
        for name, flow in site.flows.items():
            sums[name][flow.power_W < 0] += abs(flow.power_W) / 3600
        ends += site.battery.lasts(site.storage.power_W) < 1
        site.advance(1)
    for name, now in lifetime(site).items():
        slack = ROUNDING_WH + (5_000 / 3600 * ends if name in ("grid", "storage") else 0)
        assert now.positive_Wh - began[name].positive_Wh == pytest.approx(sums[name][0], abs=slack)
        assert now.negative_Wh - began[name].negative_Wh == pytest.approx(sums[name][1], abs=slack)


def test_a_seed_is_a_site() -> None:
    first, again, other = SimulatedPlant(7), SimulatedPlant(7), SimulatedPlant(8)
    for site in (first, again, other):
        site.advance(DAY_S)
    assert lifetime(first) == lifetime(again)
    assert first.days == again.days
    assert first.days != other.days


def test_a_day_has_all_there_is() -> None:
    site = SimulatedPlant(seed=1, start_s=0)
    produced: list[tuple[float, float]] = []
    seen: dict[str, set[float]] = {name: set() for name in site.flows}
    socs = []
    for _ in range(24 * 60):
        produced.append((site.pv_south.power_W, site.pv_west.power_W))
        for name, flow in site.flows.items():
            seen[name].add(flow.power_W)
        socs.append(site.soc)
        site.advance(60)
    assert all(minute == (0, 0) for minute in (*produced[: 4 * 60], *produced[22 * 60 :]))
    south, west = (
        sum(minute * power[roof] for minute, power in enumerate(produced)) / sum(power[roof] for power in produced)
        for roof in (0, 1)
    )
    assert south < 13 * 60 < west
    assert seen["heat_pump"] == {0, 1800}
    assert seen["boiler"] == {0, 2000}
    assert len(seen["charger"]) > 5
    assert max(seen["pv_south"]) <= 6_000
    assert min(seen["grid"]) < -1_000
    assert max(seen["grid"]) > 1_000
    assert (min(socs), max(socs)) == (0, 100)
    assert 40_000 < site.days[0]["pv_south"].positive_Wh + site.days[0]["pv_west"].positive_Wh < 80_000


@pytest.mark.parametrize(
    ("changes", "hours"),
    [((), 24), (((2 * HOUR_S, HOUR_S),), 23), (((3 * HOUR_S, -HOUR_S),), 25)],
    ids=["normal", "spring", "autumn"],
)
def test_a_local_day_ends_at_local_midnight(changes: tuple[tuple[float, float], ...], hours: int) -> None:
    site = SimulatedPlant(seed=5, start_s=0, clock_changes=changes)
    began = lifetime(site)
    site.advance(hours * HOUR_S - 1)
    assert site.days == []
    assert site.time_of_day_s == DAY_S - 1
    last = site.today
    site.advance(1)
    assert site.time_of_day_s == 0
    assert site.day == 1
    assert all(energy == Energy(0, 0) for energy in site.today.values())
    assert site.days[0]["household"].positive_Wh >= last["household"].positive_Wh
    site.advance(30 * HOUR_S)
    assert len(site.days) == 2
    for name, now in lifetime(site).items():
        parts = [*site.days, site.today]
        for sign in (0, 1):
            total = sum(part[name][sign] for part in parts)
            assert total == pytest.approx(now[sign] - began[name][sign], abs=ROUNDING_WH)


def test_people_follow_the_local_clock_and_the_sun_does_not() -> None:
    plain, summer = SimulatedPlant(3, 0), SimulatedPlant(3, 0, clock_changes=[(2 * HOUR_S, HOUR_S)])
    for site in (plain, summer):
        site.advance(12 * HOUR_S)
    assert summer.time_of_day_s - plain.time_of_day_s == HOUR_S
    assert summer.pv_south.positive_Wh == pytest.approx(plain.pv_south.positive_Wh)
    assert summer.pv_south.power_W == plain.pv_south.power_W
    assert summer.household.power_W != plain.household.power_W


def test_the_first_day_begins_when_the_site_does() -> None:
    site = SimulatedPlant(2, 23 * HOUR_S + 7)
    began = site.grid.positive_Wh
    site.advance(HOUR_S - 7)
    assert len(site.days) == 1
    assert site.days[0]["grid"].positive_Wh == pytest.approx(site.grid.positive_Wh - began)


@given(st.floats(0, 10_000), st.floats(-20_000, 20_000))
def test_a_battery_stops_where_it_says(stored_Wh: float, surplus_W: float) -> None:
    battery = Battery(stored_Wh)
    power_W = battery.power(surplus_W)
    assert -5_000 <= power_W <= 4_000
    assert power_W * surplus_W >= 0
    lasts = battery.lasts(power_W)
    assert lasts >= 0
    if math.isfinite(lasts):
        battery.hold(power_W, lasts)
        assert battery.stored_Wh == (10_000 if power_W > 0 else 0)
        assert battery.power(surplus_W) == 0


@given(st.floats(0, 24), st.floats(0, 1), st.floats(0, 90), st.floats(-180, 180))
def test_a_roof_stays_within_its_inverter(hour: float, clearness: float, tilt: float, azimuth: float) -> None:
    sun = Sky(1).sun(hour)
    assert math.hypot(*sun) == pytest.approx(1)
    power = Roof(5_000, 4_000, tilt, azimuth).power(sun, clearness)
    assert 0 <= power <= 4_000
    assert Roof(5_000, 4_000, tilt, azimuth).power(sun, 1.0) >= power


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_time_only_passes_forward(seconds: float) -> None:
    with pytest.raises(ValueError, match="time cannot pass by"):
        SimulatedPlant().advance(seconds)


def test_impossible_sites_are_refused() -> None:
    with pytest.raises(ValueError, match=r"start_s .* \(found -1\)"):
        SimulatedPlant(start_s=-1)
    with pytest.raises(ValueError, match="clock_changes must be multiples of 10 s"):
        SimulatedPlant(clock_changes=[(7205, 3600)])
