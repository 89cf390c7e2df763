"""Every point that the driver reads: its register, factor, node, quantity, phase and sign, by the SunSpec models.

Each device has a number in every register that the driver may read, and no two numbers are equal. The offsets are those
that the SunSpec models publish; they count from the first word after the length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from drivers.driver import ReadOptions
from drivers.model import NodeType, Phase, Quantity
from drivers.sunspec.driver import SunSpec
from tests.faults.sunspec import NO_INT16, NO_UINT16, FakeReader, common, device, model, text, words

GRID, SOLAR, STORAGE = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE
L1, L2, L3 = Phase.L1, Phase.L2, Phase.L3
Q = Quantity

Words = Mapping[int, Sequence[int] | int]
Found = dict[tuple[NodeType | None, Quantity, Phase | None], object]
NO_FLOAT = words("I", 0x7FC0_0000)

INVERTER: Words = {
    0: 151, 1: 52, 2: 51, 3: 48, 4: -1,  # current
    5: 4001, 6: 4002, 7: 4003, 8: 2304, 9: 2311, 10: 2297, 11: -1,  # voltages between the phases, then to neutral
    12: 345, 13: 1, 14: 4998, 15: -2, 16: 3500, 17: 0, 18: -120, 19: 0, 20: 98, 21: -2,
    22: words("I", 7_654_321), 24: 0, 25: 95, 26: -1, 27: 3801, 28: -1, 29: 360, 30: 1,
    31: 415, 32: 412, 33: 409, 34: 406, 35: -1, 36: 4, 37: 0,
}  # fmt: skip
OF_INVERTER: Found = {
    (SOLAR, Q.ACTIVE_POWER, None): 3450.0,
    (SOLAR, Q.PRODUCED_ENERGY, None): 7_654_321.0,
    (SOLAR, Q.APPARENT_POWER, None): 3500.0,
    (SOLAR, Q.REACTIVE_POWER, None): -120.0,
    (SOLAR, Q.CURRENT, None): 15.1,
    (SOLAR, Q.CURRENT, L1): 5.2,
    (SOLAR, Q.CURRENT, L2): 5.1,
    (SOLAR, Q.CURRENT, L3): 4.8,
    (SOLAR, Q.VOLTAGE, L1): 230.4,
    (SOLAR, Q.VOLTAGE, L2): 231.1,
    (SOLAR, Q.VOLTAGE, L3): 229.7,
    (SOLAR, Q.FREQUENCY, None): 49.98,
    (SOLAR, Q.DC_POWER, None): 3600.0,
    (SOLAR, Q.DC_VOLTAGE, None): 380.1,
    (SOLAR, Q.DC_CURRENT, None): 9.5,
    (SOLAR, Q.TEMPERATURE, None): 41.5,
}
FLOAT_INVERTER: Words = {offset: words("f", 1000.5 + offset) for offset in range(0, 46, 2)}
OF_FLOAT_INVERTER: Found = {
    (SOLAR, Q.CURRENT, None): 1000.5,
    (SOLAR, Q.CURRENT, L1): 1002.5,
    (SOLAR, Q.CURRENT, L2): 1004.5,
    (SOLAR, Q.CURRENT, L3): 1006.5,
    (SOLAR, Q.VOLTAGE, L1): 1014.5,
    (SOLAR, Q.VOLTAGE, L2): 1016.5,
    (SOLAR, Q.VOLTAGE, L3): 1018.5,
    (SOLAR, Q.ACTIVE_POWER, None): 1020.5,
    (SOLAR, Q.FREQUENCY, None): 1022.5,
    (SOLAR, Q.APPARENT_POWER, None): 1024.5,
    (SOLAR, Q.REACTIVE_POWER, None): 1026.5,
    (SOLAR, Q.PRODUCED_ENERGY, None): 1030.5,
    (SOLAR, Q.DC_CURRENT, None): 1032.5,
    (SOLAR, Q.DC_VOLTAGE, None): 1034.5,
    (SOLAR, Q.DC_POWER, None): 1036.5,
    (SOLAR, Q.TEMPERATURE, None): 1038.5,
}
DER: Words = {
    8: 400, 9: 4100, 10: -150, 11: 997, 12: 180, 13: 4004, 14: 2330, 15: words("I", 5001),
    17: words("Q", 12_345), 21: words("Q", 77),
    33: 205, 34: 415, 35: 412, 36: 409, 37: 408, 38: 406,
    39: 130, 40: 1301, 41: 11, 42: 991, 43: 61, 44: 4005, 45: 2301, 46: words("Q", 41),
    62: 134, 63: 1302, 64: 12, 65: 992, 66: 62, 67: 4006, 68: 2302, 69: words("Q", 42),
    85: 136, 86: 1303, 87: 13, 88: 993, 89: 63, 90: 4007, 91: 2303, 92: words("Q", 43),
    111: -1, 112: -1, 113: -2, 114: 1, 115: -3, 116: 0, 117: 0, 118: 1, 119: 0, 120: -1,
}  # fmt: skip
OF_DER: Found = {
    (SOLAR, Q.ACTIVE_POWER, None): 4000.0,
    (SOLAR, Q.ACTIVE_POWER, L1): 1300.0,
    (SOLAR, Q.ACTIVE_POWER, L2): 1340.0,
    (SOLAR, Q.ACTIVE_POWER, L3): 1360.0,
    (SOLAR, Q.PRODUCED_ENERGY, None): 123_450.0,
    (SOLAR, Q.APPARENT_POWER, None): 4100.0,
    (SOLAR, Q.REACTIVE_POWER, None): -150.0,
    (SOLAR, Q.POWER_FACTOR, None): 0.997,
    (SOLAR, Q.CURRENT, None): 18.0,
    (SOLAR, Q.CURRENT, L1): 6.1,
    (SOLAR, Q.CURRENT, L2): 6.2,
    (SOLAR, Q.CURRENT, L3): 6.3,
    (SOLAR, Q.VOLTAGE, L1): 230.1,
    (SOLAR, Q.VOLTAGE, L2): 230.2,
    (SOLAR, Q.VOLTAGE, L3): 230.3,
    (SOLAR, Q.FREQUENCY, None): 50.01,
    (SOLAR, Q.TEMPERATURE, None): 41.5,
}
METER: Words = {
    0: 155, 1: 53, 2: 50, 3: 49, 4: -1,
    5: 2299, 6: 2304, 7: 2311, 8: 2297, 9: 4000, 10: 4001, 11: 4002, 12: 4003, 13: -1, 14: 4998, 15: -2,
    16: -345, 17: -120, 18: -115, 19: -110, 20: 1, 21: 3500, 22: 1201, 23: 1151, 24: 1101, 25: 0,
    26: -320, 27: -101, 28: -102, 29: -103, 30: 0, 31: 98, 32: 97, 33: 96, 34: 95, 35: -2,
    36: words("4I", 9001, 3001, 3002, 2998), 44: words("4I", 8001, 2601, 2602, 2603), 52: 1,
}  # fmt: skip
OF_METER: Found = {
    (GRID, Q.ACTIVE_POWER, None): -3450.0,
    (GRID, Q.ACTIVE_POWER, L1): -1200.0,
    (GRID, Q.ACTIVE_POWER, L2): -1150.0,
    (GRID, Q.ACTIVE_POWER, L3): -1100.0,
    (GRID, Q.EXPORTED_ENERGY, None): 90_010.0,
    (GRID, Q.IMPORTED_ENERGY, None): 80_010.0,
    (GRID, Q.APPARENT_POWER, None): 3500.0,
    (GRID, Q.REACTIVE_POWER, None): -320.0,
    (GRID, Q.CURRENT, None): 15.5,
    (GRID, Q.CURRENT, L1): 5.3,
    (GRID, Q.CURRENT, L2): 5.0,
    (GRID, Q.CURRENT, L3): 4.9,
    (GRID, Q.VOLTAGE, L1): 230.4,
    (GRID, Q.VOLTAGE, L2): 231.1,
    (GRID, Q.VOLTAGE, L3): 229.7,
    (GRID, Q.FREQUENCY, None): 49.98,
}
FLOAT_METER: Words = {offset: words("f", 2000.5 + offset) for offset in range(0, 122, 2)}
OF_FLOAT_METER: Found = {
    (GRID, Q.CURRENT, None): 2000.5,
    (GRID, Q.CURRENT, L1): 2002.5,
    (GRID, Q.CURRENT, L2): 2004.5,
    (GRID, Q.CURRENT, L3): 2006.5,
    (GRID, Q.VOLTAGE, L1): 2010.5,
    (GRID, Q.VOLTAGE, L2): 2012.5,
    (GRID, Q.VOLTAGE, L3): 2014.5,
    (GRID, Q.FREQUENCY, None): 2024.5,
    (GRID, Q.ACTIVE_POWER, None): 2026.5,
    (GRID, Q.ACTIVE_POWER, L1): 2028.5,
    (GRID, Q.ACTIVE_POWER, L2): 2030.5,
    (GRID, Q.ACTIVE_POWER, L3): 2032.5,
    (GRID, Q.APPARENT_POWER, None): 2034.5,
    (GRID, Q.REACTIVE_POWER, None): 2042.5,
    (GRID, Q.EXPORTED_ENERGY, None): 2058.5,
    (GRID, Q.IMPORTED_ENERGY, None): 2066.5,
}
BANK = model(
    802, 62, {1: 960, 9: 555, 11: 971, 32: 4001, 42: 25, 45: 100, 51: 1, 54: -1, 56: -1, 57: -1, 59: -1, 61: 1}
)
OF_BANK: Found = {  # a battery that discharges: current and power flow out of it
    (STORAGE, Q.ACTIVE_POWER, None): -1000.0,
    (STORAGE, Q.DC_CURRENT, None): -2.5,
    (STORAGE, Q.DC_VOLTAGE, None): 400.1,
    (STORAGE, Q.SOC, None): 55.5,
    (STORAGE, Q.SOH, None): 97.1,
    (STORAGE, Q.ENERGY_CAPACITY, None): 9600.0,
}
CAPACITY = model(713, 7, {0: 970, 1: 520, 2: 535, 3: 951, 4: 0, 5: 1, 6: -1})
OF_CAPACITY: Found = {
    (STORAGE, Q.ENERGY_CAPACITY, None): 9700.0,
    (STORAGE, Q.ENERGY_STORED, None): 5200.0,
    (STORAGE, Q.SOC, None): 53.5,
    (STORAGE, Q.SOH, None): 95.1,
}
CONTROLS = model(124, 24, {0: 5000, 5: 50, 6: 515, 7: 333, 8: 482, 16: 0, 19: -1, 20: -1, 21: 0, 22: -1})
OF_CONTROLS: Found = {(STORAGE, Q.SOC, None): 51.5, (STORAGE, Q.DC_VOLTAGE, None): 48.2}
NAMEPLATE = model(120, 26, {0: 82, 1: 50, 2: 2, 17: 980, 18: 1, 19: 201, 20: 0})
OF_NAMEPLATE: Found = {(STORAGE, Q.ENERGY_CAPACITY, None): 9800.0}
LITHIUM = model(803, 26, {0: 0, 1: 0, 2: 300, 5: 200, 8: 254, 20: -3, 21: -1, 22: -1, 23: 0, 24: 0, 25: -1})
OF_LITHIUM: Found = {(STORAGE, Q.TEMPERATURE, None): 25.4}
STATUS = model(122, 44, {3: words("Q", 31_000_000), 7: words("Q", 32_000_000)})
OF_STATUS: Found = {(SOLAR, Q.PRODUCED_ENERGY, None): 31_000_000.0}


async def found_in(*models: Sequence[int]) -> Found:
    """Return what the driver reads, without readings that have no value."""
    scan = await SunSpec(ReadOptions()).poll(FakeReader(device(*models)), lambda: 0.0)
    assert scan.complete
    return {(r.node, r.quantity, r.phase): r.value for r in scan.readings if r.value is not None}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        *[([model(number, 50, INVERTER)], OF_INVERTER) for number in (101, 102, 103)],
        *[([model(number, 60, FLOAT_INVERTER)], OF_FLOAT_INVERTER) for number in (111, 112, 113)],
        ([model(701, 153, DER)], OF_DER),
        *[([model(number, 105, METER)], OF_METER) for number in (201, 202, 203, 204)],
        *[([model(number, 124, FLOAT_METER)], OF_FLOAT_METER) for number in (211, 212, 213, 214)],
        ([BANK], OF_BANK),
        ([CAPACITY], OF_CAPACITY),
        ([CONTROLS], OF_CONTROLS),
        ([STATUS], OF_STATUS),
        # These alone are no battery.
        ([NAMEPLATE, CONTROLS], OF_CONTROLS | OF_NAMEPLATE),
        ([LITHIUM, CONTROLS], OF_CONTROLS | OF_LITHIUM),
        ([NAMEPLATE, LITHIUM, STATUS], OF_STATUS),
        # The battery's own model comes first, then 713, 124, 120.
        ([NAMEPLATE, CONTROLS, CAPACITY], OF_CONTROLS | OF_CAPACITY),
        ([NAMEPLATE, CONTROLS, CAPACITY, LITHIUM, BANK], OF_LITHIUM | OF_CAPACITY | OF_BANK),
        # An inverter has its own counter, also if it has no value now.
        ([STATUS, model(103, 50, INVERTER)], OF_INVERTER),
        (
            [STATUS, model(103, 50, {**INVERTER, 22: [0, 0]})],
            {key: value for key, value in OF_INVERTER.items() if key[1] is not Q.PRODUCED_ENERGY},
        ),
    ],
    ids=lambda each: "+".join(str(one[0]) for one in each) if isinstance(each, list) else "",
)
async def test_every_point_of_a_model(models: Sequence[Sequence[int]], expected: Found) -> None:
    assert await found_in(common(), *models) == expected


def _unimplemented(number: int, length: int, signed: Sequence[int], factors: Sequence[int]) -> list[int]:
    """A model whose unsigned numbers, counters and floats have all bits set. Its signed numbers are -32768."""
    return model(number, length, {**dict.fromkeys(signed, NO_INT16), **dict.fromkeys(factors, 0)})


@pytest.mark.parametrize(
    "none",
    [
        _unimplemented(103, 50, [12, 16, 18, 29, 31, 32, 33, 34], [4, 11, 13, 15, 17, 19, 24, 26, 28, 30, 35]),
        _unimplemented(113, 60, [], []),
        _unimplemented(203, 105, range(35), [4, 13, 15, 20, 25, 30, 35, 52]),
        _unimplemented(701, 153, [*range(8, 13), *range(33, 44), 62, 66, 85, 89], range(111, 121)),
        _unimplemented(802, 62, [42, 45], range(50, 62)),
        _unimplemented(713, 7, [], [5, 6]),
        _unimplemented(124, 24, [], range(16, 24)),
        model(122, 44, {}),
        model(122, 44, {}, fill=0),
    ],
    ids=lambda none: str(none[0]),
)
async def test_a_point_that_is_not_implemented_has_no_value(none: Sequence[int]) -> None:
    assert await found_in(common(), none) == {}


@pytest.mark.parametrize(
    ("number", "length", "points", "temperatures", "none"),
    [
        (103, 50, INVERTER, {31: 41.5, 32: 41.2, 33: 40.9, 34: 40.6}, [NO_INT16]),
        (113, 60, FLOAT_INVERTER, {38: 1038.5, 40: 1040.5, 42: 1042.5, 44: 1044.5}, NO_FLOAT),
        (701, 153, DER, {34: 41.5, 35: 41.2, 33: 20.5}, [NO_INT16]),
    ],
)
async def test_the_temperature_is_the_first_one_that_the_inverter_has(
    number: int, length: int, points: Words, temperatures: Mapping[int, float], none: Sequence[int]
) -> None:
    """Cabinet, heat sink, transformer, other; of model 701 cabinet, heat sink, ambient."""
    without = dict(points)
    for offset, expected in temperatures.items():
        assert (await found_in(common(), model(number, length, without)))[SOLAR, Q.TEMPERATURE, None] == expected
        without[offset] = none
    assert (SOLAR, Q.TEMPERATURE, None) not in await found_in(common(), model(number, length, without))


async def test_two_inverters_of_a_chain_are_added_where_a_sum_has_a_meaning() -> None:
    second = {
        **INVERTER,
        0: 10, 1: 20, 2: 30, 3: 40, 8: 2400, 9: 2401, 10: 2402, 12: 100, 14: 5000, 16: 200, 18: 20,
        22: words("I", 1000), 25: 5, 27: 5000, 29: 100, 31: 999,
    }  # fmt: skip
    sums: Found = {
        (SOLAR, Q.ACTIVE_POWER, None): 4450.0,
        (SOLAR, Q.PRODUCED_ENERGY, None): 7_655_321.0,
        (SOLAR, Q.APPARENT_POWER, None): 3700.0,
        (SOLAR, Q.REACTIVE_POWER, None): -100.0,
        (SOLAR, Q.CURRENT, None): pytest.approx(16.1),
        (SOLAR, Q.CURRENT, L1): pytest.approx(7.2),
        (SOLAR, Q.CURRENT, L2): pytest.approx(8.1),
        (SOLAR, Q.CURRENT, L3): pytest.approx(8.8),
        (SOLAR, Q.DC_POWER, None): 4600.0,
        (SOLAR, Q.DC_CURRENT, None): pytest.approx(10.0),
    }
    chain = (common(serial="1"), model(103, 50, INVERTER), common(serial="2"), model(103, 50, second))
    assert await found_in(*chain) == OF_INVERTER | sums


_DER_WITHOUT_COUNTER = model(701, 117, {offset: each for offset, each in DER.items() if offset < 85})
_FLOAT_WITHOUT_COUNTER = model(113, 30, {offset: each for offset, each in FLOAT_INVERTER.items() if offset < 30})


@pytest.mark.parametrize(
    ("models", "energy"),
    [
        ([[model(701, 153, DER), STATUS], [_DER_WITHOUT_COUNTER, STATUS]], 62_000_000.0),
        ([[_DER_WITHOUT_COUNTER, STATUS], [model(701, 153, DER), STATUS]], 62_000_000.0),
        ([[model(113, 60, FLOAT_INVERTER), STATUS], [_FLOAT_WITHOUT_COUNTER, STATUS]], 62_000_000.0),
        ([[model(113, 60, FLOAT_INVERTER), STATUS], [_FLOAT_WITHOUT_COUNTER]], None),
        ([[model(113, 60, FLOAT_INVERTER)], [_FLOAT_WITHOUT_COUNTER, STATUS]], None),
        ([[STATUS], [model(113, 60, FLOAT_INVERTER)], [_FLOAT_WITHOUT_COUNTER]], None),
        ([[model(113, 60, FLOAT_INVERTER), STATUS], [model(113, 60, FLOAT_INVERTER), STATUS]], 2061.0),
    ],
)
async def test_the_energy_of_two_inverters_is_of_both_or_missing(
    models: Sequence[Sequence[Sequence[int]]], energy: float | None
) -> None:
    chain = [each for number, one in enumerate(models) for each in (common(serial=str(number)), *one)]
    assert (await found_in(*chain)).get((SOLAR, Q.PRODUCED_ENERGY, None)) == energy


def _input(name: str, power: int, energy: int) -> list[int]:
    """An input of model 160: number, name, A, V, W, Wh, time, temperature, state, events."""
    return [1, *text(name, 8), 11, 12, power, *words("I", energy), 0, 0, 25, 4, 0, 0]


def _port(kind: int, power: int, injected: int, absorbed: int) -> list[int]:
    """A port of model 714: type, number, name, A, V, W, Wh into the device, Wh out of it, temperature, state, alarm."""
    return [kind, 1, *text("", 8), 11, 12, power, *words("QQ", injected, absorbed), 25, 1, 0, 0]


def _inputs(model_id: int, charge: int, discharge: int) -> list[int]:
    if model_id == 160:
        inputs = [_input("MPPT 1", 100, 11), _input("MPPT 2", 40, 13)]
        inputs += [_input("StCha 3", charge, 17), _input("StDisCha 4", discharge, 19)]
        head = [-1, -1, 1, 2, 0, 0, 4, NO_UINT16]
    else:
        inputs = [_port(0, 100, 11, 5), _port(0, 40, 13, 3), _port(1, discharge - charge, 19, 17)]
        inputs += [_port(2, 501, 502, 503)]
        head = [0, 0, 4, 33, 44, *words("QQ", 55, 66), -1, -1, 1, 2, -1]
    data = [word & 0xFFFF for part in (head, *inputs) for word in part]
    return [model_id, len(data), *data]


@pytest.mark.parametrize("model_id", [160, 714])
@pytest.mark.parametrize(("charge", "discharge"), [(90, 20), (0, 30), (0, 0)])
async def test_every_point_of_the_dc_inputs_of_a_hybrid(model_id: int, charge: int, discharge: int) -> None:
    """Panels of 1000 W and 400 W, and a battery. The inverter's own sums include the battery.

    Model 160 names two inputs of the battery, one for each direction. Model 714 has one port for it, and one of a type
    that is neither.
    """
    expected = OF_INVERTER | OF_CONTROLS
    if charge or discharge:
        del expected[SOLAR, Q.DC_CURRENT, None]
    expected |= {
        (SOLAR, Q.ACTIVE_POWER, None): 1400.0,
        (SOLAR, Q.DC_POWER, None): 1400.0,
        (SOLAR, Q.PRODUCED_ENERGY, None): 2400.0,
        (STORAGE, Q.ACTIVE_POWER, None): 10.0 * (charge - discharge),
        (STORAGE, Q.CHARGED_ENERGY, None): 1700.0,
        (STORAGE, Q.DISCHARGED_ENERGY, None): 1900.0,
    }
    models = (model(103, 50, INVERTER), _inputs(model_id, charge, discharge), CONTROLS)
    assert await found_in(common(), *models) == expected


@pytest.mark.parametrize(
    ("power", "ac_power"), [(345, {(SOLAR, Q.ACTIVE_POWER, None): 3450.0}), (NO_INT16, {})], ids=["", "no AC power"]
)
async def test_inputs_without_a_battery_give_only_the_dc_power(power: int, ac_power: Found) -> None:
    """What enters an inverter is not what leaves it, and its own counter is the one of its output."""
    inputs = [160, 48, 0, 0, 1, 2, 0, 0, 2, NO_UINT16, *_input("", 100, 11), *_input("", 40, 13)]
    expected = {**OF_INVERTER, (SOLAR, Q.DC_POWER, None): 3600.0}
    del expected[SOLAR, Q.ACTIVE_POWER, None]
    assert await found_in(common(), model(103, 50, {**INVERTER, 12: power}), inputs) == expected | ac_power
    assert await found_in(common(), STATUS, inputs) == OF_STATUS | {(SOLAR, Q.DC_POWER, None): 1400.0}
