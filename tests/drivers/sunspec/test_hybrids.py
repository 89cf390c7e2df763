"""Batteries, DC inputs and the odd ways of real devices; words of real devices where they are public."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from drivers.driver import ReadOptions
from drivers.errors import DeviceFailureError, exception_reply
from drivers.model import NodeType, Phase, Quality, Quantity, Reading, Scan
from drivers.registers.refusals import RECHECK_FIRST_S
from drivers.sunspec.driver import SunSpec
from tests.faults.sunspec import (
    NO_INT16,
    NO_UINT16,
    FakeReader,
    battery,
    common,
    device,
    inverter,
    meter,
    model,
    text,
    words,
)

GRID, SOLAR, STORAGE = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE
INVERTER = inverter(W=3000, W_SF=0, WH=words("I", 900_000), WH_SF=0, DCW=3100, DCW_SF=0)


async def read(*models: Sequence[int], options: ReadOptions | None = None) -> Scan:
    return await SunSpec(options or ReadOptions()).poll(FakeReader(device(*models)), lambda: 0.0)


def find(scan: Scan, node: NodeType, quantity: Quantity, phase: Phase | None = None) -> Reading | None:
    found = [r for r in scan.readings if (r.node, r.quantity, r.phase) == (node, quantity, phase)]
    assert len(found) <= 1
    return found[0] if found else None


def value(scan: Scan, node: NodeType, quantity: Quantity, phase: Phase | None = None) -> object:
    reading = find(scan, node, quantity, phase)
    assert reading is not None
    return reading.value


def mppt(*inputs: Sequence[int], power_factor: int = 0, energy_factor: int = 0) -> list[int]:
    """Model 160: four factors, events, count, period, then twenty registers an input."""
    head = [NO_INT16, NO_INT16, power_factor & 0xFFFF, energy_factor & 0xFFFF, 0, 0, len(inputs), NO_UINT16]
    data = head + [word for each in inputs for word in each]
    return [160, len(data), *data]


def dc_input(name: str, power: int, energy: int, index: int = 1) -> list[int]:
    return [index, *text(name, 8), 0, 0, power, *words("I", energy), 0, 0, NO_INT16, 4, 0, 0]


def ports(*each: tuple[int, int, int, int]) -> list[int]:
    """Model 714 with ports of (type, power in W, injected Wh, absorbed Wh)."""
    head = [0, 0, len(each), NO_INT16, NO_INT16, *words("QQ", 0, 0), -2 & 0xFFFF, -1 & 0xFFFF, 0, 0, 0]
    data = list(head)
    for kind, power, injected, absorbed in each:
        data += [kind, 1, *text("", 8), 0, 0, power & 0xFFFF, *words("QQ", injected, absorbed), NO_INT16, 1, 0, 0]
    return [714, len(data), *data]


async def test_a_battery_counts_charge_positive() -> None:
    scan = await read(
        common(),
        battery(
            W=1500, W_SF=0, SoC=634, SoC_SF=-1, SoH=98, SoH_SF=0, WHRtg=102, WHRtg_SF=2, V=4100, V_SF=-1, A=37, A_SF=-1
        ),
    )
    assert {reading.node for reading in scan.readings} == {STORAGE}
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == -1500.0  # 802 counts discharge positive
    assert value(scan, STORAGE, Quantity.SOC) == 63.4
    assert value(scan, STORAGE, Quantity.SOH) == 98.0
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 10_200.0
    assert value(scan, STORAGE, Quantity.DC_VOLTAGE) == 410.0
    assert value(scan, STORAGE, Quantity.DC_CURRENT) == -3.7


async def test_an_idle_battery_has_the_power_zero_and_not_minus_zero() -> None:
    for factor in (0, -1, 1):
        scan = await read(common("SolarEdge"), battery(W=0, W_SF=factor), meter(W=0, W_SF=factor))
        assert [str(value(scan, node, Quantity.ACTIVE_POWER)) for node in (STORAGE, GRID)] == ["0.0", "0.0"]
    scan = await read(common("SolarEdge"), model(213, 124, {26: words("f", 0.0)}))
    assert str(value(scan, GRID, Quantity.ACTIVE_POWER)) == "0.0"


async def test_the_state_of_charge_of_one_battery_is_not_rounded_by_its_capacity() -> None:
    scan = await read(common(), battery(SoC=1, SoC_SF=-1, WHRtg=389, WHRtg_SF=0))
    assert value(scan, STORAGE, Quantity.SOC) == 0.1  # 0.1 * 389 / 389 is 0.10000000000000002


async def test_batteries_add_up_and_their_state_of_charge_is_weighted() -> None:
    large = battery(W=-1000, W_SF=0, SoC=80, SoC_SF=0, WHRtg=150, WHRtg_SF=2)
    small = battery(W=400, W_SF=0, SoC=20, SoC_SF=0, WHRtg=50, WHRtg_SF=2)
    scan = await read(common(), large, small)
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 600.0
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 20_000.0
    assert value(scan, STORAGE, Quantity.SOC) == pytest.approx(65.0)
    scan = await read(common(), large, battery(SoC=20, SoC_SF=0))
    assert value(scan, STORAGE, Quantity.SOC) == 50.0  # one capacity is unknown: the plain mean
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) is None  # half a sum is not a sum


async def test_the_voltage_of_two_batteries_is_that_of_the_first_and_a_quantity_of_one_is_omitted() -> None:
    first = battery(V=4100, V_SF=-1, W=100, W_SF=0, SoC=50, SoC_SF=0)
    scan = await read(common(), first, battery(V=3900, V_SF=-1, W=200, W_SF=0, SoC=60, SoC_SF=0))
    assert value(scan, STORAGE, Quantity.DC_VOLTAGE) == 410.0
    short = [802, 61, *battery(V=3900, V_SF=-1, W=200)[2 : 2 + 61]]  # ends before the factor of the power
    scan = await read(common(), first, short)
    assert value(scan, STORAGE, Quantity.DC_VOLTAGE) == 410.0
    assert find(scan, STORAGE, Quantity.ACTIVE_POWER) is None


async def test_the_time_of_a_combined_reading_is_that_of_its_first_part() -> None:
    """Each reply comes a second later. The first battery is in the first request."""
    large = battery(W=-1000, W_SF=0, SoC=80, SoC_SF=0, WHRtg=150, WHRtg_SF=2)
    foreign, capacity = model(64001, 130, {}), model(713, 7, {0: 970, 1: 520, 2: 535, 3: 951, 4: 0, 5: 1, 6: -1})
    reader = FakeReader(device(common(), INVERTER, large, foreign, large, foreign, capacity))
    driver = SunSpec(ReadOptions())
    await driver.poll(reader, lambda: 0.0)
    reader.asked.clear()
    scan = await driver.poll(reader, lambda: float(len(reader.asked)))
    assert len(reader.asked) == scan.requests == 3
    times = {reading.quantity: reading.at for reading in scan.readings if reading.node is STORAGE}
    assert times[Quantity.ACTIVE_POWER] == times[Quantity.SOC] == times[Quantity.ENERGY_CAPACITY] == 1.0
    assert times[Quantity.ENERGY_STORED] == 3.0


async def test_a_hybrid_s_solar_power_is_what_its_battery_does_not_give() -> None:
    scan = await read(common(), INVERTER, battery(W=1000, W_SF=0, SoC=50, SoC_SF=0))
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == -1000.0
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 2000.0
    scan = await read(common(), INVERTER, battery(W=-1000, W_SF=0, SoC=50, SoC_SF=0))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4000.0
    # These count the battery's energy as production.
    assert find(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None
    assert find(scan, SOLAR, Quantity.DC_POWER) is None


async def test_a_hybrid_without_a_battery_is_an_inverter() -> None:
    scan = await read(common(), INVERTER, battery())
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 900_000.0
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) is None


async def test_once_seen_a_silent_battery_leaves_solar_unknown() -> None:
    reader = FakeReader(device(common(), INVERTER, battery(W=1000, W_SF=0)))
    driver = SunSpec(ReadOptions())
    await driver.poll(reader, lambda: 0.0)
    reader.registers |= device(common(), INVERTER, battery())
    scan = await driver.poll(reader, lambda: 1.0)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is None
    assert find(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None


async def test_two_storage_ports_and_two_capacity_models_are_added() -> None:
    small = model(713, 7, {0: 1000, 1: 500, 2: 20, 3: 90, 5: 0, 6: 0})
    large = model(713, 7, {0: 3000, 1: 2500, 2: 60, 3: 98, 5: 0, 6: 0})
    scan = await read(common(), INVERTER, small, large, ports((0, 4000, 700, 0), (1, -900, 300, 400), (1, 200, 30, 40)))
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 700.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 440.0
    assert value(scan, STORAGE, Quantity.DISCHARGED_ENERGY) == 330.0
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 4000.0
    assert value(scan, STORAGE, Quantity.ENERGY_STORED) == 3000.0
    assert value(scan, STORAGE, Quantity.SOC) == 50.0
    assert value(scan, STORAGE, Quantity.SOH) == 96.0
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4000.0


@pytest.mark.parametrize("silent", [battery(), battery(SoC=50, SoC_SF=0)], ids=["nothing", "no power"])
async def test_while_one_of_two_batteries_says_no_power_solar_is_unknown(silent: list[int]) -> None:
    scan = await read(common(), INVERTER, battery(W=1000, W_SF=0), silent)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is None
    assert find(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None
    scan = await read(common(), INVERTER, battery(W=0, W_SF=0), silent)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 900_000.0


async def test_a_battery_that_was_seen_is_remembered_when_the_chain_is_walked_again() -> None:
    reader = FakeReader(device(common(), INVERTER, battery(W=1000, W_SF=0), end=False))
    driver = SunSpec(ReadOptions())
    await driver.poll(reader, lambda: 0.0)
    reader.registers |= device(common(), INVERTER, battery(), end=False)
    scan = await driver.poll(reader, lambda: RECHECK_FIRST_S)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is None


async def test_a_battery_that_was_always_idle_is_so_when_the_chain_is_walked_again() -> None:
    reader = FakeReader(device(common(), INVERTER, battery(W=0, W_SF=0), end=False))
    driver = SunSpec(ReadOptions())
    for at in (0.0, RECHECK_FIRST_S):
        scan = await driver.poll(reader, lambda: at)  # noqa: B023 - called in this pass of the loop
        assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 900_000.0


async def test_a_battery_that_could_not_be_read_was_not_seen() -> None:
    reader = FakeReader(device(common(), INVERTER, battery(W=0, W_SF=0)))
    reader.failures[40122 + 2 + 45] = exception_reply(4, "battery")
    driver = SunSpec(ReadOptions(max_gap=0))
    assert find(await driver.poll(reader, lambda: 0.0), SOLAR, Quantity.PRODUCED_ENERGY) is None
    reader.failures.clear()
    assert value(await driver.poll(reader, lambda: 1.0), SOLAR, Quantity.PRODUCED_ENERGY) == 900_000.0


async def test_while_the_battery_cannot_be_read_solar_is_unknown() -> None:
    reader = FakeReader(device(common(), INVERTER, battery(W=1000, W_SF=0)))
    reader.failures[40122 + 2 + 45] = exception_reply(4, "battery")
    scan = await SunSpec(ReadOptions(max_gap=0)).poll(reader, lambda: 0.0)
    assert [str(error) for error in scan.errors] == ["battery: Modbus exception 4 (server device failure)"]
    assert find(scan, SOLAR, Quantity.ACTIVE_POWER) is None
    assert find(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None
    assert value(scan, SOLAR, Quantity.VOLTAGE, Phase.L1) is None


async def test_model_124_gives_the_state_of_charge_and_120_the_capacity() -> None:
    nameplate = model(120, 26, {17: 96, 18: 2}, fill=0)
    storage = model(124, 24, {6: 5550, 20: -2, 8: 4123, 22: -1}, fill=0)
    scan = await read(common(), nameplate, INVERTER, storage)
    assert value(scan, STORAGE, Quantity.SOC) == 55.5
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 9600.0
    assert value(scan, STORAGE, Quantity.DC_VOLTAGE) == 412.3
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0  # nothing tells the battery's share
    scan = await read(common(), nameplate, INVERTER)
    assert {reading.node for reading in scan.readings} == {SOLAR}  # a nameplate alone is no battery


async def test_the_stored_energy_of_two_hybrids_is_of_both_or_missing() -> None:
    large = model(713, 7, {0: 150, 1: 120, 2: 80, 3: 98, 5: 2, 6: 0})
    small = model(713, 7, {0: 50, 1: 10, 2: 20, 3: 90, 5: 2, 6: 0})
    plain = (common(serial="2"), model(120, 26, {17: NO_UINT16, 18: 0}, fill=0), INVERTER)
    scan = await read(common(serial="1"), INVERTER, large, common(serial="2"), INVERTER, small)
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 20_000.0
    assert value(scan, STORAGE, Quantity.ENERGY_STORED) == 13_000.0
    assert value(scan, STORAGE, Quantity.SOC) == pytest.approx(65.0)
    scan = await read(common(serial="1"), INVERTER, large, common(serial="2"), INVERTER, model(713, 7, {5: 2, 6: 0}))
    assert value(scan, STORAGE, Quantity.ENERGY_STORED) is None
    nameplate = model(120, 26, {17: 96, 18: 2}, fill=0)
    storage = model(124, 24, {6: 5550, 20: -2}, fill=0)
    scan = await read(common(serial="1"), nameplate, INVERTER, storage, *plain)
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 9600.0  # the second inverter has no battery


async def test_the_status_model_s_counter_serves_where_no_inverter_model_has_one() -> None:
    status = model(122, 44, {3: words("Q", 123_456)}, fill=0)
    assert value(await read(common(), status), SOLAR, Quantity.PRODUCED_ENERGY) == 123_456.0
    assert value(await read(common(), status, INVERTER), SOLAR, Quantity.PRODUCED_ENERGY) == 900_000.0
    # A counter that is not there for a moment is not replaced by another.
    scan = await read(common(), status, inverter(W=3000, W_SF=0))
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None


async def test_dc_power_is_the_sum_of_the_inputs_where_the_inverter_does_not_say() -> None:
    inputs = mppt(dc_input("", 210, 5), dc_input("", 190, 5), dc_input("", NO_UINT16, 0), power_factor=1)
    scan = await read(common(), inverter(W=3900, W_SF=0), inputs)
    assert value(scan, SOLAR, Quantity.DC_POWER) == 4000.0
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3900.0
    assert find(scan, STORAGE, Quantity.ACTIVE_POWER) is None
    assert value(await read(common(), INVERTER, inputs), SOLAR, Quantity.DC_POWER) == 3100.0


async def test_the_inputs_of_one_of_two_inverters_are_not_those_of_both() -> None:
    second = inverter(W=100, W_SF=0)
    scan = await read(common(serial="1"), second, mppt(dc_input("", 210, 5)), common(serial="2"), second)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 200.0
    assert value(scan, SOLAR, Quantity.DC_POWER) is None


CHARGING = ports((0, 4000, 700, 0), (1, -900, 300, 400))
STATES: dict[tuple[NodeType, Quantity], object] = {
    (STORAGE, Quantity.ACTIVE_POWER): 900.0,
    (STORAGE, Quantity.CHARGED_ENERGY): 400.0,
    (STORAGE, Quantity.DISCHARGED_ENERGY): 300.0,
    (SOLAR, Quantity.ACTIVE_POWER): 4000.0,
    (SOLAR, Quantity.DC_POWER): 4000.0,
    (SOLAR, Quantity.PRODUCED_ENERGY): 700.0,
}


def states(scan: Scan) -> dict[tuple[NodeType, Quantity], object]:
    """Return the values of `STATES`, without those that are omitted or missing."""
    found = {key: find(scan, *key) for key in STATES}
    return {key: reading.value for key, reading in found.items() if reading and reading.value is not None}


async def test_the_inputs_of_two_hybrids_in_one_chain_are_added() -> None:
    one = await read(common(serial="1"), INVERTER, CHARGING)
    two = await read(common(serial="1"), INVERTER, CHARGING, common(serial="2"), INVERTER, CHARGING)
    assert states(one) == STATES
    assert states(two) == {key: 2 * number for key, number in STATES.items() if isinstance(number, float)}


@pytest.mark.parametrize("hybrid_first", [True, False])
async def test_a_hybrid_beside_an_inverter_without_battery_inputs(hybrid_first: bool) -> None:
    """The inputs of one inverter are not the panels of both, so solar power is AC power plus charge power."""
    hybrid, plain = [common(serial="1"), INVERTER, CHARGING], [common(serial="2"), INVERTER]
    for other in (plain, [*plain, ports((0, 3100, 700, 0))], [*plain, mppt(dc_input("", 3100, 5))]):
        scan = await read(*(hybrid + other if hybrid_first else other + hybrid))
        storage = {key: number for key, number in STATES.items() if key[0] is STORAGE}
        assert states(scan) == storage | {(SOLAR, Quantity.ACTIVE_POWER): 6900.0}


async def test_a_battery_inverter_beside_a_hybrid_has_no_panels() -> None:
    alone = [common(serial="2"), inverter(W=-200, W_SF=0), ports((1, -210, 30, 40))]
    scan = await read(common(serial="1"), INVERTER, CHARGING, *alone)
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 1110.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 440.0
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0 - 200.0 + 1110.0
    assert find(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None


async def test_half_of_the_inputs_of_two_hybrids_is_no_sum() -> None:
    silent = ports((0, 0x8000, 700, 0), (1, 0x8000, 300, 400))
    scan = await read(common(serial="1"), INVERTER, CHARGING, common(serial="2"), INVERTER, silent)
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) is None
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is None
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 800.0


@pytest.mark.parametrize(
    "models",
    [
        [ports((0, 4000, 700, 0)), ports((1, -900, 300, 400))],
        [ports((1, -900, 300, 400)), ports((0, 4000, 700, 0))],
        [ports((0, 1000, 300, 0), (1, -1000, 200, 100)), ports((1, 100, 100, 300), (0, 3000, 400, 0))],
        [mppt(dc_input("MPPT 1", 4000, 700)), mppt(dc_input("StCha 2", 900, 400), dc_input("StDisCha 3", 0, 300))],
        [mppt(dc_input("", 4000, 700), dc_input("", 900, 400)), CHARGING],
    ],
    ids=["714, 714 of the battery", "714 of the battery, 714", "two of both", "160, 160 of the battery", "160, 714"],
)
async def test_all_models_with_dc_inputs_of_an_inverter_are_used(models: list[list[int]]) -> None:
    assert states(await read(common(), INVERTER, *models)) == STATES


async def test_inputs_whose_names_fail_twice_have_no_type() -> None:
    reader = FakeReader(device(common(), INVERTER, mppt(dc_input("MPPT 1", 4000, 700), dc_input("StCha 2", 900, 400))))
    first_name = 40002 + 68 + 52 + 2 + 8 + 1
    assert (first_name, 8) not in reader.asked
    reader.failures = {first_name: exception_reply(4, "name")}
    driver = SunSpec(ReadOptions())
    with pytest.raises(DeviceFailureError):
        await driver.poll(reader, lambda: 0.0)
    assert reader.asked[-1] == (first_name, 8)
    scan = await driver.poll(reader, lambda: 0.0)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is not None
    assert driver.available == {NodeType.SOLAR}


async def test_the_dc_power_is_that_of_all_models_with_dc_inputs() -> None:
    plain, first, second = inverter(W=3000, W_SF=0), mppt(dc_input("", 2000, 5)), mppt(dc_input("", 1100, 5))
    assert value(await read(common(), plain, first, second), SOLAR, Quantity.DC_POWER) == 3100.0
    both = [common(serial="1"), plain, first, common(serial="2"), plain, second]
    assert value(await read(*both), SOLAR, Quantity.DC_POWER) == 3100.0
    reader = FakeReader(device(common(), plain, first, second))
    reader.failures[40002 + 68 + 52 + 30 + 2 + 8 + 1] = exception_reply(2, "name")
    scan = await SunSpec(ReadOptions()).poll(reader, lambda: 0.0)
    assert value(scan, SOLAR, Quantity.DC_POWER) is None, "the second model may be the battery"


async def test_model_714_tells_the_inputs_from_the_battery() -> None:
    capacity = model(713, 7, {0: 100, 1: 60, 2: 625, 3: 960, 4: 0, 5: 2, 6: -1})
    scan = await read(common(), inverter(W=3900, W_SF=0), capacity, ports((0, 4100, 700, 0)))
    assert value(scan, SOLAR, Quantity.DC_POWER) == 4100.0


@pytest.mark.parametrize(("name", "power"), [("StCha 2", 600.0), ("StDisCha 2", -600.0)])
async def test_an_input_for_one_direction_of_the_battery_names_it(name: str, power: float) -> None:
    scan = await read(common(), INVERTER, mppt(dc_input("MPPT 1", 2000, 1), dc_input(name, 600, 1)))
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == power
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 2000.0


async def test_named_inputs_without_a_value_leave_the_power_and_not_the_counter_of_the_inverter() -> None:
    """Two counters of the same energy have different values. The battery is idle."""
    inputs = mppt(dc_input("MPPT 1", NO_UINT16, 0), dc_input("StCha 2", 0, 0))
    scan = await read(common(), INVERTER, inputs)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) is None


async def test_a_counter_of_an_input_in_its_upper_half_is_no_negative_number() -> None:
    inputs = mppt(dc_input("MPPT 1", 5, 0xFFB6D9FD), dc_input("StCha 2", 5, 1))
    assert value(await read(common(), INVERTER, inputs), SOLAR, Quantity.PRODUCED_ENERGY) == float(0xFFB6D9FD)


async def test_unnamed_inputs_of_a_hybrid_may_be_the_battery() -> None:
    inputs = mppt(dc_input("", 210, 5), dc_input("", 190, 5))
    scan = await read(common(), inverter(W=3900, W_SF=0), inputs, model(124, 24, {6: 55, 20: 0}))
    assert value(scan, SOLAR, Quantity.DC_POWER) is None


async def test_inputs_that_refuse_to_name_themselves_are_not_used() -> None:
    reader = FakeReader(device(common(), mppt(dc_input("", 210, 5)), inverter(W=3900, W_SF=0)))
    reader.failures[40002 + 68 + 2 + 8 + 1] = exception_reply(2, "name")
    scan = await SunSpec(ReadOptions()).poll(reader, lambda: 0.0)
    assert scan.complete
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3900.0
    assert value(scan, SOLAR, Quantity.DC_POWER) is None


async def test_named_inputs_of_a_hybrid() -> None:
    inputs = mppt(
        dc_input("MPPT 1", 2000, 30_000),
        dc_input("MPPT 2", 1000, 0),
        dc_input("StCha 3", 600, 4000),
        dc_input("StDisCha 4", 0, 3000),
        energy_factor=1,
    )
    scan = await read(common(), INVERTER, inputs, model(124, 24, {6: 55, 20: 0}))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0
    assert value(scan, SOLAR, Quantity.DC_POWER) == 3000.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 300_000.0
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 600.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 40_000.0
    assert value(scan, STORAGE, Quantity.DISCHARGED_ENERGY) == 30_000.0
    assert value(scan, STORAGE, Quantity.SOC) == 55.0


async def test_a_discharging_battery_of_named_inputs_is_negative() -> None:
    inputs = mppt(dc_input("MPPT 1", 2000, 1), dc_input("StCha 3", 0, 4000), dc_input("StDisCha 4", 700, 3000))
    scan = await read(common(), INVERTER, inputs, model(124, 24, {6: 55, 20: 0}))
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == -700.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 4000.0
    assert value(scan, STORAGE, Quantity.DISCHARGED_ENERGY) == 3000.0


RATED = {120: model(120, 26, {1: 50, 2: 2}), 702: model(702, 50, {0: 5000, 43: 0})}
FACTORS = [model(120, 26, {1: 500, 2: 1}), model(120, 26, {1: 50_000, 2: -1})]


@pytest.mark.parametrize("rating", [*RATED.values(), *FACTORS], ids=["120", "702", "factor 1", "factor -1"])
async def test_a_power_above_twice_the_rated_power_is_invalid(rating: list[int]) -> None:
    """The inverter is rated at 5 kW by either model. The power at its meter has no bound."""
    grid = meter(W=3200, W_SF=1)
    for power, quality in ((9999, Quality.GOOD), (10_001, Quality.INVALID), (-10_001, Quality.INVALID)):
        scan = await read(common(), rating, inverter(W=power, W_SF=0, VA=20_000, VA_SF=0), grid)
        reading = find(scan, SOLAR, Quantity.ACTIVE_POWER)
        assert reading is not None
        assert reading.quality is quality
        assert value(scan, SOLAR, Quantity.APPARENT_POWER) == 20_000.0
        assert value(scan, GRID, Quantity.ACTIVE_POWER) == 32_000.0


async def test_the_rated_power_of_a_chain_is_that_of_all_its_inverters() -> None:
    first = [common(serial="A"), RATED[120], inverter(W=4000, W_SF=0)]
    for second, quality in (
        ([common(serial="B"), RATED[702], inverter(W=15_000, W_SF=0)], Quality.GOOD),
        ([common(serial="B"), RATED[702], inverter(W=17_000, W_SF=0)], Quality.INVALID),
        ([common(serial="B"), inverter(W=17_000, W_SF=0)], Quality.GOOD),  # not all are known
        ([common(serial="B"), model(120, 26, {1: 0, 2: 0}), inverter(W=17_000, W_SF=0)], Quality.GOOD),
    ):
        reading = find(await read(*first, *second), SOLAR, Quantity.ACTIVE_POWER)
        assert reading is not None
        assert reading.quality is quality


@pytest.mark.parametrize("words_", [{1: NO_UINT16, 2: 0}, {1: 0, 2: 0}, {1: 50, 2: NO_INT16}, {1: 50, 2: 11}])
async def test_a_rated_power_that_is_none_bounds_nothing(words_: dict[int, int]) -> None:
    scan = await read(common(), model(120, 26, words_), inverter(W=30_000, W_SF=0))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 30_000.0


async def test_the_rated_power_of_an_inverter_that_is_twice_in_the_chain_counts_once() -> None:
    one = [common(serial="A"), RATED[120], inverter(W=11_000, W_SF=0)]
    reading = find(await read(*one, *one), SOLAR, Quantity.ACTIVE_POWER)
    assert reading is not None
    assert reading.quality is Quality.INVALID


async def test_a_rated_power_of_one_watt_bounds_the_power() -> None:
    reading = find(await read(common(), model(120, 26, {1: 1, 2: 0}), INVERTER), SOLAR, Quantity.ACTIVE_POWER)
    assert reading is not None
    assert reading.quality is Quality.INVALID


async def test_a_rated_power_that_is_refused_or_whose_factor_is_beyond_the_model_bounds_nothing() -> None:
    """In place of the factor is the id of the next model, 2."""
    high = inverter(W=30_000, W_SF=0)
    assert value(await read(common(), [120, 2, 4, 1], model(2, 14, {}), high), SOLAR, Quantity.ACTIVE_POWER) == 30_000.0
    reader = FakeReader(device(common(), RATED[120], high))
    reader.failures[40002 + 68 + 2 + 1] = exception_reply(4, "rated power")
    scan = await SunSpec(ReadOptions()).poll(reader, lambda: 0.0)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 30_000.0


async def test_more_inputs_than_one_request_holds_with_their_factor_give_no_sum() -> None:
    scan = await read(common(), inverter(W=9, W_SF=0), mppt(*[dc_input("", 100, 1)] * 12))
    assert value(scan, SOLAR, Quantity.DC_POWER) is None
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 9.0


async def test_words_of_a_fronius_gen24_s_charging_battery() -> None:
    """Factors and third input as traced in evcc issue 16256, which gives 2609.8 W for the input's power."""
    head = bytes.fromhex("fffcfffefffffffeffffffff0004ffff")
    charge = bytes.fromhex("0003537443686120330000000000000000 00ee97a6e365f2353616c92e814b778000ffffffffffff")
    assert (len(head), len(charge)) == (16, 40)
    idle = dc_input("StDisCha 4", NO_UINT16, 0)
    pv = [dc_input("MPPT 1", 20_000, 5), dc_input("MPPT 2", 30_000, 5)]
    inputs = [*words("8H", *_registers(head)), *pv[0], *pv[1], *_registers(charge), *idle]
    scan = await read(common("Fronius"), INVERTER, [160, 88, *inputs], model(124, 24, {6: 500, 20: -1}))
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 2609.8
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 8_927_372.25  # 0x353616C9 in units of 0.01 Wh
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 5000.0


async def test_words_of_a_kostal_meter() -> None:
    """Model 203 as traced in evcc issue 18358, which gives 2350 W for WphA; its export counts down from zero."""
    data = bytes.fromhex(
        "8000040600d000a0fffe800059c65aae5aad80008000800080 00fffe1386fffe013300eb002f00180001013500ec002f001d0001ffe3"
        "fff20000fff1000103e303e603e80348fffdffb6d9fdffddef20ffe473deffe0ba02002e108f001822c10017c1ff0011e8cc0000ffa8"
        "44deffda009dffe26d05ffddd530003c6930001aa89c001d6524001809890000"
    )
    registers = _registers(data)
    registers += [0x8000, 0x0000] * 16
    registers += [0] * (105 - len(registers))
    scan = await read(common("KOSTAL", "PLENTICORE plus"), [203, 105, *registers])
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == 3070.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER, Phase.L1) == 2350.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER, Phase.L2) == 470.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER, Phase.L3) == 240.0
    assert value(scan, GRID, Quantity.VOLTAGE, Phase.L1) == 229.82
    assert value(scan, GRID, Quantity.CURRENT, Phase.L1) == 10.3
    assert value(scan, GRID, Quantity.CURRENT) is None
    assert value(scan, GRID, Quantity.FREQUENCY) == 49.98
    assert value(scan, GRID, Quantity.IMPORTED_ENERGY) == 3_018_895.0
    assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == 4_793_859.0


async def test_the_highest_number_in_the_lower_half_of_a_kostal_meter_stands_as_it_is() -> None:
    scan = await read(common("KOSTAL"), meter(TotWhExp=words("I", 0x7FFF_FFFF), TotWh_SF=0))
    assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == float(0x7FFF_FFFF)


async def test_a_kostal_meter_that_follows_the_standard_is_read_as_it_stands() -> None:
    scan = await read(common("KOSTAL"), meter(TotWhImp=words("I", 0xFFB6D9FD), TotWhExp=words("I", 5000), TotWh_SF=0))
    assert value(scan, GRID, Quantity.IMPORTED_ENERGY) == float(0xFFB6D9FD), "only its export counts down"
    assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == 5000.0


async def test_a_counter_in_its_upper_half_is_no_negative_number_elsewhere() -> None:
    scan = await read(common("Acme"), meter(TotWhExp=words("I", 0xFFB6D9FD), TotWh_SF=0))
    assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == float(0xFFB6D9FD)


async def test_a_solaredge_meter_counts_export_positive_but_its_counters_do_not() -> None:
    exporting = meter(
        W=500, WphA=200, WphB=200, WphC=100, W_SF=0, TotWhImp=words("I", 100), TotWhExp=words("I", 200), TotWh_SF=0
    )
    scan = await read(common("SolarEdge "), INVERTER, common("WattNode"), exporting)
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -500.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER, Phase.L1) == -200.0
    assert value(scan, GRID, Quantity.IMPORTED_ENERGY) == 100.0
    assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == 200.0
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0


def der(power: int, injected: int) -> list[int]:
    """Model 701: its factors stand behind 111 registers of values."""
    at: dict[int, Sequence[int] | int] = {8: power, 15: words("I", 5001), 17: words("Q", injected), 39: 1000, 45: 2301}
    at |= {111: -2, 112: -1, 113: -2, 114: 0, 115: -3, 116: 0, 117: 0, 118: 1, 119: 0, 120: -1}
    return model(701, 153, at)


async def test_der_models_of_a_pv_system_and_of_a_hybrid() -> None:
    capacity = model(713, 7, {0: 100, 1: 60, 2: 625, 3: 960, 4: 0, 5: 2, 6: -1})
    assert value(await read(common(), der(4000, 12_345)), SOLAR, Quantity.PRODUCED_ENERGY) == 123_450.0
    scan = await read(common(), der(4000, 12_345), capacity, ports((0, 5100, 700, 0), (1, -900, 300, 400)))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 5100.0
    assert value(scan, SOLAR, Quantity.DC_POWER) == 5100.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 700.0
    assert value(scan, SOLAR, Quantity.FREQUENCY) == 50.01
    assert value(scan, SOLAR, Quantity.VOLTAGE, Phase.L1) == 230.1
    assert find(scan, SOLAR, Quantity.ACTIVE_POWER, Phase.L1) is None  # the inverter's phases hold the battery as well
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 900.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 400.0
    assert value(scan, STORAGE, Quantity.DISCHARGED_ENERGY) == 300.0
    assert value(scan, STORAGE, Quantity.SOC) == 62.5
    assert value(scan, STORAGE, Quantity.SOH) == 96.0
    assert value(scan, STORAGE, Quantity.ENERGY_STORED) == 6000.0
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 10_000.0


async def test_points_too_far_from_their_factor_for_the_device_s_limit_are_left_out() -> None:
    scan = await read(common(), der(4000, 12_345), options=ReadOptions(max_registers=100))
    assert scan.complete
    assert find(scan, SOLAR, Quantity.ACTIVE_POWER) is None
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER, Phase.L1) == 1000.0
    assert value(scan, SOLAR, Quantity.VOLTAGE, Phase.L1) == 230.1
    for limit, power in ((106, False), (107, True)):  # the power is at 8 and its factor at 114
        scan = await read(common(), der(4000, 12_345), options=ReadOptions(max_registers=limit))
        assert (find(scan, SOLAR, Quantity.ACTIVE_POWER) is not None) == power


def _registers(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
