"""Every built-in profile: loads, plans, and reads back over a socket what a device of its family would show."""

from __future__ import annotations

import re
import runpy
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from agent.domain.node import why_unfit
from drivers.catalogue import Catalogue, driver_of
from drivers.driver import ReadOptions
from drivers.errors import ProfileError
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Key, Kind, Nature, NodeType, Quality, Quantity, Scan, Table, Unit, Value
from drivers.profile import device_table
from drivers.profile.device_table import BEGIN, END, page, types_of, updated
from drivers.profile.loader import BUILT_IN, Profile, load
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver
from drivers.protocol import MAX_REGISTERS
from drivers.simulator.modbus_server import Image, ModbusServer, SimulatedUnit
from drivers.simulator.register_image import profile_unit
from drivers.sunspec.driver import SunSpec
from tests.support.cases import for_each
from tests.support.profiles import BY_REGISTERS, PROFILES, Profiles

REAL = Profiles(lambda profile: not profile.name.startswith("simulated-"))

# What a site shows: multiples of the coarsest register in use, and far enough from 0 that a wrong scale is seen.
SHOWN: dict[Quantity, Value] = {
    Quantity.ACTIVE_POWER: 4200.0,
    Quantity.DC_POWER: 4300.0,
    Quantity.VOLTAGE: 231.0,
    Quantity.CURRENT: 6.4,
    Quantity.FREQUENCY: 49.9,
    Quantity.TEMPERATURE: 41.5,
    Quantity.SOC: 63.0,
    Quantity.SOH: 97.0,
    Quantity.ENERGY_CAPACITY: 12_800.0,
    Quantity.ON: True,
    Quantity.OPERATION_MODE: "on",
}
COUNTER_WH = 3_456_000.0
TODAY_WH = 12_300.0

# A register must hold at least this much, in steps no coarser than that.
REACH: dict[Unit, tuple[float, float]] = {
    Unit.W: (10_000, 10),
    Unit.WH: (5_000_000, 1000),
    Unit.V: (260, 1),
    Unit.A: (32, 0.1),
    Unit.HZ: (51, 0.1),
    Unit.PERCENT: (100, 1),
    Unit.CELSIUS: (90, 0.1),
}
# What the device itself shows no finer.
COARSE = {
    ("abl-emh", Quantity.ACTIVE_POWER): 23.0,  # 0.1 A at 230 V
    ("kermi-x-change", Quantity.ACTIVE_POWER): 100.0,
    ("stiebel-eltron-wpm", Quantity.ACTIVE_POWER): 100.0,
    ("alphaess-smile", Quantity.ENERGY_CAPACITY): 100.0,
    ("luxtronik-shi", Quantity.ACTIVE_POWER): 100.0,
    ("siemens-versicharge", Quantity.CURRENT): 1.0,
    ("solax-hybrid", Quantity.TEMPERATURE): 1.0,
    ("solax-hybrid-g5", Quantity.TEMPERATURE): 1.0,
    ("sofar-hyd-es", Quantity.TEMPERATURE): 1.0,
    ("intilion-scalebloc", Quantity.ACTIVE_POWER): 100.0,
    ("adstec-storaxe", Quantity.ACTIVE_POWER): 100.0,
    ("compleo-solo", Quantity.ACTIVE_POWER): 100.0,
    ("goodwe-hca", Quantity.ACTIVE_POWER): 100.0,
    ("foxess-evc", Quantity.ACTIVE_POWER): 100.0,
    ("solvis-control", Quantity.ACTIVE_POWER): 100.0,
    ("stiebel-eltron-wpmsystem", Quantity.ACTIVE_POWER): 100.0,
    ("phoenix-ev-cc-ac1-eth", Quantity.CURRENT): 1.0,
    ("solax-hybrid-g3", Quantity.TEMPERATURE): 1.0,
    ("sofar-hyd-g3", Quantity.TEMPERATURE): 1.0,
}
# What the device itself cannot exceed.
NARROW = {
    ("marstek-venus-a", Quantity.ACTIVE_POWER): 6000.0,
    ("hoymiles-dtu", Quantity.ACTIVE_POWER): 6000.0,  # of one panel
    ("smartevse", Quantity.VOLTAGE): 255.0,
    ("tsun-ms", Quantity.ACTIVE_POWER): 6000.0,
    ("tsun-ms", Quantity.DC_POWER): 6000.0,
}
SMALL = {Quantity.ENERGY_CAPACITY: (20_000, 10), **{q: (100_000, 100) for q in Quantity if q.nature is Nature.DAILY}}

# Devices whose registers run against the contract, by the documents that the profiles name: (node, what is negative).
DISCHARGE_IS_POSITIVE = {
    "sungrow-sh",
    "goodwe-et",
    "goodwe-et-20",
    "kostal-plenticore",
    "deye-hybrid-3p",
    "deye-hybrid-3p-gen",
    "deye-hybrid-3p-hv",
    "deye-hybrid-3p-hv-gen",
    "deye-hybrid-3p-hv-1098",
    "foxess-h3",
    "alphaess-smile",
    "givenergy-hybrid",
    "deye-hybrid-1p",
    "deye-hybrid-1p-large",
    "sungrow-ihomemanager",
    "foxess-h1",
    "foxess-h3-smart",
    "solinteg-hybrid",
    "wattsonic-gen2",
    "marstek-venus",
    "marstek-venus-3",
    "sax-power",
    "sma-sunny-island",
    "anker-solix-solarbank",
    "anker-solix-x1",
    "fenecon-openems",
    "foxess-evo",
    "foxess-h1-rs485",
    "foxess-kh",
    "foxess-kh-pre133",
    "saj-h1",
    "saj-h2",
    "ferroamp-energyhub",
    "ibc-homeone",
    "afore-hybrid",
    "senergy-hybrid",
    "siemens-junelight",
    "atmoce",
    "intilion-scalebloc",
    "adstec-storaxe",
    "plexlog",
    "viessmann-vitocharge-vx3",
    "growatt-spf",
    "kstar-hybrid",
    "swatten-sih",
    "megarevo-hybrid",
    "renon-ifl",
}
EXPORT_IS_POSITIVE = {
    "huawei-sun2000",
    "sungrow-sh",
    "sungrow-sh-magnitude",
    "goodwe-et",
    "goodwe-et-20",
    "solis-string",
    "solis-string-acrel",
    "solis-hybrid",
    "solax-hybrid",
    "solax-hybrid-g5",
    "sofar-hyd-g3",
    "foxess-h3",
    "varta-element",
    "givenergy-hybrid",
    "foxess-h1",
    "foxess-h3-smart",
    "solinteg-hybrid",
    "wattsonic-gen2",
    "sofar-hyd-es",
    "sma-data-manager",
    "foxess-avocado",
    "foxess-evo",
    "foxess-h1-rs485",
    "foxess-kh",
    "solax-x3-mic",
    "solax-x3-mic-g1",
    "solax-x1",
    "solarmax-max-storage",
    "viessmann-vitocharge-vx3",
    "solax-hybrid-g3",
    "kstar-hybrid",
    "sermatec-smt",
}
PRODUCTION_IS_NEGATIVE = {"e3dc-s10-external"}
# Import and export, charge and discharge in registers of their own.
TWO_REGISTERS = {
    ("kostal-ksem", None),
    ("sma-hybrid", NodeType.STORAGE),
    ("sma-hybrid", NodeType.GRID),
    ("sma-home-manager", None),
    ("sma-data-manager", NodeType.STORAGE),
    ("growatt-tlxh", NodeType.STORAGE),
    ("growatt-tlxh", NodeType.GRID),
    ("growatt-sph", NodeType.STORAGE),
    ("growatt-sph", NodeType.GRID),
    ("growatt-wit", NodeType.GRID),
    ("solar-log-grid", None),
    ("plexlog-grid", None),
    ("powerdog-grid", None),
    ("dzg-dvh4013", None),
    ("luxpower-hybrid", NodeType.GRID),
    ("luxpower-hybrid", NodeType.STORAGE),
    ("marstek-jupiter", None),
    ("hinen-hybrid", NodeType.STORAGE),
}

# The device has no such counter, or none that a profile can read; each profile says so.
NO_COUNTERS = {
    ("abl-emh", None),
    ("hesotec-esat", None),
    ("e3dc-s10", NodeType.SOLAR),
    ("e3dc-s10", NodeType.STORAGE),
    ("e3dc-s10", NodeType.GRID),
    ("varta-element", NodeType.STORAGE),
    ("varta-element", NodeType.GRID),
    ("varta-element", NodeType.SOLAR),
    ("sungrow-ihomemanager", NodeType.SOLAR),
    ("sungrow-ihomemanager", NodeType.STORAGE),
    ("wattsonic-gen2", NodeType.SOLAR),
    ("wattsonic-gen2", NodeType.STORAGE),
    ("wattsonic-gen2", NodeType.GRID),
    ("kermi-x-change", None),
    ("e3dc-s10-external", None),
    ("victron-gx", NodeType.SOLAR),
    ("victron-gx", NodeType.STORAGE),
    ("victron-gx", NodeType.GRID),
    ("kostal-plenticore", NodeType.GRID),
    ("sma-hybrid", NodeType.SOLAR),
    ("sma-data-manager", NodeType.GRID),
    ("sax-power", NodeType.STORAGE),
    ("sax-power", NodeType.GRID),
    ("abb-terra-ac", None),
    ("mennekes-amtron-xtra", None),
    ("mypv-acthor", None),
    ("idm-navigator", None),
    ("daikin-homehub", None),
    ("lg-therma-v", None),
    ("weishaupt-wwp", None),
    ("marstek-venus-a", NodeType.SOLAR),
    ("marstek-venus-a", NodeType.STORAGE),
    ("anker-solix-solarbank", NodeType.GRID),
    ("anker-solix-x1", NodeType.STORAGE),
    ("anker-solix-x1", NodeType.GRID),
    ("hager-flow", NodeType.SOLAR),
    ("hager-flow", NodeType.STORAGE),
    ("hager-flow", NodeType.GRID),
    ("ibc-homeone", NodeType.STORAGE),
    ("ibc-homeone", NodeType.GRID),
    ("siemens-junelight", NodeType.SOLAR),
    ("siemens-junelight", NodeType.STORAGE),
    ("siemens-junelight", NodeType.GRID),
    ("solarmax-max-storage", NodeType.STORAGE),
    ("solarmax-max-storage", NodeType.GRID),
    ("intilion-scalebloc", NodeType.STORAGE),
    ("intilion-scalebloc", NodeType.GRID),
    ("adstec-storaxe", None),
    ("plexlog", NodeType.SOLAR),
    ("plexlog", NodeType.STORAGE),
    ("victron-acload", None),
    ("growatt-spf", NodeType.STORAGE),
    ("solar-log-grid", None),
    ("plexlog-grid", None),
    ("powerdog-grid", None),
    ("compleo-solo", None),
    ("delta-charger", None),
    ("etrel-inch", None),
    ("raedian-neo", None),
    ("voltie-charger", None),
    ("chargex-aqueduct", None),
    ("askoma-askoheat", None),
    ("glen-dimplex-wpm", None),
    ("solvis-control", None),
    ("ovum-mira", None),
    ("studer-battery", None),
    ("orno-we504", None),
    ("orno-we514", None),
    ("ddm18sd", None),
    ("camille-bauer-aplus", None),
    ("pqplus-umd96", None),
    ("siemens-sicam-7kg966", None),
    ("mypv-wifi-meter", None),
    ("algodue-uem", None),
    ("anker-smart-meter-gen2", None),
    ("growatt-vpp", NodeType.SOLAR),
    ("growatt-vpp-3pv", NodeType.SOLAR),
    ("powerdog", None),
    ("tsun-ms", None),
    ("marstek-jupiter", None),
    ("marstek-jupiter-solar", None),
    ("sermatec-smt", NodeType.GRID),
    ("sermatec-smt", NodeType.SOLAR),
    ("anenji-hybrid", NodeType.GRID),
    ("anenji-hybrid", NodeType.SOLAR),
    ("anenji-hybrid", NodeType.STORAGE),
}

POWER, ON, MODE = {Quantity.ACTIVE_POWER}, {Quantity.ON}, {Quantity.OPERATION_MODE}
NEEDED: dict[NodeType, set[Quantity]] = {
    NodeType.GRID: POWER,
    NodeType.SOLAR: POWER,
    NodeType.STORAGE: POWER | {Quantity.SOC},
    NodeType.VARIABLE_POWER_LOAD: POWER,
}
COUNTERS: dict[NodeType, set[Quantity]] = {
    NodeType.GRID: {Quantity.IMPORTED_ENERGY, Quantity.EXPORTED_ENERGY},
    NodeType.SOLAR: {Quantity.PRODUCED_ENERGY},
    NodeType.STORAGE: {Quantity.CHARGED_ENERGY, Quantity.DISCHARGED_ENERGY},
    NodeType.HEAT_PUMP: {Quantity.CONSUMED_ENERGY},
    NodeType.VARIABLE_POWER_LOAD: {Quantity.CONSUMED_ENERGY},
}


class Padded(dict[int, int]):
    """RegisterDriver of which those between the known ones read 0, as on most devices."""

    def __missing__(self, address: int) -> int:
        return 0


def padded(unit: SimulatedUnit) -> SimulatedUnit:
    image: Image = {table: Padded(words) for table, words in unit.image().items()}
    unit.image = lambda: image
    return unit


def shown(quantity: Quantity) -> Value:
    if quantity.nature is Nature.COUNTER:
        return COUNTER_WH
    return TODAY_WH if quantity.nature is Nature.DAILY else SHOWN[quantity]


def groups(profile: Profile) -> Mapping[Key, list[Point]]:
    found: dict[Key, list[Point]] = defaultdict(list)
    for point in profile.points:
        found[point.key].append(point)
    return found


def resolution(points: list[Point]) -> float:
    """Half the finest step in which the value can be shown; floats are as fine as they are long."""
    return min(abs(point.encoding.scale) * (1e-3 if point.encoding.is_float else 0.5) for point in points) + 1e-9


def reach(point: Point) -> float:
    """The largest value of either sign that the register can show."""
    if point.encoding.is_float:
        return 1e30
    bits = point.encoding.bits - point.encoding.type.startswith("int")
    return ((1 << bits) - 1) * abs(point.encoding.scale)


async def read_back(profile: Profile, values: Mapping[Key, Value], unit_id: int = 1) -> Mapping[Key, Value | None]:
    """What the driver makes of a device of that family that shows `values`, over a socket."""
    server = ModbusServer([padded(profile_unit(profile, lambda: values, unit_id))], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    try:
        driver = driver_of(profile, ReadOptions())
        scan = await driver.poll(link.unit(unit_id), time.monotonic)
    finally:
        await link.close()
        await server.stop()
    assert scan.complete
    assert all(reading.quality is Quality.GOOD for reading in scan.readings)
    return {(reading.node, reading.quantity, reading.phase): reading.value for reading in scan.readings}


@for_each("name", BY_REGISTERS)
async def test_what_a_device_shows_is_read_back(name: str) -> None:
    profile = PROFILES[name]
    values = {key: shown(key[1]) for key in groups(profile)}
    found = await read_back(profile, values, unit_id=profile.link.unit_id or 1)
    for key, points in groups(profile).items():
        expected = values[key]
        if isinstance(expected, float):
            assert found[key] == pytest.approx(expected, rel=1e-6, abs=resolution(points)), key
        else:
            assert found[key] == expected, key


def variants() -> Iterator[tuple[str, str]]:
    for name, profile in BY_REGISTERS.items():
        yield from ((name, variant.name) for variant in profile.variants)


@for_each(("name", "variant_name"), variants())
async def test_a_variant_is_read_back_where_its_mark_holds(name: str, variant_name: str) -> None:
    profile = PROFILES[name]
    (variant,) = [each for each in profile.variants if each.name == variant_name]
    like = profile.as_variant(variant)
    values = {key: shown(key[1]) for key in groups(like)}
    image = padded(profile_unit(like, lambda: values)).image()
    for mark in variant.mark.all:
        image[mark.table].update(enumerate(mark.example_words, mark.address))  # type: ignore[attr-defined]
    server = ModbusServer([SimulatedUnit(1, lambda: image)], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    driver = RegisterDriver(profile, ReadOptions())
    try:
        scan = await driver.poll(link.unit(1), time.monotonic)
    finally:
        await link.close()
        await server.stop()
    assert driver.variant == variant_name
    for reading in scan.readings:
        key = (reading.node, reading.quantity, reading.phase)
        if key in values and isinstance(reading.value, float):
            assert reading.value == pytest.approx(values[key], rel=1e-6, abs=resolution(groups(like)[key])), key


@for_each("name", BY_REGISTERS)
async def test_both_directions_are_read_back(name: str) -> None:
    """Export, discharge: in the contract's sign, by a negative scale or a register of its own."""
    profile = PROFILES[name]
    directed = [
        key
        for key in groups(profile)
        if key[1] is Quantity.ACTIVE_POWER
        and (key[0] in (NodeType.GRID, NodeType.STORAGE) or profile.kind in (Kind.METER, Kind.BATTERY))
    ]
    values = {key: shown(key[1]) for key in groups(profile)} | dict.fromkeys(directed, -3500.0)
    found = await read_back(profile, values)
    for key in directed:
        assert found[key] == pytest.approx(-3500.0, abs=10), key


@for_each("name", BY_REGISTERS)
def test_the_sign_is_that_of_the_devices_documents(name: str) -> None:
    for (node, quantity, _), points in groups(PROFILES[name]).items():
        if quantity is not Quantity.ACTIVE_POWER:
            continue
        scales = [point.encoding.scale for point in points]
        if (name, node) in TWO_REGISTERS:
            assert {scale > 0 for scale in scales} == {False, True}
        elif (node or PROFILES[name].kind.usual) is NodeType.STORAGE:
            assert all((scale < 0) == (name in DISCHARGE_IS_POSITIVE) for scale in scales)
        elif name.startswith("sungrow-sh") and node is NodeType.GRID and points[0].phase:
            assert scales == [1]  # unlike the total, the phases of its meter count import positive
        elif node is NodeType.GRID:
            assert all((scale < 0) == (name in EXPORT_IS_POSITIVE) for scale in scales)
        elif node is None or node is NodeType.SOLAR:
            assert all((scale < 0) == (name in PRODUCTION_IS_NEGATIVE) for scale in scales)


@for_each("name", BY_REGISTERS)
def test_registers_reach_what_a_site_shows(name: str) -> None:
    """A scale that is wrong by ten makes a register too small, or too coarse, for its quantity."""
    for (_, quantity, phase), points in groups(PROFILES[name]).items():
        if quantity.nature is Nature.STATE:
            continue
        most, step = SMALL.get(quantity, REACH[quantity.unit])
        most = NARROW.get((name, quantity), most)
        if phase is not None and quantity.unit is Unit.W:
            most /= 2
        assert max(map(reach, points)) >= most, (quantity, phase)
        step = COARSE.get((name, quantity), step)
        exact = [point.encoding.scale for point in points if not point.encoding.is_float]
        assert min(map(abs, exact), default=0.0) <= step, (quantity, phase)
        for point in points:
            low, high = point.encoding.minimum, point.encoding.maximum
            assert low is None or low <= 1
            assert high is None or high >= REACH[quantity.unit][0]


@for_each("name", BY_REGISTERS)
def test_the_fields_of_its_type_are_there(name: str) -> None:
    profile = PROFILES[name]
    for node in profile.nodes or {None}:
        has = {point.quantity for point in profile.points if point.node is node}
        type_ = node or profile.kind.usual
        assert NEEDED.get(type_, set()) <= has
        if type_ is NodeType.HEAT_PUMP:
            assert has & (POWER | ON | MODE)
        if type_ is NodeType.SWITCHED_LOAD:
            assert has in (ON, MODE)
        counted = COUNTERS.get(type_, set()) <= has
        assert counted != ((name, node) in NO_COUNTERS), "counters, or a place in NO_COUNTERS"


@for_each("name", BY_REGISTERS)
def test_the_reads_are_few_and_within_the_limits(name: str) -> None:
    profile = PROFILES[name]
    driver = RegisterDriver(profile, ReadOptions())
    most = profile.max_registers or MAX_REGISTERS
    assert all(block.count <= most for block in driver.blocks if block.table in (Table.INPUT, Table.HOLDING))
    # A poll every ten seconds must leave time for the pauses that the family wants.
    gap = profile.link.request_gap_s or 0.0
    assert len(driver.blocks) * gap <= 5
    assert len(driver.blocks) <= 8


@for_each("name", REAL)
def test_the_sources_are_named(name: str) -> None:
    profile = PROFILES[name]
    if name not in ("relay", "contact"):
        named = re.findall(r"[\w.-]+/[\w.-]+(?:@[0-9a-f]{7}\b| issue \d+)", profile.source)
        assert named or "manual" in profile.source
        confirmed = all(point.confirmed for point in profile.points)
        if profile.driver is None and confirmed and "vendor's" not in profile.source:
            assert len(re.split(r"[,;]| and ", profile.source)) > 1, "a register that is confirmed has two sources"
    variants = (point for variant in profile.variants for point in variant.points)
    if any(not point.confirmed for point in (*profile.points, *variants)):
        assert re.search(r"[Oo]ne source|alone|rest on", profile.source), "says what rests on one source"


@for_each("name", REAL)
def test_quirks_have_a_reason(name: str) -> None:
    """A pause or a delay costs every poll: the file says why."""
    lines = (BUILT_IN / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    costly = [line for line in lines if re.match(r"(connect_delay_s|request_gap_s|timeout_s|max_gap) =", line)]
    assert all("#" in line for line in costly)


def test_there_are_fifty_families_over_all_types() -> None:
    assert len(REAL) >= 50
    types = {profile.kind.usual for profile in REAL.values() if profile.kind is not Kind.HYBRID}
    types |= {node for profile in REAL.values() for node in profile.nodes}
    assert types == set(NodeType)


def test_no_device_is_recognised_as_two() -> None:
    seen: dict[object, str] = {}
    for name, profile in PROFILES.items():
        if profile.identify is not None:
            first, also = profile.identify, profile.identify.also
            for raw, *further in product(first.equals, *(mark.equals or (None,) for mark in also)):
                rest = tuple((mark.span, one) for mark, one in zip(also, further, strict=True))
                place = (first.span, first.encoding.type, raw, rest)
                assert seen.setdefault(place, name) == name


def test_a_family_that_is_identified_as_another_has_no_mark_of_its_own() -> None:
    found = {name: profile for name, profile in PROFILES.items() if profile.identified_as}
    assert "solis-string-acrel" in found
    for name, profile in found.items():
        assert profile.identify is None, name
        assert all(PROFILES[other].identify is not None for other in profile.identified_as), name


@for_each("name", Profiles(lambda profile: profile.driver is not None))
def test_a_sunspec_family_brings_its_quirks_to_the_sunspec_driver(name: str) -> None:
    profile = PROFILES[name]
    driver = Catalogue().create(name, ReadOptions())
    assert isinstance(driver, SunSpec)
    assert driver.kind is profile.kind
    assert driver.defaults == profile.link


# Channels.


async def test_the_third_relay_is_the_third_coil() -> None:
    unit = SimulatedUnit(1, lambda: {Table.COIL: dict(enumerate([0, 0, 1, 0]))})
    server = ModbusServer([unit], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    try:
        for channel, expected in (("", False), (":1", False), (":3", True), (":4", False)):
            driver = Catalogue().create(f"kmtronic-relay{channel}", ReadOptions())
            scan = await driver.poll(link.unit(1), time.monotonic)
            assert [reading.value for reading in scan.readings] == [expected]
    finally:
        await link.close()
        await server.stop()


def test_channels_of_a_register_are_its_bits() -> None:
    profile = PROFILES["weidmueller-ur20-do"].channel("16")
    (point,) = profile.points
    assert (point.address, point.encoding.bit) == (0x9000, 15)


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        ("kmtronic-relay:9", "kmtronic-relay: the channel must be 1..8 (found 'kmtronic-relay:9')"),
        ("kmtronic-relay:0", "kmtronic-relay: the channel must be 1..8 (found 'kmtronic-relay:0')"),
        ("kmtronic-relay:two", "kmtronic-relay: the channel must be 1..8 (found 'kmtronic-relay:two')"),
        ("eastron-sdm630:2", "eastron-sdm630 has no channels (found 'eastron-sdm630:2')"),
        ("sunspec-meter:10", "sunspec-meter: the channel must be 1..9 (found 'sunspec-meter:10')"),
        ("sunspec:2", "sunspec has no channels (found 'sunspec:2')"),
    ],
)
def test_a_channel_that_is_not_there_is_refused(driver: str, why: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(why)):
        Catalogue().create(driver, ReadOptions())


HEAD = 'manufacturer = "Some"\nmodels = ["device"]\nkind = "hybrid"\nsource = "its manual"\n'
ON_COIL = 'point = [{ quantity = "on", table = "coil", address = 65_530 }]\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD + 'driver = "modbus"\n', "driver: must be one of sunspec, sunspec-meter, solaredge (found 'modbus')"),
        (HEAD + 'driver = "sunspec"\n' + ON_COIL, "point: is for registers; driver sunspec finds them itself (found"),
        (
            HEAD + 'driver = "sunspec"\n[defaults]\nword_order = "little"\n',
            "[defaults]: word_order: is for registers; driver sunspec finds them itself (found 'little')",
        ),
        (HEAD, "point: is missing"),
        (
            HEAD.replace("hybrid", "relay") + "directed = true\n" + ON_COIL,
            "directed: needs the points active_power and on, both for the same node (found True)",
        ),
        (
            HEAD.replace("hybrid", "relay") + ON_COIL + "[channels]\ncount = 8\n",
            "[channels]: count: is too large: the last channel needs an address above 65535, or a bit that its",
        ),
        (HEAD.replace("hybrid", "relay") + ON_COIL + "[channels]\ncount = 1\n", "count: must be 2..256 (found 1)"),
    ],
)
def test_mistakes_in_a_profile_are_named(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "some.toml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=re.escape(why)):
        load(path)


# Powers that are magnitudes.

BATTERY = (
    HEAD
    + """directed = true
point = [
    { node = "storage", quantity = "on", table = "input", address = 0, type = "uint16", bit = 2 },
    { node = "storage", quantity = "active_power", table = "input", address = 1, type = "int16", invalid = [0x8000] },
    { node = "grid", quantity = "active_power", table = "input", address = 2, type = "int16" },
]
"""
)


@pytest.mark.parametrize(
    ("words", "storage_W"),
    [
        ([0b011, 700], 700.0),
        ([0b100, 700], -700.0),
        ([0b100, 0x10000 - 700], -700.0),
        ([0b000, 0x10000 - 700], 700.0),
        ([0b100, 0], 0.0),
        ([0b100, 0x8000], None),
    ],
)
async def test_the_bit_says_which_way_a_power_flows(tmp_path: Path, words: list[int], storage_W: float | None) -> None:
    scan = await poll_battery(tmp_path, {0: words[0], 1: words[1], 2: 0x10000 - 40})
    assert [(reading.node, reading.value) for reading in scan.readings] == [("storage", storage_W), ("grid", -40.0)]


async def test_a_power_without_its_direction_is_missing(tmp_path: Path) -> None:
    scan = await poll_battery(tmp_path, {1: 700, 2: 40})
    assert [(reading.value, reading.quality) for reading in scan.readings] == [
        (None, Quality.MISSING),
        (40.0, Quality.GOOD),
    ]


async def poll_battery(folder: Path, words: dict[int, int]) -> Scan:
    path = folder / "battery.toml"
    path.write_text(BATTERY)
    server = ModbusServer([SimulatedUnit(1, lambda: {Table.INPUT: words})], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    try:
        return await driver_of(load(path), ReadOptions()).poll(link.unit(1), time.monotonic)
    finally:
        await link.close()
        await server.stop()


# The list of the README and docs/devices.md.

ROOT = Path(__file__).parents[3]
STALE = "run: make devices"


def test_the_list_in_the_readme_and_the_page_of_devices_are_made_from_the_profiles_and_captures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(device_table.__file__, run_name="__main__")
    for name in ("README.md", "docs/devices.md"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (ROOT / name).read_text(encoding="utf-8"), STALE


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n"])
def test_a_readme_without_the_place_of_the_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^needs the lines {BEGIN} and {END}$"):
        updated(text, [])


def test_the_page_says_how_well_each_is_known() -> None:
    text = page(list(REAL.values()), {"keba-kecontact": ["variable_power_load_keba_p40.json"]})
    sections = {name: rest for name, _, rest in (part.partition("`\n") for part in text.split("\n### `")[1:])}
    assert sections.keys() == set(REAL)
    for name, section in sections.items():
        profile = PROFILES[name]
        every = [*profile.points, *(point for variant in profile.variants for point in variant.points)]
        points = {(point.key, point.spans) for point in every}
        sure = len(points - {(point.key, point.spans) for point in every if not point.confirmed})
        if sure < len(points):
            known = f"{sure} of {len(points)} confirmed" if sure else "from one source"
        else:
            known = "confirmed" if points else "by discovery"
        assert f"\n- registers: {known}\n" in section
        assert ("\n- identify: yes\n" in section) == (PROFILES[name].identify is not None)
        assert ("\n- capture: no\n" in section) == (name != "keba-kecontact")
        assert all(f"\n- note: {note}\n" in section for note in PROFILES[name].notes)
    keba = sections["keba-kecontact"]  # only the counter of a variant is from one source
    assert "\n- registers: 7 of 8 confirmed\n- from one source: consumed_energy\n" in keba
    assert "\n- registers: 16 of 21 confirmed\n" in sections["kostal-plenticore"], "a word order is no other register"
    huawei = sections["huawei-sun2000"]
    assert "\n- nodes: grid, solar, storage\n" in huawei
    assert "\n- grid fields: active_power (total, l1, l2, l3), voltage (l1, l2, l3), " in huawei
    assert "\n- link: time-out 10 s, first request 1 s after connecting, 0.05 s between requests\n" in huawei


@pytest.mark.parametrize("kind", Kind)
def test_the_types_of_a_kind_are_those_that_the_agent_binds(kind: Kind) -> None:
    profile = Profile("some", "Some", ("device",), kind, "its manual", ())
    bound = [type_.value for type_ in NodeType if why_unfit(kind, type_) is None]
    assert types_of(profile) == ("any (meter)" if kind is Kind.METER else ", ".join(bound))


TEN_KW = {
    (100_000, 2, "little"): {"deye", "sunsynk"},
    (100_000, 2, "big"): {"growatt-vpp"},
    (100, 2, "little"): {"sungrow-ihomemanager"},
    (100, 1, "big"): {"sungrow-sg", "sungrow-sh"},
    (10_000, 2, "big"): {"foxess", "growatt", "huawei", "sigenergy", "sma"},
    (10_000, 1, "big"): {"goodwe", "kostal", "solax", "tsun", "viessmann"},
}
"""Raw number, registers and word order of a device of 10 kW → the families, by the longest beginning of their name."""


def test_each_rated_power_has_the_unit_of_its_source() -> None:
    for profile in (each for each in PROFILES.values() if each.rating is not None):
        rating = profile.rating
        assert rating is not None
        begins = {beginning: key for key, names in TEN_KW.items() for beginning in names}
        raw, count, order = begins[max(filter(profile.name.startswith, begins), key=len)]
        words = (raw,) if count == 1 else (raw >> 16, raw & 0xFFFF)
        assert rating.encoding.width == count, profile.name
        assert rating.largest(words if order == "big" else words[::-1]) == rating.times * 10_000, profile.name


def test_no_name_of_a_manufacturer_is_divided_between_two_lines() -> None:
    some = next(iter(PROFILES.values()))
    names = [f"Sun-and-Wind-{number}" for number in range(30)]
    text = device_table.makers([replace(some, manufacturer=name) for name in names])
    assert max(map(len, text.splitlines())) <= 120
    assert ", ".join(names) in " ".join(text.split())
