"""SolarEdge inverters with batteries: solar is what comes from the panels, whatever the batteries do."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.errors import UnsupportedError, exception_reply
from drivers.model import NodeType, Phase, Quality, Quantity, Scan
from drivers.registers.refusals import RECHECK_FIRST_S
from tests.faults import sunspec
from tests.faults.sunspec import NO_INT16, FakeReader, common, device, inverter, meter, model, text, words

GRID, SOLAR, STORAGE = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE
FIRST, SECOND = 0xE100, 0xE200
NO_FLOAT = [0xFFFF, 0xFF7F]
"""The lowest float, low word first: nothing is connected there."""


def little(form: str, value: float) -> list[int]:
    return words(form, value)[::-1]


def battery(
    power: float | None, soc: float = 50.0, capacity: float = 10_000.0, base: int = FIRST, **counters: int
) -> dict[int, int]:
    """What stands from 0xE174 on: power, discharged, charged, capacity, available energy, health, state of charge."""
    run = [
        *(NO_FLOAT if power is None else little("f", power)),
        *little("Q", counters.get("discharged", 0)),
        *little("Q", counters.get("charged", 0)),
        *(NO_FLOAT if power is None else little("f", capacity)),
        *little("f", 0.0),
        *(NO_FLOAT if power is None else little("f", 97.0)),
        *(NO_FLOAT if power is None else little("f", soc)),
    ]
    return dict(enumerate(run, base + 0x74))


def site(ac: int, dc: int, *batteries: dict[int, int]) -> FakeReader:
    """An inverter with that power, a meter that exports 300 W, and batteries."""
    dc_power = dc if dc == NO_INT16 else dc & 0xFFFF
    models: Sequence[Sequence[int]] = (
        common("SolarEdge "),
        inverter(W=ac & 0xFFFF, W_SF=0, DCW=dc_power, DCW_SF=0, WH=words("I", 900_000), WH_SF=0),
        common("WattNode"),
        meter(W=300, W_SF=0),
    )
    registers = device(*models)
    for each in batteries:
        registers |= each
    return FakeReader(registers)


async def poll(reader: FakeReader) -> Scan:
    return await Catalogue().create("solaredge-hybrid", ReadOptions()).poll(reader, lambda: 0.0)


def value(scan: Scan, node: NodeType, quantity: Quantity) -> object:
    (reading,) = [r for r in scan.readings if (r.node, r.quantity, r.phase) == (node, quantity, None)]
    return reading.value if reading.quality is Quality.GOOD else reading.quality


def has(scan: Scan, node: NodeType, quantity: Quantity) -> bool:
    return any((r.node, r.quantity) == (node, quantity) for r in scan.readings)


@pytest.mark.parametrize(
    ("what", "ac", "dc", "charge", "solar"),
    [
        ("at night the battery feeds the house", 1900, 2000, -2000.0, 0.0),
        ("at noon the panels charge it", 3000, 3100, 2500.0, 5600.0),
        ("in the evening both feed", 3900, 4000, -1000.0, 3000.0),
        ("it rests", 2950, 3000, 0.0, 3000.0),
        ("the inverter does not say its DC power", 3000, NO_INT16, 500.0, 3500.0),
    ],
)
async def test_solar_is_what_comes_from_the_panels(what: str, ac: int, dc: int, charge: float, solar: float) -> None:
    scan = await poll(site(ac, dc, battery(charge)))
    assert scan.complete
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == solar
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == charge
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -300.0
    # These hold the battery's share, and nothing tells it from that of the panels.
    assert not has(scan, SOLAR, Quantity.PRODUCED_ENERGY)
    assert not has(scan, SOLAR, Quantity.DC_POWER)


async def test_the_battery_s_own_numbers() -> None:
    scan = await poll(site(0, 0, battery(-50.0, soc=63.5, capacity=9700.0, discharged=4_000_000, charged=4_400_000)))
    assert value(scan, STORAGE, Quantity.SOC) == 63.5
    assert value(scan, STORAGE, Quantity.SOH) == 97.0
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 9700.0
    assert value(scan, STORAGE, Quantity.DISCHARGED_ENERGY) == 4_000_000.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 4_400_000.0


async def test_what_includes_the_batteries_is_left_out_and_the_rest_is_read() -> None:
    """Powers, currents and counters of the inverter include them; voltages, frequency and temperature do not."""
    inverter_ = inverter(
        A=151, AphA=52, AphB=51, AphC=48, A_SF=-1, PhVphA=2304, V_SF=-1, Hz=4998,
        Hz_SF=-2, W=3000, W_SF=0, VA=3100, VA_SF=0, VAr=70, VAr_SF=0, DCW=3200, DCW_SF=0,
        WH=words("I", 900_000), WH_SF=0, DCV=7500, DCV_SF=-1, DCA=43, DCA_SF=-1,
        TmpSnk=415, Tmp_SF=-1,
    )  # fmt: skip
    reader = FakeReader(device(common("SolarEdge"), inverter_) | battery(500.0, charged=7, discharged=5))
    scan = await poll(reader)
    assert {(r.node, r.quantity, r.phase): r.value for r in scan.readings if r.value is not None} == {
        (SOLAR, Quantity.ACTIVE_POWER, None): 3700.0,
        (SOLAR, Quantity.APPARENT_POWER, None): 3100.0,
        (SOLAR, Quantity.REACTIVE_POWER, None): 70.0,
        (SOLAR, Quantity.CURRENT, None): 15.1,
        (SOLAR, Quantity.CURRENT, Phase.L1): 5.2,
        (SOLAR, Quantity.CURRENT, Phase.L2): 5.1,
        (SOLAR, Quantity.CURRENT, Phase.L3): 4.8,
        (SOLAR, Quantity.VOLTAGE, Phase.L1): 230.4,
        (SOLAR, Quantity.FREQUENCY, None): 49.98,
        (SOLAR, Quantity.DC_VOLTAGE, None): 750.0,
        (SOLAR, Quantity.TEMPERATURE, None): 41.5,
        (STORAGE, Quantity.ACTIVE_POWER, None): 500.0,
        (STORAGE, Quantity.CHARGED_ENERGY, None): 7.0,
        (STORAGE, Quantity.DISCHARGED_ENERGY, None): 5.0,
        (STORAGE, Quantity.ENERGY_CAPACITY, None): 10_000.0,
        (STORAGE, Quantity.SOC, None): 50.0,
        (STORAGE, Quantity.SOH, None): 97.0,
    }


async def test_two_batteries_are_one_storage_node() -> None:
    first = battery(1000.0, soc=80.0, capacity=15_000.0, charged=1000)
    second = battery(-400.0, soc=20.0, capacity=5000.0, base=SECOND, charged=200)
    scan = await poll(site(3000, 3100, first, second))
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 600.0
    assert value(scan, STORAGE, Quantity.SOC) == pytest.approx(65.0)
    assert value(scan, STORAGE, Quantity.ENERGY_CAPACITY) == 20_000.0
    assert value(scan, STORAGE, Quantity.CHARGED_ENERGY) == 1200.0
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3700.0


async def test_the_smallest_capacities_are_weights_too() -> None:
    first, second = battery(0.0, soc=80.0, capacity=0.75), battery(0.0, soc=20.0, capacity=0.25, base=SECOND)
    assert value(await poll(site(3000, 3100, first, second)), STORAGE, Quantity.SOC) == pytest.approx(65.0)


async def test_a_reading_of_two_batteries_is_as_old_as_its_first_part() -> None:
    """Each reply comes a second later: that of the inverter, the meter and each battery."""
    reader = site(3000, 3100, battery(500.0), battery(100.0, base=SECOND))
    driver = Catalogue().create("solaredge-hybrid", ReadOptions())
    await driver.poll(reader, lambda: 0.0)
    reader.asked.clear()
    scan = await driver.poll(reader, lambda: float(len(reader.asked)))
    assert scan.requests == len(reader.asked)
    first_of_battery = next(place for place, (address, _) in enumerate(reader.asked, 1) if address >= FIRST)
    assert len(reader.asked) > first_of_battery > 1
    ages = {(r.node, r.quantity): r.at for r in scan.readings}
    assert ages[STORAGE, Quantity.ACTIVE_POWER] == ages[STORAGE, Quantity.SOC] == first_of_battery
    assert ages[SOLAR, Quantity.ACTIVE_POWER] == 1.0


async def test_a_hybrid_has_storage_also_before_the_first_poll_and_without_a_battery() -> None:
    driver = Catalogue().create("solaredge-hybrid", ReadOptions())
    assert driver.nodes == {GRID, SOLAR, STORAGE}
    await driver.poll(site(3000, 3100), lambda: 0.0)
    assert driver.nodes == {GRID, SOLAR, STORAGE}


async def test_an_inverter_that_refuses_its_powers_has_no_solar_power() -> None:
    """The power of the meter is none of the panels."""
    reader = site(3000, 3100, battery(500.0))
    for place in (12, 29):
        reader.failures[40070 + 2 + place] = exception_reply(2, "hole")
    scan = await poll(reader)
    assert not has(scan, SOLAR, Quantity.ACTIVE_POWER)
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -300.0


async def test_the_power_of_a_phase_is_not_that_of_the_panels() -> None:
    der = model(701, 153, {8: 4000, 39: 1300, 62: 1340, 85: 1360, 114: 0})
    scan = await poll(FakeReader(device(common("SolarEdge"), der) | battery(500.0)))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4500.0


@pytest.mark.parametrize("capacity", [0.0, -1.0, struct.unpack("<f", bytes.fromhex("ffff7fff"))[0]])
async def test_without_a_capacity_the_charge_of_two_batteries_is_the_plain_mean(capacity: float) -> None:
    first, second = battery(0.0, soc=80.0), battery(0.0, soc=20.0, capacity=capacity, base=SECOND)
    scan = await poll(site(3000, 3100, first, second))
    assert value(scan, STORAGE, Quantity.SOC) == pytest.approx(50.0)


async def test_an_impossible_charge_of_one_battery_leaves_no_mean_of_the_others() -> None:
    first, second = battery(1000.0, soc=80.0), battery(0.0, soc=150.0, base=SECOND)
    scan = await poll(site(3000, 3100, first, second))
    assert value(scan, STORAGE, Quantity.SOC) is Quality.INVALID
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 1000.0


@pytest.mark.parametrize("absent", [{}, battery(None)], ids=["its registers are refused", "nothing is connected"])
async def test_without_a_battery_it_is_an_inverter(absent: dict[int, int]) -> None:
    scan = await poll(site(3000, 3100, absent))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3000.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 900_000.0
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) is Quality.MISSING


async def test_while_a_battery_that_was_seen_is_silent_solar_is_unknown() -> None:
    driver = Catalogue().create("solaredge-hybrid", ReadOptions())
    reader = site(3000, 3100, battery(500.0), battery(100.0, base=SECOND))
    await driver.poll(reader, lambda: 0.0)
    reader.registers |= battery(None, base=SECOND)
    scan = await driver.poll(reader, lambda: 1.0)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is Quality.MISSING
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) is Quality.MISSING
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -300.0


async def test_where_there_is_no_battery_it_is_seldom_asked_for() -> None:
    driver = Catalogue().create("solaredge-hybrid", ReadOptions())
    reader = site(3000, 3100)
    await driver.poll(reader, lambda: 0.0)
    reader.asked.clear()
    await driver.poll(reader, lambda: RECHECK_FIRST_S - 1)
    assert all(address < FIRST for address, _ in reader.asked)
    reader.registers |= battery(500.0)
    scan = await driver.poll(reader, lambda: RECHECK_FIRST_S)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 3600.0


async def test_while_the_inverter_tells_no_power_solar_is_unknown() -> None:
    scan = await poll(site(NO_INT16, NO_INT16, battery(500.0)))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) is Quality.MISSING
    assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == 500.0


STORAGE_PORT = [1, 1, *text("", 8), 0, 0, -500 & 0xFFFF, *words("QQ", 7, 5), NO_INT16, 1, 0, 0]
OF_SUNSPEC = {
    "802": sunspec.battery(W=-500, W_SF=0, SoC=20, SoC_SF=0),
    "714": model(714, 43, {0: 0, 2: 1, 15: 0, 16: 0, 18: STORAGE_PORT}),
    "713": model(713, 7, {2: 20, 5: 0, 6: 0}),
    "124": model(124, 24, {6: 20, 20: 0}),
}


@pytest.mark.parametrize("number", OF_SUNSPEC)
@pytest.mark.parametrize("own", [True, False], ids=["", "no own registers"])
async def test_the_storage_is_that_of_solaredge_s_own_registers(number: str, own: bool) -> None:
    registers = device(common("SolarEdge"), inverter(W=2500, W_SF=0), OF_SUNSPEC[number])
    driver = Catalogue().create("solaredge-hybrid", ReadOptions())
    reader = FakeReader(registers | battery(500.0) if own else registers)
    for at in (0.0, RECHECK_FIRST_S):
        scan = await driver.poll(reader, lambda: at)  # noqa: B023 - called in this pass of the loop
        assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == (3000.0 if own else 2500.0)
        assert value(scan, STORAGE, Quantity.ACTIVE_POWER) == (500.0 if own else Quality.MISSING)
        assert len({(r.node, r.quantity, r.phase) for r in scan.readings}) == len(scan.readings)
        assert [r.value for r in scan.readings if r.quantity is Quantity.SOC] == ([50.0] if own else [])


async def test_a_battery_of_sunspec_alone_is_no_solaredge() -> None:
    with pytest.raises(UnsupportedError, match=r"no inverter or meter model \(found: 1, 802\)"):
        await poll(FakeReader(device(common("SolarEdge"), OF_SUNSPEC["802"])))
