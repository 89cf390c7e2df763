"""The SunSpec driver against devices built word by word: what it finds, what it reads, what it refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from drivers.catalogue import Catalogue
from drivers.driver import LinkDefaults, ReadOptions
from drivers.errors import (
    BusyError,
    DeviceFailureError,
    GatewayError,
    ProfileError,
    SilentError,
    UnsupportedError,
    exception_reply,
)
from drivers.modbus.link import Link
from drivers.model import Kind, NodeType, Phase, Quality, Quantity, Reading, Scan, Table
from drivers.registers.refusals import RECHECK_FIRST_S, RECHECK_MAX_S
from drivers.sunspec.discovery import CommonModel
from drivers.sunspec.driver import SunSpec, SunSpecMeter
from drivers.sunspec.layout import meters
from drivers.sunspec.mapping import METERS
from drivers.sunspec.models import Model
from tests.faults.modbus import FaultServer
from tests.faults.sunspec import NO_INT16, FakeReader, common, device, inverter, meter, model, words

GRID, SOLAR, STORAGE = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE
PLAIN = ReadOptions()

INVERTER = inverter(W=4321, W_SF=0, WH=words("I", 7_654_321), WH_SF=0, Hz=4998, Hz_SF=-2, PhVphA=2304, V_SF=-1)
METER = meter(W=-1234, W_SF=1, TotWhImp=words("I", 1000), TotWhExp=words("I", 2000), TotWh_SF=2)


def find(scan: Scan, node: NodeType, quantity: Quantity, phase: Phase | None = None) -> Reading:
    (reading,) = [r for r in scan.readings if (r.node, r.quantity, r.phase) == (node, quantity, phase)]
    assert (reading.value is None) == (reading.quality is not Quality.GOOD)
    return reading


def value(scan: Scan, node: NodeType, quantity: Quantity, phase: Phase | None = None) -> object:
    return find(scan, node, quantity, phase).value


async def poll(driver: SunSpec, reader: FakeReader, at: float = 0.0) -> Scan:
    return await driver.poll(reader, lambda: at)


async def first_poll(*models: Sequence[int], end: bool = True, options: ReadOptions = PLAIN) -> Scan:
    return await poll(SunSpec(options), FakeReader(device(*models, end=end)))


def test_the_word_order_of_sunspec_is_fixed() -> None:
    SunSpec(ReadOptions(word_order="big"))
    with pytest.raises(ProfileError, match="word_order is always 'big'"):
        SunSpec(ReadOptions(word_order="little"))


def test_a_device_sleeps_at_night_unless_its_family_says_otherwise() -> None:
    assert SunSpec(PLAIN).defaults == LinkDefaults(sleeps=True)
    family = LinkDefaults(unit_id=126)
    assert SunSpec(PLAIN, family).defaults == family
    assert SunSpecMeter(PLAIN).defaults == LinkDefaults()
    assert SunSpecMeter(PLAIN, family).defaults == family


async def test_reads_an_inverter_and_its_meter_over_a_real_socket() -> None:
    registers = device(common("Fronius", "Symo 8.2-3-M", "31329509"), INVERTER, METER)
    async with FaultServer({(7, Table.HOLDING): registers}) as server:
        link = Link(server.link())
        driver = SunSpec(PLAIN)
        assert driver.kind is Kind.HYBRID
        assert driver.nodes == {GRID, SOLAR, STORAGE}
        assert (driver.available, driver.resolutions) == (frozenset(), {})
        found = await driver.poll(link.unit(7), lambda: 5.0)
        asked = len(server.requests)
        again = await driver.poll(link.unit(7), lambda: 6.0)
        await link.close()
    assert (driver.identity.manufacturer, driver.identity.model, driver.identity.serial) == (
        "Fronius",
        "Symo 8.2-3-M",
        "31329509",
    )
    assert driver.nodes == {GRID, SOLAR}
    assert [model.id for model in driver.models] == [1, 103, 203]
    for scan in (found, again):
        assert scan.complete
        assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
        assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 7_654_321.0
        assert value(scan, SOLAR, Quantity.FREQUENCY) == 49.98
        assert value(scan, SOLAR, Quantity.VOLTAGE, Phase.L1) == 230.4
        assert value(scan, GRID, Quantity.ACTIVE_POWER) == -12_340.0
        assert value(scan, GRID, Quantity.IMPORTED_ENERGY) == 100_000.0
        assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == 200_000.0
    assert (again.requests, len(server.requests) - asked) == (1, 1)  # both models fit one request
    assert {reading.at for reading in again.readings} == {6.0}
    assert server.functions == {3}


async def test_a_meter_that_the_site_does_not_use_is_known_but_not_read() -> None:
    registers = device(common(), INVERTER, METER)
    of_meter = 40000 + 2 + 68 + 52
    async with FaultServer({(7, Table.HOLDING): registers}) as server:
        link = Link(server.link())
        driver = SunSpec(ReadOptions(nodes=frozenset({SOLAR})))
        for _ in range(2):
            before = len(server.requests)
            scan = await driver.poll(link.unit(7), lambda: 5.0)
            assert {reading.node for reading in scan.readings} == {SOLAR}
        await link.close()
    assert all(seen.address + seen.count <= of_meter for seen in server.requests[before:])
    assert driver.nodes == {SOLAR}
    assert driver.available == {SOLAR, GRID}


@pytest.mark.parametrize("base", [40000, 50000, 0])
async def test_finds_the_marker_where_the_standard_allows_it(base: int) -> None:
    reader = FakeReader(device(common(), INVERTER, base=base))
    scan = await poll(SunSpec(PLAIN), reader)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    places = [40000, 50000, 0]
    tried = places[: places.index(base) + 1]
    assert reader.asked[: len(tried)] == [(place, 2) for place in tried]
    assert len(reader.asked) == len(set(reader.asked)), "no request is sent twice"


async def test_texts_that_are_refused_are_empty() -> None:
    reader = FakeReader(device(common(), INVERTER))
    reader.failures = {40002 + 2: exception_reply(2, "manufacturer"), 40002 + 2 + 50: exception_reply(2, "serial")}
    driver = SunSpec(PLAIN)
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert driver.identity == CommonModel("", "Inverter 5", "1.2", "")


@pytest.mark.parametrize("code", [4, 8])
async def test_a_text_that_fails_twice_is_empty_until_the_device_is_asked_again(code: int) -> None:
    """Some devices reply exception 4 where they lack a register; others reply it while they are starting."""
    reader = FakeReader(device(common(), INVERTER))
    driver, clock = SunSpec(PLAIN), [0.0]
    serial = 40002 + 2 + 50
    reader.failures = {serial: exception_reply(code, "serial")}
    with pytest.raises(DeviceFailureError):
        await driver.poll(reader, lambda: clock[0])
    scan = await driver.poll(reader, lambda: clock[0])
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert driver.identity == CommonModel("Acme", "Inverter 5", "1.2", "")
    reader.failures.clear()
    clock[0] = RECHECK_MAX_S
    await driver.poll(reader, lambda: clock[0])
    assert driver.identity == CommonModel("Acme", "Inverter 5", "1.2", "123")


async def test_a_device_that_lacks_all_texts_is_read_from_the_second_poll_on() -> None:
    reader = FakeReader(device(common(), INVERTER, common(), INVERTER))
    second = 40002 + 68 + 52
    texts = [start + offset for start in (40002, second) for offset in (2, 18, 42, 50)]
    reader.failures = {address: exception_reply(4, "text") for address in texts}
    driver = SunSpec(PLAIN)
    with pytest.raises(DeviceFailureError):
        await poll(driver, reader)
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 2 * 4321.0


async def test_a_text_that_fails_once_is_read_by_the_next_poll() -> None:
    reader = FakeReader(device(common(), INVERTER))
    driver = SunSpec(PLAIN)
    reader.failures = {40002 + 2: exception_reply(4, "manufacturer")}
    with pytest.raises(DeviceFailureError):
        await poll(driver, reader)
    reader.failures.clear()
    await poll(driver, reader)
    assert driver.identity.manufacturer == "Acme"


async def test_a_short_common_model_has_the_texts_that_it_holds() -> None:
    driver = SunSpec(PLAIN)
    await poll(driver, FakeReader(device([1, 32, *common()[2:34]], INVERTER)))
    assert driver.identity == CommonModel("Acme", "Inverter 5", "", "")


async def test_something_else_at_the_first_base_is_not_the_marker() -> None:
    registers = {40000: 0x5375, 40001: 0x6E54} | device(common(), INVERTER, base=50000)
    scan = await poll(SunSpec(PLAIN), FakeReader(registers))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0


async def test_a_device_that_is_silent_where_the_marker_is_not_is_found_by_the_next_polls() -> None:
    reader = FakeReader(device(common(), INVERTER, base=0))
    reader.failures = {40000: SilentError("no answer"), 50000: SilentError("no answer")}
    driver = SunSpec(PLAIN)
    for _ in range(2):
        with pytest.raises(SilentError):
            await poll(driver, reader)
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 4321.0


async def test_a_device_without_marker_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match=r"no \"SunS\" at holding registers 40000, 50000, 0"):
        await poll(SunSpec(PLAIN), FakeReader({0: 1, 1: 2}))


async def test_a_device_with_nothing_useful_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match=r"no inverter, meter or battery model \(found: 1, 64999\)"):
        await first_poll(common(), model(64999, 10, {}))
    with pytest.raises(UnsupportedError, match=r"\(found: none\)"):
        await first_poll()


@pytest.mark.parametrize("end", [True, False], ids=["end model", "no end model"])
async def test_models_stand_in_any_order(end: bool) -> None:
    foreign = model(64001, 71, {})
    scan = await first_poll(METER, foreign, INVERTER, common(length=65), end=end)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -12_340.0


async def test_silence_behind_the_chain_is_an_error_once_and_its_end_the_second_time() -> None:
    reader = FakeReader(device(common(), INVERTER, end=False))
    reader.failures[max(reader.registers) + 1] = SilentError("no answer")
    driver = SunSpec(PLAIN)
    with pytest.raises(SilentError):
        await poll(driver, reader)
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 4321.0


async def test_two_lost_replies_that_are_days_apart_do_not_end_the_chain() -> None:
    """The second reply is lost while a changed device is discovered, so no earlier chain is known."""

    class Losing(FakeReader):
        lost: tuple[int, int] | None = None

        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            if (address, count) == self.lost:
                self.lost = None
                raise SilentError("no answer")
            return await super().read(table, address, count)

    reader = Losing(device(common(), INVERTER, METER))
    driver = SunSpec(PLAIN)
    for changed in (INVERTER, inverter(101, W=4321, W_SF=0)):
        reader.registers |= device(common(), changed, METER)
        reader.lost = (40070 + 2 + 50, 2)
        with pytest.raises(SilentError):
            await poll(driver, reader)
        assert reader.lost is None
        assert {reading.node for reading in (await poll(driver, reader)).readings} == {SOLAR, GRID}


async def test_a_lost_reply_is_not_confused_with_the_silence_behind_the_chain() -> None:
    reader = FakeReader(device(common(), INVERTER, METER, end=False))
    of_meter, behind = 40070 + 2 + 50, max(reader.registers) + 1
    reader.failures[behind] = SilentError("no answer")
    driver = SunSpec(PLAIN)
    with pytest.raises(SilentError):
        await poll(driver, reader)
    reader.failures[of_meter] = SilentError("no answer")
    with pytest.raises(SilentError):
        await poll(driver, reader)
    del reader.failures[of_meter]
    assert {reading.node for reading in (await poll(driver, reader)).readings} == {SOLAR, GRID}


@pytest.mark.parametrize("error", [SilentError("no answer"), exception_reply(2, "refused")])
async def test_a_device_without_a_reply_behind_the_marker_is_never_an_empty_chain(error: Exception) -> None:
    reader = FakeReader(device(common(), INVERTER))
    reader.failures[40002] = error
    driver = SunSpec(PLAIN)
    for _ in range(3):
        with pytest.raises(type(error)):
            await poll(driver, reader)


@pytest.mark.parametrize("end", [True, False], ids=["end model", "no end model"])
async def test_a_chain_may_fill_all_addresses(end: bool) -> None:
    """The last two registers have the end model, or belong to the inverter. Nothing is read behind them."""
    filler = model(64000, 0x1_0000 - 50002 - 68 - 52 - 2 - 2 * end, {})
    reader = FakeReader(device(common(), filler, INVERTER, base=50000, end=end))
    assert max(reader.registers) == 0xFFFF
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    assert all(address + count <= 0x1_0000 for address, count in reader.asked)
    reader.asked.clear()
    assert value(await poll(driver, reader, RECHECK_FIRST_S), SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert (len(reader.asked) == 1) == end, "only a chain with an end is known for ever"


@pytest.mark.parametrize("length", [0, 40_000])
async def test_a_known_model_of_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"model 203 at 40122: length {length} is impossible"):
        await first_poll(common(), INVERTER, [203, length])


@pytest.mark.parametrize("header", [[0, 0], [12345, 54321]])
async def test_an_impossible_header_behind_known_models_ends_the_chain_until_it_is_walked_again(
    header: list[int],
) -> None:
    driver, reader = SunSpec(PLAIN), FakeReader(device(common(), INVERTER, header, end=False))
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert [each.id for each in driver.models] == [1, 103]
    reader.registers = device(common(), INVERTER, METER)
    assert value(await poll(driver, reader, RECHECK_FIRST_S), GRID, Quantity.ACTIVE_POWER) == -12_340.0
    assert [each.id for each in driver.models] == [1, 103, 203]


async def test_a_chain_without_end_is_refused() -> None:
    foreign = model(64000, 1, {})
    assert value(await first_poll(common(), INVERTER, *[foreign] * 98), SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    with pytest.raises(UnsupportedError, match="more than 100 models"):
        await first_poll(common(), INVERTER, *[foreign] * 99)


async def test_a_chain_with_an_end_is_walked_once() -> None:
    driver, reader = SunSpec(PLAIN), FakeReader(device(common(), INVERTER))
    await poll(driver, reader)
    reader.asked.clear()
    await poll(driver, reader, RECHECK_MAX_S)
    assert len(reader.asked) == 1


async def test_a_truncated_model_has_the_points_that_it_holds() -> None:
    short = inverter(length=24, W=500, W_SF=0, WH=[1, 1])  # ends behind WH, before its scale factor
    scan = await first_poll(common(), short)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 500.0
    quantities = {reading.quantity for reading in scan.readings}
    assert Quantity.FREQUENCY in quantities
    assert quantities.isdisjoint({Quantity.PRODUCED_ENERGY, Quantity.DC_POWER, Quantity.TEMPERATURE})


async def test_nothing_implemented_is_missing_and_never_zero() -> None:
    floats = model(113, 60, {offset: [0x7FC0, 0] for offset in range(0, 46, 2)})
    for models in ((inverter(), meter()), (floats, meter(201))):
        scan = await first_poll(common(), *models)
        assert len(scan.readings) > 20
        assert {(reading.value, reading.quality) for reading in scan.readings} == {(None, Quality.MISSING)}


@pytest.mark.parametrize("raw", [0, 0xFFFF_FFFF])
async def test_a_counter_that_says_not_accumulated_is_missing_and_never_zero(raw: int) -> None:
    scan = await first_poll(common(), inverter(W=1, W_SF=0, WH=words("I", raw), WH_SF=0))
    assert find(scan, SOLAR, Quantity.PRODUCED_ENERGY).quality is Quality.MISSING
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 1.0


async def test_float_models_need_no_factor() -> None:
    points = {20: words("f", 177.5), 22: words("f", 50.0), 30: words("f", 26_320_000.0), 14: words("f", 230.5)}
    scan = await first_poll(common(), model(113, 60, points))
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 177.5
    assert value(scan, SOLAR, Quantity.FREQUENCY) == 50.0
    assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 26_320_000.0
    assert value(scan, SOLAR, Quantity.VOLTAGE, Phase.L1) == 230.5
    meter_points = {26: words("f", -2500.25), 58: words("f", 10.0), 66: words("f", 20.0)}
    scan = await first_poll(common(), model(213, 124, meter_points))
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -2500.25
    assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == 10.0
    assert value(scan, GRID, Quantity.IMPORTED_ENERGY) == 20.0


async def test_factors_are_those_of_the_same_poll() -> None:
    reader = FakeReader(device(common(), INVERTER))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    power = 40000 + 2 + 68 + 2 + 12
    reader.registers |= {power: 43, power + 1: 2}
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 4300.0


@pytest.mark.parametrize(
    ("factor", "quality"),
    [(11, Quality.INVALID), (-11, Quality.INVALID), (0x7FFF, Quality.INVALID), (NO_INT16, Quality.MISSING)],
)
async def test_a_factor_that_is_none_makes_no_number(factor: int, quality: Quality) -> None:
    scan = await first_poll(common(), inverter(W=500, W_SF=factor))
    assert find(scan, SOLAR, Quantity.ACTIVE_POWER).quality is quality


async def test_a_factor_that_the_standard_makes_optional_may_be_absent() -> None:
    scan = await first_poll(common(), meter(Hz=50, Hz_SF=NO_INT16, W=7, W_SF=0))  # 203: Hz mandatory, Hz_SF optional
    assert value(scan, GRID, Quantity.FREQUENCY) == 50.0


async def test_of_several_meters_and_inverters_the_first_is_read() -> None:
    second = meter(W=1, W_SF=0, TotWhImp=[0, 7], TotWh_SF=0)
    scan = await first_poll(common(), INVERTER, inverter(101, W=9, W_SF=0), common(), METER, common(), second)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -12_340.0
    assert value(scan, GRID, Quantity.IMPORTED_ENERGY) == 100_000.0


@pytest.mark.parametrize(
    ("driver", "power"),
    [("sunspec-meter", 10), ("sunspec-meter:1", 10), ("sunspec-meter:2", 20), ("sunspec-meter:3", 30)],
)
async def test_each_meter_of_a_device_can_be_read_by_itself(driver: str, power: int) -> None:
    """The first is offered in integers and in floats, the others stand behind one common model."""
    both = [meter(W=10, W_SF=0), model(213, 124, {26: words("f", 10.0)}, fill=NO_INT16)]
    rest = [common("Attached"), meter(201, W=20, W_SF=0), meter(201, W=30, W_SF=0)]
    reader = FakeReader(device(common(), INVERTER, *both, *rest))
    scan = await Catalogue().create(driver, PLAIN).poll(reader, lambda: 0.0)
    powers = [reading.value for reading in scan.readings if reading.quantity is Quantity.ACTIVE_POWER]
    assert powers[0] == power
    assert {reading.node for reading in scan.readings} == {None}


async def test_the_float_meter_of_a_second_device_is_not_the_integer_meter_of_the_first() -> None:
    second = [common("Attached"), model(211, 124, {26: words("f", 20.0)}, fill=NO_INT16)]
    reader = FakeReader(device(common(), meter(201, W=10, W_SF=0), *second))
    scan = await Catalogue().create("sunspec-meter:2", PLAIN).poll(reader, lambda: 0.0)
    assert [r.value for r in scan.readings if r.quantity is Quantity.ACTIVE_POWER and r.phase is None] == [20.0]


@pytest.mark.parametrize("number", [201, 202, 203, 204])
def test_only_the_integer_and_the_float_model_of_one_kind_are_one_meter(number: int) -> None:
    for first, second in ((number, number + 10), (number + 10, number)):
        for other in METERS:
            chain = [Model(first, 0, 98), Model(other, 100, 98)]
            assert meters(chain) == tuple(chain[:1] if other == second else chain)


async def test_a_device_without_a_meter_is_unsupported_as_a_meter() -> None:
    with pytest.raises(UnsupportedError, match=re.escape("offers no meter model (found: 1, 103)")):
        await poll(SunSpecMeter(PLAIN), FakeReader(device(common(), INVERTER)))


async def test_a_meter_that_is_not_there_is_unsupported() -> None:
    reader = FakeReader(device(common(), INVERTER, common(), METER))
    with pytest.raises(UnsupportedError, match=re.escape("offers no meter 2 (found: 1, 103, 1, 203)")):
        await Catalogue().create("sunspec-meter:2", PLAIN).poll(reader, lambda: 0.0)


async def test_a_changed_device_is_walked_anew_within_the_poll() -> None:
    reader = FakeReader(device(common(), INVERTER, METER))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    reader.registers = device(common("Other"), METER, inverter(W=77, W_SF=0))
    with capture_logs() as logs:
        scan = await poll(driver, reader)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 77.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -12_340.0
    assert driver.identity.manufacturer == "Other"
    assert [event["event"] for event in logs] == ["sunspec_changed", "sunspec_discovered"]


async def test_a_device_that_lost_its_end_is_walked_anew() -> None:
    reader = FakeReader(device(common(), INVERTER, METER))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    reader.registers = device(common(), INVERTER, end=False)
    scan = await poll(driver, reader)
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert driver.nodes == {SOLAR}


async def test_models_that_never_stand_still_are_unsupported() -> None:
    class Restless(FakeReader):
        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            answer = list(await super().read(table, address, count))
            return [104, *answer[1:]] if count > 20 else answer

    with pytest.raises(UnsupportedError, match=r"models change while they are read: model 103 .* 40070"):
        await poll(SunSpec(PLAIN), Restless(device(common(), INVERTER)))


@pytest.mark.parametrize("code", [4, 6])
async def test_a_refusal_of_what_was_not_accepted_before_is_no_change(code: int) -> None:
    reader = FakeReader(device(common(), INVERTER, METER))
    driver = SunSpec(ReadOptions(max_registers=60))
    meter_power = 40070 + 52 + 2 + 16
    reader.failures[meter_power] = exception_reply(code, "not yet")
    assert not (await poll(driver, reader)).complete
    reader.failures[meter_power] = exception_reply(2, "hole")
    with capture_logs() as logs:
        scan = await poll(driver, reader)
    assert [entry["event"] for entry in logs if entry["event"].startswith("sunspec")] == []
    assert [str(error) for error in scan.errors] == ["hole: Modbus exception 2 (illegal data address)"]
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert (await poll(driver, reader)).requests < scan.requests, "the refusal was learned"


async def test_what_is_refused_is_left_out_remembered_and_asked_again_later() -> None:
    reader = FakeReader(device(common(), INVERTER, METER))
    driver = SunSpec(PLAIN)
    frequency = 40070 + 2 + 14
    reader.failures[frequency] = exception_reply(2, "hole")
    scan = await poll(driver, reader)
    assert [str(error) for error in scan.errors] == ["hole: Modbus exception 2 (illegal data address)"]
    assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
    assert value(scan, GRID, Quantity.ACTIVE_POWER) == -12_340.0
    assert (SOLAR, Quantity.FREQUENCY) not in {(reading.node, reading.quantity) for reading in scan.readings}

    reader.asked.clear()
    again = await poll(driver, reader, at=RECHECK_FIRST_S - 1)
    assert len(again.readings) == len(scan.readings)
    assert not any(start <= frequency < start + count for start, count in reader.asked)

    reader.failures.clear()
    later = await poll(driver, reader, at=RECHECK_FIRST_S)
    assert later.complete
    assert value(later, SOLAR, Quantity.FREQUENCY) == 49.98


async def test_a_hole_and_a_border_between_models_are_learned_without_further_walks() -> None:
    frequency, border = 40070 + 2 + 14, 40070 + 2 + 50

    class Divided(FakeReader):
        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            if address < border < address + count:
                raise exception_reply(2, "border")
            return await super().read(table, address, count)

    reader = Divided(device(common(), INVERTER, METER))
    reader.failures[frequency] = exception_reply(2, "hole")
    driver = SunSpec(PLAIN)
    for _ in range(4):
        reader.asked.clear()
        scan = await poll(driver, reader)
        assert value(scan, SOLAR, Quantity.ACTIVE_POWER) == 4321.0
        assert value(scan, GRID, Quantity.ACTIVE_POWER) == -12_340.0
    assert len(reader.asked) == scan.requests <= 5
    assert (40000, 2) not in reader.asked


async def test_a_chain_that_was_cut_short_is_walked_again() -> None:
    """An inverter that wakes up may refuse the second half of its chain."""
    reader = FakeReader(device(common(), INVERTER, METER))
    header = 40070 + 2 + 50
    reader.failures[header] = exception_reply(4, "waking up")
    driver = SunSpec(PLAIN)
    assert {reading.node for reading in (await poll(driver, reader)).readings} == {SOLAR}
    reader.failures.clear()
    assert {reading.node for reading in (await poll(driver, reader, RECHECK_FIRST_S - 1)).readings} == {SOLAR}
    assert {reading.node for reading in (await poll(driver, reader, RECHECK_FIRST_S)).readings} == {SOLAR, GRID}


async def test_a_device_without_an_end_model_is_walked_more_and_more_rarely_and_keeps_what_it_had() -> None:
    class Waking(FakeReader):
        awake = True

        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            if not self.awake and (address, count) == (40070 + 2 + 50, 2):
                raise exception_reply(4, "waking up")
            return await super().read(table, address, count)

    reader = Waking(device(common(), INVERTER, METER, end=False))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    walks: list[int] = []
    for at in range(60, int(3 * RECHECK_MAX_S), 60):
        reader.asked.clear()
        reader.awake = len(walks) != 2
        scan = await poll(driver, reader, float(at))
        assert {reading.node for reading in scan.readings} == {SOLAR, GRID}
        if len(reader.asked) > 1:
            walks.append(at)
    assert walks[:5] == [RECHECK_FIRST_S * factor for factor in (1, 3, 7, 15, 31)]  # the third found a shorter chain
    assert walks[-1] - walks[-2] == RECHECK_MAX_S
    # Another device in its place is walked as often as a new one.
    reader.registers = device(common("Other"), INVERTER, end=False)
    changed = 3 * RECHECK_MAX_S
    await poll(driver, reader, changed)
    reader.registers = device(common("Other"), INVERTER, METER)
    await poll(driver, reader, changed + RECHECK_FIRST_S)
    assert driver.available == {SOLAR, GRID}


async def test_another_device_with_a_shorter_chain_is_found_when_the_chain_is_walked_again() -> None:
    reader = FakeReader(device(common(), INVERTER, METER, end=False))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    reader.registers = device(common("Other"), METER, end=False)
    assert {reading.node for reading in (await poll(driver, reader, RECHECK_FIRST_S)).readings} == {GRID}


async def test_a_chain_that_is_shorter_after_a_break_is_accepted() -> None:
    reader = FakeReader(device(common(), INVERTER, METER, end=False))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    reader.registers = device(common(), INVERTER, end=False)
    with pytest.raises(UnsupportedError, match="change while they are read"):
        await poll(driver, reader, RECHECK_MAX_S)
    assert {reading.node for reading in (await poll(driver, reader, RECHECK_MAX_S + 1)).readings} == {SOLAR}


async def test_a_device_that_refuses_everything_for_now_is_not_given_up() -> None:
    reader = FakeReader(device(common(), INVERTER))
    reader.failures = {address: exception_reply(2, "asleep") for address in range(40072, 40122)}
    driver = SunSpec(PLAIN)
    with pytest.raises(Exception, match="asleep"):
        await poll(driver, reader)
    reader.failures.clear()
    assert (await poll(driver, reader)).complete


async def test_a_device_that_is_busy_at_first_is_reported_as_busy_although_it_lacks_a_point() -> None:
    reader = FakeReader(device(common(), INVERTER))
    busy = dict.fromkeys(range(40073, 40122), BusyError(6, "busy"))
    reader.failures = {40072: exception_reply(2, "lacking"), **busy}
    driver = SunSpec(PLAIN)
    with pytest.raises(BusyError):
        await poll(driver, reader)
    reader.failures = {40072: exception_reply(2, "lacking")}
    assert value(await poll(driver, reader), SOLAR, Quantity.ACTIVE_POWER) == 4321


async def test_a_small_request_limit_of_the_device_is_learned() -> None:
    async with FaultServer({(1, Table.HOLDING): device(common(), INVERTER, METER)}) as server:
        server.faults.max_registers = 40
        link = Link(server.link())
        driver = SunSpec(PLAIN)
        first = await driver.poll(link.unit(1), lambda: 0.0)
        server.requests.clear()
        second = await driver.poll(link.unit(1), lambda: 0.0)
        await link.close()
        assert max(seen.count for seen in server.requests) <= 40
    for scan in (first, second):
        assert scan.complete
        assert value(scan, SOLAR, Quantity.PRODUCED_ENERGY) == 7_654_321.0
        assert value(scan, GRID, Quantity.EXPORTED_ENERGY) == 200_000.0


async def test_a_busy_device_is_asked_once_more_and_then_left_out() -> None:
    class Busy(FakeReader):
        rejections = 0

        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            if count > 20 and self.rejections:
                self.rejections -= 1
                raise BusyError(6, "busy")
            return await super().read(table, address, count)

    reader = Busy(device(common(), INVERTER))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    reader.rejections = 1
    scan = await poll(driver, reader)
    assert (scan.complete, scan.requests) == (True, 2)
    reader.rejections = 2
    scan = await poll(driver, reader)
    assert (scan.readings, [type(error) for error in scan.errors]) == ((), [BusyError])
    assert (await poll(driver, reader)).complete


@pytest.mark.parametrize("error", [SilentError("no answer"), GatewayError(11, "gateway")])
async def test_a_lost_device_ends_the_poll_and_is_found_again_without_a_walk(error: Exception) -> None:
    reader = FakeReader(device(common(), INVERTER))
    driver = SunSpec(PLAIN)
    await poll(driver, reader)
    reader.failures[40084] = error
    with pytest.raises(type(error)):
        await poll(driver, reader)
    reader.failures.clear()
    assert (await poll(driver, reader)).requests == 1


def test_it_is_in_the_catalogue() -> None:
    assert isinstance(Catalogue().create("sunspec", PLAIN), SunSpec)


def test_the_word_order_is_not_an_option() -> None:
    with pytest.raises(ProfileError, match=r"sunspec: word_order is always 'big' \(found 'little'\)"):
        SunSpec(ReadOptions(word_order="little"))
