"""What the profile format can say of a device, each on a simulated device behind a socket that serves the words."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.catalogue import driver_of
from drivers.driver import Driver, ReadOptions
from drivers.errors import BusyError, DeviceFailureError, GatewayError, IllegalFunctionError, RefusedError
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import NodeType, Quality, Scan, Table
from drivers.profile.loader import load
from drivers.profile.register_driver import SELECT_EVERY_S, RegisterDriver
from drivers.registers.refusals import RECHECK_FIRST_S
from drivers.simulator.modbus_server import ModbusServer, SimulatedUnit
from tests.faults.modbus import Faults, FaultServer

HEAD = 'manufacturer = "Acme"\nmodels = ["One"]\nkind = "{kind}"\nsource = "this test"\n'


def signed(number: int) -> int:
    return number & 0xFFFF


def split(number: int) -> tuple[int, int]:
    """High and low word of a 32-bit number."""
    return number >> 16 & 0xFFFF, number & 0xFFFF


@dataclass
class Polled:
    """A driver on a device; `words` are its holding registers, to be changed between polls."""

    driver: Driver
    link: Link
    words: dict[int, int]
    at: float = 0.0
    asked: list[tuple[int, int]] = field(default_factory=list)
    scan: Scan | None = None

    async def poll(self, words: Mapping[int, int] | None = None, after_s: float = 1.0) -> dict[str, object]:
        """Values by name; the quality where there is no value."""
        if words is not None:
            self.words.clear()
            self.words.update(words)
        self.at += after_s
        self.asked.clear()
        self.scan = await self.driver.poll(self.link.unit(1), lambda: self.at)
        return {
            ".".join(part for part in (reading.node, reading.quantity.value, reading.phase) if part): (
                reading.quality.value if reading.value is None else reading.value
            )
            for reading in self.scan.readings
        }


@dataclass
class Faulty(Polled):
    """The same, with the faults of the device."""

    server: FaultServer = field(kw_only=True)


@asynccontextmanager
async def device(
    folder: Path, text: str, words: Mapping[int, int], kind: str = "meter", options: ReadOptions | None = None
) -> AsyncIterator[Polled]:
    """A device of the profile with these holding registers; it refuses all others with exception 2."""
    path = folder / "acme.toml"
    path.write_text(HEAD.format(kind=kind) + text)
    held = dict(words)
    server = ModbusServer([SimulatedUnit(1, lambda: {Table.HOLDING: held})], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    try:
        yield Polled(driver_of(load(path), options or ReadOptions()), link, held)
    finally:
        await link.close()
        await server.stop()


def point(quantity: str, address: int, type_: str = "int16", **keys: object) -> str:
    """A `[[point]]` table; values of `keys` as TOML writes them."""
    lines = [f'quantity = "{quantity}"', 'table = "holding"', f'type = "{type_}"']
    if "addresses" not in keys:
        lines.append(f"address = {address}")
    lines += [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(["[[point]]", *lines, ""])


# Parts of a sum that a device may not have.

BATTERIES = point("active_power", 0) + point("active_power", 10, optional="true", invalid="[0x8000]")
BATTERIES += point("charged_energy", 1, "uint16") + point("charged_energy", 11, "uint16", optional="true")
BATTERIES += point("soc", 2, "uint16") + point("soc", 12, "uint16", optional="true")


async def test_a_part_that_is_refused_counts_as_nothing(tmp_path: Path) -> None:
    async with device(tmp_path, BATTERIES, {0: 700, 1: 50, 2: 60}, "battery") as one:
        assert await one.poll() == {"active_power": 700.0, "charged_energy": 50.0, "soc": 60.0}
        assert one.scan is not None
        assert one.scan.complete  # a device with one battery has nothing wrong with it
        assert await one.poll() == {"active_power": 700.0, "charged_energy": 50.0, "soc": 60.0}


async def test_parts_add_up_and_percentages_are_a_mean(tmp_path: Path) -> None:
    words = {0: 700, 1: 50, 2: 60, 10: signed(-200), 11: 7, 12: 40}
    async with device(tmp_path, BATTERIES, words, "battery") as two:
        assert await two.poll() == {"active_power": 500.0, "charged_energy": 57.0, "soc": 50.0}
        # The second falls asleep: its power is nothing, twice. Its counter was in the sum: without it there is none.
        for _ in range(2):
            found = await two.poll(words | {10: 0x8000, 11: 7})
            assert found == {"active_power": 700.0, "charged_energy": 57.0, "soc": 50.0}


async def test_a_counter_that_was_in_the_sum_is_not_left_out_later(tmp_path: Path) -> None:
    """The sum would seem to fall, and then to grow by all that the second battery ever counted."""
    words = {0: 700, 1: 50, 2: 60, 10: 0, 11: 7, 12: 40}
    async with device(tmp_path, BATTERIES, words, "battery") as two:
        await two.poll()
        found = await two.poll({0: 700, 1: 51, 2: 60})
        assert found == {"active_power": 700.0, "charged_energy": "missing", "soc": 60.0}
        assert (await two.poll(words | {1: 52}, RECHECK_FIRST_S))["charged_energy"] == 59.0


async def test_a_counter_that_was_0_may_be_left_out_later(tmp_path: Path) -> None:
    words = {0: 700, 1: 50, 2: 60, 10: 0, 11: 0, 12: 40}
    async with device(tmp_path, BATTERIES, words, "battery") as two:
        assert (await two.poll())["charged_energy"] == 50.0
        assert (await two.poll({0: 700, 1: 50, 2: 60}))["charged_energy"] == 50.0


@pytest.mark.parametrize("faults", [Faults(exception=4), Faults(exception_at={500: 4}), Faults(exception_at={0: 4})])
async def test_a_part_that_was_not_read_leaves_no_sum(tmp_path: Path, faults: Faults) -> None:
    """Busy is not absent."""
    path = tmp_path / "acme.toml"
    path.write_text(
        HEAD.format(kind="battery") + point("active_power", 0) + point("active_power", 500, optional="true")
    )
    async with FaultServer({(1, Table.HOLDING): {0: 700, 500: 300}}) as server:
        link = Link(server.link())
        driver = driver_of(load(path), ReadOptions())
        assert (await driver.poll(link.unit(1), lambda: 0.0)).readings[0].value == 1000.0
        server.faults = faults
        with_fault = await driver.poll(link.unit(1), lambda: 1.0)
        await link.close()
    assert with_fault.readings[0].quality is Quality.MISSING
    assert all(isinstance(error, RefusedError) for error in with_fault.errors)


async def test_a_part_in_a_reply_that_means_not_available_leaves_no_sum(tmp_path: Path) -> None:
    text = point("active_power", 0) + point("active_power", 500)
    text += "".join(point("voltage", 500 + n, phase=f'"l{n}"') for n in (1, 2, 3))
    async with device(tmp_path, text, {0: 700} | dict.fromkeys(range(500, 504), 0xFFFF)) as busy:
        assert set((await busy.poll()).values()) == {"missing"}


async def test_only_optional_parts_and_none_of_them(tmp_path: Path) -> None:
    text = point("active_power", 0, optional="true", invalid="[0x8000]") + point("voltage", 1, "uint16")
    async with device(tmp_path, text, {0: 0x8000, 1: 50}) as none:
        assert await none.poll() == {"active_power": "missing", "voltage": 50.0}


async def test_without_its_own_total_the_phases_are_the_total(tmp_path: Path) -> None:
    text = point("active_power", 9, optional="true", invalid="[0x8000]")
    text += "".join(point("active_power", n, phase=f'"l{n}"') for n in (1, 2, 3))
    phases = {"active_power.l1": 10.0, "active_power.l2": 20.0, "active_power.l3": 30.0}
    async with device(tmp_path, text, {1: 10, 2: 20, 3: 30}) as old:
        assert await old.poll() == phases | {"active_power": 60.0}
        assert old.scan is not None
        assert old.scan.complete
        assert await old.poll({1: 10, 2: 20, 3: 30, 9: 0x8000}, RECHECK_FIRST_S) == phases | {"active_power": 60.0}
        assert await old.poll({1: 10, 2: 20, 3: 30, 9: 61}) == phases | {"active_power": 61.0}


# A gauge that only newer firmware has.

GAUGES = point("voltage", 0, "uint16") + point("temperature", 10, scale=0.1, invalid="[0x8000]", optional="true")


async def test_an_optional_gauge_that_is_refused_is_absent(tmp_path: Path) -> None:
    """There is no error: the device is complete."""
    async with device(tmp_path, GAUGES, {0: 230}) as old:
        for _ in range(2):
            assert await old.poll() == {"voltage": 230.0}
            assert old.scan is not None
            assert old.scan.complete


async def test_an_optional_gauge_that_is_not_available_is_absent(tmp_path: Path) -> None:
    async with device(tmp_path, GAUGES, {0: 230, 10: 0x8000}) as unused:
        assert await unused.poll() == {"voltage": 230.0}
        assert await unused.poll({0: 230, 10: 215}) == {"voltage": 230.0, "temperature": 21.5}
        # It had a value: this value must not be used any longer.
        assert await unused.poll({0: 230, 10: 0x8000}) == {"voltage": 230.0, "temperature": "missing"}


async def test_an_optional_gauge_with_an_impossible_value_is_invalid(tmp_path: Path) -> None:
    async with device(tmp_path, GAUGES + "max = 90\n", {0: 230, 10: 9999}) as broken:
        assert await broken.poll() == {"voltage": 230.0, "temperature": "invalid"}


async def test_what_is_not_optional_is_missing_beside_an_optional_gauge(tmp_path: Path) -> None:
    async with device(tmp_path, GAUGES, {10: 215}) as half:
        for _ in range(2):
            assert await half.poll() == {"voltage": "missing", "temperature": 21.5}


async def test_an_optional_counter_that_the_device_does_not_have_is_missing(tmp_path: Path) -> None:
    text = point("voltage", 0, "uint16") + point("imported_energy", 10, "uint16", optional="true")
    async with device(tmp_path, text, {0: 230}) as without:
        assert await without.poll() == {"voltage": 230.0, "imported_energy": "missing"}


# Words that do not stand side by side.

SCATTERED = point(
    "active_power", 0, "int32", addresses="[625, 690]", word_order='"little"', invalid="[0x80000000]", max=100_000
)


@pytest.mark.parametrize(
    ("low", "high", "power"),
    [
        (40_000, 0, 40_000.0),
        (signed(-200), 0xFFFF, -200.0),
        (*split(-45_000)[::-1], -45_000.0),
        (*split(45_000)[::-1], 45_000.0),
        (0, 0x8000, "missing"),
        (0, 0x7000, "invalid"),
    ],
)
async def test_words_at_several_addresses_are_one_value(tmp_path: Path, low: int, high: int, power: object) -> None:
    words = dict.fromkeys(range(620, 700), 0) | {625: low, 690: high}
    async with device(tmp_path, SCATTERED, words) as deye:
        assert await deye.poll() == {"active_power": power}
        assert deye.scan is not None
        assert deye.scan.requests == 1  # both of one moment


async def test_a_value_whose_other_word_is_refused_is_missing_and_said(tmp_path: Path) -> None:
    async with device(tmp_path, SCATTERED, {625: 40_000}) as deye:
        for _ in range(2):
            assert await deye.poll() == {"active_power": "missing"}
            assert deye.scan is not None
            assert len(deye.scan.errors) == 1


async def test_words_that_all_mean_not_available_are_no_value(tmp_path: Path) -> None:
    async with device(tmp_path, SCATTERED, dict.fromkeys(range(620, 700), 0xFFFF)) as deye:
        assert await deye.poll() == {"active_power": "missing"}


async def test_words_of_two_requests_have_the_time_of_the_first(tmp_path: Path) -> None:
    text = point("active_power", 0, "int32", addresses="[0, 500]") + point("voltage", 1) + point("frequency", 501)
    async with device(tmp_path, text, {0: 0, 1: 230, 500: 7, 501: 50}) as apart:
        clock = itertools.count()
        power, voltage, frequency = (await apart.driver.poll(apart.link.unit(1), lambda: float(next(clock)))).readings
        assert (power.value, power.at) == (7.0, voltage.at)
        assert voltage.at < frequency.at


@pytest.mark.parametrize(
    ("text", "words", "power"),
    [
        (SCATTERED + "fallback = [{ address = 5, type = 'int16' }]\n", {625: 40_000, 5: 7}, 7.0),
        (point("active_power", 0, "int32", fallback="[{ addresses = [10, 20] }]"), {10: 1, 20: 7}, 65_543.0),
        (point("active_power", 0, "int32", addresses="[1, 0]"), {0: 7, 1: 1}, 65_543.0),
    ],
)
async def test_words_side_by_side_or_not_may_stand_in_for_each_other(
    tmp_path: Path, text: str, words: dict[int, int], power: float
) -> None:
    async with device(tmp_path, text, words) as deye:
        for _ in range(2):
            assert await deye.poll() == {"active_power": power}


# The first of several places.

PLACES = point(
    "active_power", 5, "int32", invalid="[0x7FFFFFFF]", fallback="[{ address = 30, type = 'int16', scale = -1 }]"
)
COUNTERS = point("imported_energy", 1, "uint16", min=0.1, fallback="[{ address = 20 }, { address = 21, scale = 1000 }]")


async def test_the_first_place_that_answers_is_used(tmp_path: Path) -> None:
    async with device(tmp_path, PLACES, {5: 0, 6: 1200, 30: 7}) as first:
        assert await first.poll() == {"active_power": 1200.0}
        assert await first.poll({5: 0x7FFF, 6: 0xFFFF, 30: 7}) == {"active_power": -7.0}
        assert await first.poll({5: 0, 6: 900, 30: 7}) == {"active_power": 900.0}
    async with device(tmp_path, PLACES, {30: signed(-450)}) as second:
        for _ in range(2):
            assert await second.poll() == {"active_power": 450.0}
            assert second.scan is not None
            assert second.scan.complete
    async with device(tmp_path, PLACES + point("voltage", 0), {0: 230}) as neither:
        assert await neither.poll() == {"active_power": "missing", "voltage": 230.0}
        assert neither.scan is not None
        assert neither.scan.errors


@pytest.mark.parametrize(("first", "second"), [(2000, 7), (0xFFFF, 200), (2000, 200), (0xFFFF, 7)])
async def test_of_places_without_a_value_one_that_was_read_says_why(tmp_path: Path, first: int, second: int) -> None:
    text = point("active_power", 5, "uint16", max=1000, invalid="[0xFFFF]", fallback="[{ address = 6, max = 100 }]")
    text = text.replace("address = 6,", "address = 6, invalid = [7],")
    async with device(tmp_path, text, {5: first, 6: second}) as places:
        why = "missing" if (first, second) == (0xFFFF, 7) else "invalid"
        assert await places.poll() == {"active_power": why}


async def test_a_counter_stays_at_the_place_where_it_was_found(tmp_path: Path) -> None:
    async with device(tmp_path, COUNTERS, {1: 0, 20: 0, 21: 9}) as third:
        assert await third.poll() == {"imported_energy": 9000.0}
        assert await third.poll({1: 500, 20: 0, 21: 9}) == {"imported_energy": 9000.0}
    async with device(tmp_path, COUNTERS, {1: 70, 20: 800, 21: 9}) as first:
        assert await first.poll() == {"imported_energy": 70.0}
        assert await first.poll({1: 0, 20: 800, 21: 9}) == {"imported_energy": "invalid"}
        assert await first.poll({1: 71, 20: 800, 21: 9}) == {"imported_energy": 71.0}


# Values that another register vouches for.

METER = (
    """
[mark.meter]
table = "holding"
address = 100
type = "uint16"
equals = [1]
"""
    + point("active_power", 0, valid='"meter"')
    + point("voltage", 1, "uint16")
)


async def test_a_value_counts_while_its_mark_holds(tmp_path: Path) -> None:
    async with device(tmp_path, METER, {0: 2100, 1: 230, 100: 1}) as meter:
        assert await meter.poll() == {"active_power": 2100.0, "voltage": 230.0}
        for _ in range(2):
            assert await meter.poll({0: 0, 1: 230, 100: 0}) == {"active_power": "missing", "voltage": 230.0}
        assert await meter.poll({0: 2000, 1: 230, 100: 1}) == {"active_power": 2000.0, "voltage": 230.0}


@pytest.mark.parametrize(
    ("change", "power", "lacks"),
    [
        ("", "missing", ["holding 100"]),
        ("optional = true", None, []),
        ("fallback = [{ address = 1 }]", 230.0, []),
        ("fallback = [{ address = 2 }]", "missing", ["holding 2", "holding 100"]),
        ('fallback = [{ address = 1, valid = "meter" }]', "missing", ["holding 100"]),
    ],
)
async def test_a_value_whose_mark_is_refused_is_missing_and_said(
    tmp_path: Path, change: str, power: object, lacks: list[str]
) -> None:
    text = METER.replace("address = 0\n", f"address = 0\n{change}\n")
    async with device(tmp_path, text, {0: 2100, 1: 230}) as without:
        for _ in range(2):
            assert await without.poll() == {"active_power": power or "missing", "voltage": 230.0}
            assert without.scan is not None
            assert re.findall(r"holding \d+", " ".join(map(str, without.scan.errors))) == lacks


async def test_a_fallback_does_not_inherit_the_mark(tmp_path: Path) -> None:
    text = METER.replace("address = 0\n", "address = 0\nfallback = [{ address = 2 }]\n")
    async with device(tmp_path, text, {0: 2100, 1: 230, 2: 7, 100: 1}) as meter:
        assert await meter.poll() == {"active_power": 2100.0, "voltage": 230.0}
        assert await meter.poll({0: 2100, 1: 230, 2: 7, 100: 0}) == {"active_power": 7.0, "voltage": 230.0}
    async with device(tmp_path, text, {0: 2100, 1: 230, 2: 7}) as without_mark:
        for _ in range(2):
            assert await without_mark.poll() == {"active_power": 7.0, "voltage": 230.0}


@pytest.mark.parametrize(
    ("encoding", "raw"), [('"bool"', 255), ('"uint16"\nscale = 0.1', 60_000), ('"int16"\noffset = 5', -32_768)]
)
async def test_a_mark_compares_raw_numbers(tmp_path: Path, encoding: str, raw: int) -> None:
    text = METER.replace('"uint16"', encoding, 1).replace("[1]", f"[{raw}]")
    async with device(tmp_path, text, {0: 2100, 1: 230, 100: signed(raw)}) as meter:
        assert await meter.poll() == {"active_power": 2100.0, "voltage": 230.0}
        assert await meter.poll({0: 2100, 1: 230, 100: 1}) == {"active_power": "missing", "voltage": 230.0}


SUN = """
[mark.sun]
table = "holding"
address = 10
type = "uint32"
min = 1
grace_s = 1800
""" + point("active_power", 0, valid='"sun"')


async def test_a_mark_may_have_held_a_while_ago(tmp_path: Path) -> None:
    """A value that freezes half an hour after sunset."""
    day, night = {0: 730, 10: 0, 11: 50}, {0: 730, 10: 0, 11: 0}
    async with device(tmp_path, SUN, day) as meter:
        for _ in range(2):
            assert await meter.poll(day) == {"active_power": 730.0}
            assert await meter.poll(night, 1800) == {"active_power": 730.0}
            assert await meter.poll(night, 0.5) == {"active_power": "missing"}
            assert await meter.poll(night, 9000) == {"active_power": "missing"}
    async with device(tmp_path, SUN, night) as started_at_night:
        assert await started_at_night.poll() == {"active_power": "missing"}


ASLEEP = point("active_power", 0, "float32", scale=-1) + point("soc", 2, "float32", min=0, max=100)


def floats(*values: float) -> dict[int, int]:
    return dict(enumerate(word for value in values for word in struct.unpack(">HH", struct.pack(">f", value))))


LOWEST = struct.unpack(">f", bytes.fromhex("FF7FFFFF"))[0]


@pytest.mark.parametrize("asleep", [LOWEST, float("nan")])
async def test_a_battery_that_sleeps_gives_nothing_while_its_charge_is_told(tmp_path: Path, asleep: float) -> None:
    async with device(tmp_path, ASLEEP, floats(500, 92), "battery") as battery:
        assert await battery.poll() == {"active_power": -500.0, "soc": 92.0}
        for _ in range(2):
            assert await battery.poll(floats(asleep, 92)) == {"active_power": 0.0, "soc": 92.0}
        assert (await battery.poll(floats(asleep, LOWEST)))["active_power"] == "missing"


@pytest.mark.parametrize(("type_", "words"), [("int16", [0x8000]), ("int32", [0x8000, 0])])
async def test_the_lowest_number_is_no_power_of_a_battery(tmp_path: Path, type_: str, words: list[int]) -> None:
    text = point("active_power", 0, type_, scale=-10) + point("soc", 9, "uint16", invalid="[0xFFFF]")
    asleep = dict(enumerate(words))
    async with device(tmp_path, text, asleep | {9: 40}, "battery") as battery:
        assert await battery.poll() == {"active_power": 0.0, "soc": 40.0}
        assert await battery.poll(asleep | {9: 0xFFFF}) == {"active_power": "missing", "soc": "missing"}
    async with device(tmp_path, point("active_power", 0, "int16"), {0: 0x8000}) as meter:
        assert await meter.poll() == {"active_power": -32768.0}


async def test_the_lowest_number_with_an_offset_is_no_power_of_a_battery(tmp_path: Path) -> None:
    text = point("active_power", 0, "int16", offset=5) + point("soc", 9, "uint16")
    async with device(tmp_path, text, {0: 0x8000, 9: 40}, "battery") as battery:
        assert await battery.poll() == {"active_power": 0.0, "soc": 40.0}


async def test_a_hybrid_of_which_no_point_is_used_reads_nothing(tmp_path: Path) -> None:
    text = 'point = [{ quantity = "active_power", node = "grid", table = "holding", address = 0, type = "int16" }]\n'
    options = ReadOptions(nodes=frozenset({NodeType.STORAGE}))
    async with device(tmp_path, text, {0: 1}, "hybrid", options) as hybrid:
        assert await hybrid.poll() == {}
        assert hybrid.scan is not None
        assert hybrid.scan.requests == 0


async def test_only_the_battery_of_a_hybrid_sleeps(tmp_path: Path) -> None:
    text = point("temperature", 500, node='"storage"', optional="true") + point("active_power", 0, node='"storage"')
    text += point("soc", 1, node='"storage"') + point("soh", 2, node='"storage"')
    text += point("active_power", 3, node='"grid"')
    async with device(tmp_path, text, {0: 0x8000, 1: 40, 2: 0x8000, 3: 0x8000}, "hybrid") as hybrid:
        assert await hybrid.poll() == {
            "storage.active_power": 0.0,
            "storage.soc": 40.0,
            "storage.soh": -32768.0,
            "grid.active_power": -32768.0,
        }


async def test_a_battery_sleeps_only_while_its_own_charge_is_told(tmp_path: Path) -> None:
    text = point("active_power", 0, node='"storage"') + point("temperature", 1, node='"storage"')
    text += point("soc", 2, node='"variable_power_load"')
    async with device(tmp_path, text, {0: 0x8000, 1: 21, 2: 40}, "hybrid") as hybrid:
        assert (await hybrid.poll())["storage.active_power"] == "missing"


PLACES_OF_BATTERY = METER.partition("[[point]]")[0] + point("soc", 9)
PLACES_OF_BATTERY += point("active_power", 0, valid='"meter"', fallback="[{ address = 2, invalid = [7] }]")


@pytest.mark.parametrize(
    ("words", "power"),
    [
        ({0: 0x8000, 2: 7, 100: 1}, 0.0),
        ({0: 500, 2: 7, 100: 1}, 500.0),
        ({0: 500, 2: 7, 100: 0}, "missing"),  # a battery that sleeps does not report 500 W
        ({2: 7, 100: 1}, "missing"),
        ({0: 0x8000, 100: 1}, "missing"),
        ({}, "missing"),
    ],
)
async def test_a_battery_sleeps_only_if_all_its_places_say_so(
    tmp_path: Path, words: dict[int, int], power: object
) -> None:
    async with device(tmp_path, PLACES_OF_BATTERY, words | {9: 40}, "battery") as battery:
        for _ in range(2):
            assert await battery.poll() == {"active_power": power, "soc": 40.0}


@pytest.mark.parametrize(
    ("words", "power"),
    [
        ({0: 70, 20: 0, 30: 7}, 70.0),
        ({0: 0x8000, 20: 0, 30: 7}, 7.0),
        ({0: 0x8000, 20: 0x8000, 30: 0}, 0.0),
    ],
)
async def test_a_battery_that_sleeps_may_have_another_place_of_separate_words(
    tmp_path: Path, words: dict[int, int], power: float
) -> None:
    other = "{ addresses = [20, 30], type = 'int32', word_order = 'big', invalid = [0x80000000] }"
    text = point("active_power", 0, invalid="[0x8000]", fallback=f"[{other}]") + point("soc", 9)
    async with device(tmp_path, text, words | {9: 40}, "battery") as battery:
        assert await battery.poll() == {"active_power": power, "soc": 40.0}


@pytest.mark.parametrize(
    ("words", "power"),
    [
        ({20: 0, 30: 7}, 7.0),
        ({20: 0x8000, 30: 0, 40: 7}, 7.0),
        ({20: 0x8000, 30: 0, 40: 0x8000}, 0.0),
        ({20: 0x8000, 30: 0}, "missing"),
        ({30: 0, 40: 0x8000}, "missing"),
    ],
)
async def test_a_battery_that_sleeps_may_have_its_power_in_separate_words(
    tmp_path: Path, words: dict[int, int], power: object
) -> None:
    text = 'point = [{ quantity = "active_power", table = "holding", addresses = [20, 30], type = "int32", '
    text += 'word_order = "big", invalid = [0x80000000], fallback = [{ address = 40, type = "int16" }] },\n'
    text += '{ quantity = "soc", table = "holding", address = 9, type = "uint16" }]\n'
    async with device(tmp_path, text, words | {9: 40}, "battery") as battery:
        for _ in range(2):
            assert await battery.poll() == {"active_power": power, "soc": 40.0}


async def test_a_battery_whose_separate_words_are_refused_does_not_sleep(tmp_path: Path) -> None:
    async with device(tmp_path, SCATTERED + point("soc", 9), {625: 40_000, 9: 40}, "battery") as battery:
        for _ in range(2):
            assert await battery.poll() == {"active_power": "missing", "soc": 40.0}


# Directions.

BITS = """
[mark.charging]
table = "holding"
address = 0
type = "uint16"
bit = 1
[mark.discharging]
table = "holding"
address = 0
type = "uint16"
bit = 2
""" + point("active_power", 1, positive='"charging"', negative='"discharging"')


@pytest.mark.parametrize(
    ("state", "raw", "power"),
    [
        (0b010, 700, 700.0),
        (0b100, 700, -700.0),
        (0b100, signed(-700), -700.0),
        (0b010, signed(-700), 700.0),
        (0b000, 0, 0.0),
        (0b110, 0, 0.0),
        (0b000, 184, "missing"),
        (0b110, 184, "missing"),
    ],
)
async def test_two_bits_say_which_way(tmp_path: Path, state: int, raw: int, power: object) -> None:
    async with device(tmp_path, BITS, {0: state, 1: raw}, "battery") as battery:
        assert await battery.poll() == {"active_power": power}
        assert battery.scan is not None
        assert battery.scan.complete
        assert await battery.poll({1: raw}) == {"active_power": "missing"}
        assert not battery.scan.complete


@pytest.mark.parametrize(("state", "power"), [(0b010, 700.0), (0b100, -700.0)])
async def test_a_fallback_does_not_inherit_the_direction(tmp_path: Path, state: int, power: float) -> None:
    """The number in the fallback has a sign."""
    text = BITS + "invalid = [0x8000]\nfallback = [{ address = 2 }]\n"
    async with device(tmp_path, text, {0: state, 1: 700, 2: signed(-40)}, "battery") as battery:
        assert await battery.poll() == {"active_power": power}
        assert await battery.poll({0: state, 1: 0x8000, 2: signed(-40)}) == {"active_power": -40.0}


@pytest.mark.parametrize("there", [{0: 0b010}, {300: 0b100}, {}])
async def test_without_a_direction_the_fallback_is_used(tmp_path: Path, there: dict[int, int]) -> None:
    first, _, rest = BITS.partition("[mark.discharging]")
    text = f"{first}[mark.discharging]{rest.replace('address = 0', 'address = 300')}fallback = [{{ address = 2 }}]\n"
    async with device(tmp_path, text, there | {1: 700, 2: signed(-40)}, "battery") as battery:
        for _ in range(2):
            assert await battery.poll() == {"active_power": -40.0}


async def test_an_impossible_magnitude_is_invalid(tmp_path: Path) -> None:
    async with device(tmp_path, BITS + "max = 1000\n", {0: 0b100, 1: 1000}, "battery") as battery:
        assert await battery.poll() == {"active_power": -1000.0}
        assert await battery.poll({0: 0b100, 1: 1001}) == {"active_power": "invalid"}


DIRECTED = "directed = true\n" + point("on", 0, "uint16", bit=2) + point("active_power", 1) + point("soc", 2)


async def test_a_direction_changes_at_once_and_only_the_power_has_one(tmp_path: Path) -> None:
    async with device(tmp_path, DIRECTED, {0: 0b100, 1: 700, 2: 40}, "battery") as battery:
        for _ in range(2):
            assert await battery.poll({0: 0b100, 1: 700, 2: 40}, 0.5) == {"active_power": -700.0, "soc": 40.0}
            assert await battery.poll({0: 0b000, 1: 700, 2: 40}, 0.5) == {"active_power": 700.0, "soc": 40.0}


@pytest.mark.parametrize(
    ("own", "power"),
    [
        (point("active_power", 3), -70.0),
        (point("on", 4, "uint16", bit=0), 700.0),
        (point("active_power", 3) + point("on", 4, "uint16", bit=0), 70.0),
        (point("active_power", 3, negative='"out"'), 70.0),
    ],
    ids=["power", "direction", "both", "own mark"],
)
async def test_the_power_of_a_variant_has_the_direction_of_its_node(tmp_path: Path, own: str, power: float) -> None:
    marks = "".join(
        f'[mark.{name}]\ntable = "holding"\naddress = {address}\ntype = "uint16"\nequals = [1]\n'
        for name, address in (("new", 9), ("out", 10))
    )
    text = DIRECTED + marks + '[[variant]]\nname = "new"\nmark = "new"\n' + own.replace("[[", "[[variant.")
    words = {0: 0b100, 1: 700, 2: 40, 3: 70, 4: 0, 9: 1, 10: 0}
    async with device(tmp_path, text, words, "battery") as battery:
        assert await battery.poll() == {"active_power": power, "soc": 40.0}
    async with device(tmp_path, text, words | {9: 0}, "battery") as battery:
        assert await battery.poll() == {"active_power": -700.0, "soc": 40.0}


CURRENT = """
[mark.in]
table = "holding"
address = 0
type = "int16"
max = -1
[mark.out]
table = "holding"
address = 0
type = "int16"
min = 1
""" + point("active_power", 1, positive='"in"', negative='"out"')


@pytest.mark.parametrize(
    ("current", "raw", "power"), [(13, 184, -184.0), (-13, 184, 184.0), (0, 0, 0.0), (0, 184, "missing")]
)
async def test_the_sign_of_another_register_says_which_way(
    tmp_path: Path, current: int, raw: int, power: object
) -> None:
    async with device(tmp_path, CURRENT, {0: signed(current), 1: raw}, "battery") as battery:
        assert await battery.poll() == {"active_power": power}


BOTH = """
[mark.out]
table = "holding"
address = 0
type = "uint16"
equals = [1]
also = [{ table = "holding", address = 500, type = "uint16", equals = [2] }]
""" + point("active_power", 1, negative='"out"')


@pytest.mark.parametrize(
    ("marks", "power"),
    [
        ({0: 1, 500: 2}, -700.0),
        ({0: 1, 500: 3}, 700.0),
        ({0: 0, 500: 2}, 700.0),
        ({0: 0}, 700.0),
        ({500: 3}, 700.0),
        ({0: 1}, "missing"),
        ({500: 2}, "missing"),
    ],
)
async def test_a_mark_of_two_registers_does_not_hold_if_one_says_so(
    tmp_path: Path, marks: dict[int, int], power: object
) -> None:
    """Then the other one decides nothing, and may be one that the device does not have."""
    async with device(tmp_path, BOTH, marks | {1: 700}, "battery") as battery:
        for _ in range(2):
            assert await battery.poll() == {"active_power": power}
            assert battery.scan is not None
            assert battery.scan.complete == (power != "missing")


# Variants.

VARIANTS = (
    """
[mark.new_firmware]
table = "holding"
address = 15
type = "uint16"
min = 0x1098
[mark.big]
table = "holding"
address = 5
type = "uint16"
equals = [1]
"""
    + point("imported_energy", 0, "uint16", scale=100)
    + point("exported_energy", 2, "uint32", word_order='"little"')
    + """
[[variant]]
name = "1098 and later"
mark = "new_firmware"
note = "counts in kWh"
[[variant.point]]
quantity = "imported_energy"
table = "holding"
address = 0
type = "uint16"
scale = 1000
[[variant]]
name = "big-endian"
mark = "big"
word_order = "big"
"""
)


@pytest.mark.parametrize(
    ("marks", "imported", "exported"),
    [
        ({15: 0x1097, 5: 0}, 700.0, 7.0),
        ({15: 0x1098, 5: 0}, 7000.0, 7.0),
        ({15: 0x1100, 5: 1}, 7000.0, 7.0),  # the first that holds
        ({15: 0x1000, 5: 1}, 700.0, 458752.0),
        ({}, 700.0, 7.0),
        ({5: 1}, 700.0, 458752.0),
    ],
)
async def test_a_mark_chooses_the_variant(
    tmp_path: Path, marks: dict[int, int], imported: float, exported: float
) -> None:
    async with device(tmp_path, VARIANTS, {0: 7, 2: 7, 3: 0} | marks) as meter:
        for _ in range(2):
            assert await meter.poll() == {"imported_energy": imported, "exported_energy": exported}
            assert meter.scan is not None
            assert meter.scan.complete


async def test_a_device_becomes_another_variant_once_it_says_so_twice(tmp_path: Path) -> None:
    old, new = {0: 7, 2: 7, 3: 0, 15: 0x1097}, {0: 7, 2: 7, 3: 0, 15: 0x1098}
    missing = {"imported_energy": "missing", "exported_energy": "missing"}
    async with device(tmp_path, VARIANTS, old) as meter:
        assert (await meter.poll())["imported_energy"] == 700.0
        for _ in range(2):  # two glitches are no update
            assert await meter.poll(new, SELECT_EVERY_S) == missing
            assert meter.scan is not None
            assert not meter.scan.complete
            assert "seems to be another variant" in str(meter.scan.errors[0])
            assert (await meter.poll(old))["imported_energy"] == 700.0
            assert meter.scan.complete
        assert await meter.poll(new, SELECT_EVERY_S) == missing
        assert (await meter.poll(new))["imported_energy"] == 7000.0
        assert (await meter.poll({0: 7, 2: 7, 3: 0}, SELECT_EVERY_S))["imported_energy"] == 7000.0  # refused for once


async def test_a_mark_that_was_never_read_does_not_keep_the_variant(tmp_path: Path) -> None:
    big, other = {0: 7, 2: 7, 3: 0, 5: 1}, {0: 7, 2: 7, 3: 0, 5: 0}
    async with device(tmp_path, VARIANTS, big) as meter:
        assert (await meter.poll())["exported_energy"] == 458752.0
        await meter.poll(other, SELECT_EVERY_S)
        assert (await meter.poll(other))["exported_energy"] == 7.0


async def test_what_chooses_the_variant_is_asked_every_minute(tmp_path: Path) -> None:
    words = {0: 7, 2: 7, 3: 0, 15: 0x1097}
    async with device(tmp_path, VARIANTS, words) as meter:
        await meter.poll(after_s=0.5)
        for after_s, asked in ((59.0, False), (1.0, True), (59.0, False)):
            await meter.poll(words | {15: 0x1098}, after_s)
            assert meter.scan is not None
            assert (not meter.scan.complete) == asked
            await meter.poll(words, 0.0)


async def test_the_variant_is_logged(tmp_path: Path) -> None:
    words = {0: 7, 2: 7, 3: 0, 15: 0x1098}
    async with device(tmp_path, VARIANTS, words) as meter:
        with capture_logs() as events:
            for after in (words, words | {15: 0}, words | {15: 0}):
                await meter.poll(after, SELECT_EVERY_S)
    assert [event["variant"] for event in events] == ["1098 and later", "none"]


async def test_a_function_that_the_device_does_not_have_chooses_no_variant(tmp_path: Path) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="meter") + VARIANTS)
    async with FaultServer({(1, Table.HOLDING): {0: 7, 2: 7, 3: 0}}) as server:
        link = Link(server.link())
        driver = driver_of(load(path), ReadOptions())
        server.faults.exception = 1
        refused = await driver.poll(link.unit(1), lambda: 0.0)
        server.heal()
        scan = await driver.poll(link.unit(1), lambda: 1.0)
        await link.close()
    assert [type(error) for error in refused.errors] == [IllegalFunctionError]
    assert [reading.value for reading in scan.readings] == [700.0, 7.0]


TWO_LAYOUTS = (
    VARIANTS.partition("[mark.big]")[0]
    + point("imported_energy", 0, "uint16", min=1, fallback="[{ address = 20 }]")
    + '[[variant]]\nname = "new"\nmark = "new_firmware"\n'
    + point("imported_energy", 30, "uint16", min=1, fallback="[{ address = 40 }]").replace("[[", "[[variant.")
)


async def test_another_variant_finds_its_counter_anew(tmp_path: Path) -> None:
    old, new = ({0: 0, 20: 9, 30: 5, 40: 8, 15: firmware} for firmware in (0x1097, 0x1098))
    async with device(tmp_path, TWO_LAYOUTS, old) as meter:
        assert await meter.poll() == {"imported_energy": 9.0}
        await meter.poll(new, SELECT_EVERY_S)
        assert await meter.poll(new) == {"imported_energy": 5.0}


async def test_what_chooses_the_variant_is_asked_again_after_a_poll_that_failed(tmp_path: Path) -> None:
    """A device that was updated has restarted."""
    async with device(tmp_path, VARIANTS, {0: 7, 2: 7, 3: 0, 15: 0x1097}) as meter:
        await meter.poll()
        with pytest.raises(RefusedError):
            await meter.poll({15: 0x1098})
        words = {0: 7, 2: 7, 3: 0, 15: 0x1098}
        assert (await meter.poll(words))["imported_energy"] == "missing"
        assert (await meter.poll(words))["imported_energy"] == 7000.0


async def test_the_word_order_of_the_site_holds_for_every_variant(tmp_path: Path) -> None:
    words = {0: 7, 2: 7, 3: 0, 15: 0x1098}
    async with device(tmp_path, VARIANTS, words, options=ReadOptions(word_order="big")) as meter:
        assert await meter.poll() == {"imported_energy": 7000.0, "exported_energy": 458752.0}


# Blocks that repeat.

BLOCKS = (
    """
[repeat.batteries]
most = 4
step = 10
table = "holding"
address = 1
type = "uint16"
"""
    + point("active_power", 100, repeat='"batteries"')
    + point("soc", 101, "uint16", repeat='"batteries"')
)


@pytest.mark.parametrize(
    ("count", "power", "soc"), [(1, 100.0, 50.0), (2, 300.0, 60.0), (3, 600.0, 70.0), (9, 1000.0, 80.0)]
)
async def test_as_many_blocks_as_the_device_says(tmp_path: Path, count: int, power: float, soc: float) -> None:
    words = {1: count}
    for number in range(4):
        words |= {100 + 10 * number: 100 * (number + 1), 101 + 10 * number: 50 + 20 * number}
    async with device(tmp_path, BLOCKS, words, "battery") as battery:
        for _ in range(2):
            assert await battery.poll() == {"active_power": power, "soc": soc}
        none = {"active_power": "missing", "soc": "missing"}
        assert await battery.poll(words | {1: 0}, SELECT_EVERY_S) == none
        assert await battery.poll(words) == {"active_power": power, "soc": soc}
        for _ in range(2):
            assert await battery.poll(words | {1: 0}, SELECT_EVERY_S) == none


async def test_of_two_repetitions_one_says_its_number(tmp_path: Path) -> None:
    text = BLOCKS + "[repeat.panels]\nmost = 2\nstep = 10\n" + point("dc_power", 200, repeat='"panels"')
    words = {1: 1, 100: 100, 101: 50, 110: 200, 111: 60, 200: 7, 210: 8}
    async with device(tmp_path, text, words, "battery") as battery:
        assert await battery.poll() == {"active_power": 100.0, "soc": 50.0, "dc_power": 15.0}


async def test_a_negative_number_of_blocks_is_none(tmp_path: Path) -> None:
    text = BLOCKS.replace("uint16", "int16", 1)
    async with device(tmp_path, text, {1: 0xFFFF, 100: 100, 101: 50}, "battery") as battery:
        for number in (0xFFFF, 0):
            none = {"active_power": "missing", "soc": "missing"}
            assert await battery.poll({1: number, 100: 100, 101: 50}, SELECT_EVERY_S) == none
            assert battery.scan is not None
            assert battery.scan.complete


WHOLE_BLOCKS = (
    BITS.partition("[[point]]")[0]
    + 'also = [{ table = "holding", address = 6, type = "uint16", equals = [1] }]\n'
    + "[repeat.batteries]\nmost = 2\nstep = 10\n"
    + point("active_power", 1, repeat='"batteries"', positive='"charging"', negative='"discharging"')
    + point("charged_energy", 0, "uint32", repeat='"batteries"', addresses="[3, 2]")
    + point("discharged_energy", 4, "uint16", repeat='"batteries"', invalid="[0xFFFF]", fallback="[{ address = 5 }]")
)


@pytest.mark.parametrize(("states", "power"), [((0b010, 0b100), 400.0), ((0b100, 0b010), -400.0)])
async def test_a_block_has_its_own_marks_words_and_fallbacks(
    tmp_path: Path, states: tuple[int, int], power: float
) -> None:
    first = dict(enumerate((states[0], 700, 5, 1, 0xFFFF, 40, states[0] >> 2)))
    second = dict(enumerate((states[1], 300, 6, 2, 0xFFFF, 50, states[1] >> 2), 10))
    async with device(tmp_path, WHOLE_BLOCKS, first | second, "battery") as battery:
        expected = {"active_power": power, "charged_energy": (3 << 16) + 11.0, "discharged_energy": 90.0}
        assert await battery.poll() == expected


async def test_blocks_without_a_register_that_counts_them(tmp_path: Path) -> None:
    text = "[repeat.panels]\nmost = 3\nstep = 10\n" + point("active_power", 100, repeat='"panels"')
    async with device(tmp_path, text, {100: 40, 110: 2}, "inverter") as panels:
        for _ in range(2):
            assert await panels.poll() == {"active_power": 42.0}
            assert panels.scan is not None
            assert panels.scan.complete


FIRST_EMPTY = (
    '[mark.there]\ntable = "holding"\naddress = 100\ntype = "uint8_low"\nmin = 1\n'
    '[repeat.panels]\nmost = 50\nstep = 3\npresent = "there"\n'
    + point("active_power", 101, "uint16", repeat='"panels"', valid='"there"')
    + point("produced_energy", 102, "uint16", repeat='"panels"', valid='"there"')
)


def panels(*each: tuple[int, int, int]) -> dict[int, int]:
    """Port, power and counter of each panel; empty blocks are 0."""
    words = dict.fromkeys(range(100, 260), 0)
    for number, block in enumerate(each):
        words |= dict(enumerate(block, 100 + 3 * number))
    return words


async def test_blocks_up_to_the_first_empty_one(tmp_path: Path) -> None:
    async with device(tmp_path, FIRST_EMPTY, panels((0x7701, 40, 7), (0x7702, 2, 3)), "inverter") as found:
        for _ in range(2):
            assert await found.poll() == {"active_power": 42.0, "produced_energy": 10.0}
        assert found.scan is not None
        assert found.scan.requests == 1
        third = panels((0x7701, 40, 7), (0x7702, 2, 3), (0x7701, 100, 1))
        await found.poll(third, SELECT_EVERY_S)
        for _ in range(2):  # two polls in a row must find it
            assert await found.poll(third) == {"active_power": 142.0, "produced_energy": 11.0}
        gone = panels((0x7701, 40, 7), (0x7702, 2, 3))
        for after_s in (1.0, SELECT_EVERY_S, 1.0, 1.0):
            assert await found.poll(gone, after_s) == {"active_power": 42.0, "produced_energy": "missing"}


PRESENT = (
    '[mark.there]\ntable = "holding"\naddress = 100\ntype = "uint16"\nequals = [1]\n'
    '[repeat.panels]\nmost = 2\nstep = 3\npresent = "there"\n' + point("active_power", 101, repeat='"panels"')
)


@pytest.mark.parametrize(
    ("words", "power"),
    [
        ({100: 1, 101: 40, 103: 1, 104: 2, 106: 1, 107: 100}, 42.0),  # more than the profile knows
        ({100: 1, 101: 40, 103: 0, 104: 2}, 40.0),
        ({100: 1, 101: 40, 104: 2}, 40.0),
        ({100: 0, 101: 40, 103: 1, 104: 2}, "missing"),
        ({101: 40, 103: 1, 104: 2}, "missing"),
    ],
)
async def test_marks_count_the_blocks(tmp_path: Path, words: dict[int, int], power: object) -> None:
    async with device(tmp_path, PRESENT, words, "inverter") as found:
        assert isinstance(found.driver, RegisterDriver)
        assert [point.address for point in found.driver.points] == [101], "one block until they are counted"
        for _ in range(2):
            assert await found.poll() == {"active_power": power}


async def test_no_block_is_counted_after_the_last_that_the_profile_knows(tmp_path: Path) -> None:
    words = dict(enumerate((1, 40, 0, 1, 2, 0, 1, 100), 100))
    async with device(tmp_path, PRESENT, words, "inverter") as full:
        await full.poll()
        assert full.scan is not None
        assert full.scan.requests == 3  # two marks, and all values


async def test_a_function_that_the_device_does_not_have_counts_no_block(tmp_path: Path) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="inverter") + PRESENT)
    async with FaultServer({(1, Table.HOLDING): {100: 1, 101: 40}}) as server:
        link = Link(server.link())
        server.faults.exception = 1
        scan = await driver_of(load(path), ReadOptions()).poll(link.unit(1), lambda: 0.0)
        await link.close()
    assert [reading.quality for reading in scan.readings] == [Quality.MISSING]


# Registers that select the layout, refused with an exception that does not say that the device lacks them.


@asynccontextmanager
async def faulty(folder: Path, text: str, words: Mapping[int, int], kind: str = "meter") -> AsyncIterator[Faulty]:
    """A device of the profile with these holding registers, whose faults can be set."""
    path = folder / "acme.toml"
    path.write_text(HEAD.format(kind=kind) + text)
    held = dict(words)
    async with FaultServer({(1, Table.HOLDING): held}) as server:
        link = Link(server.link())
        yield Faulty(driver_of(load(path), ReadOptions()), link, held, server=server)
        await link.close()


OLD_FIRMWARE = {0: 7, 2: 7, 3: 0, 5: 0, 15: 0x1097}
NEW_FIRMWARE = OLD_FIRMWARE | {15: 0x1098}


@pytest.mark.parametrize("code", [4, 8, 99])
@pytest.mark.parametrize(
    ("text", "kind", "words", "at", "values"),
    [
        (VARIANTS, "meter", {0: 7, 2: 7, 3: 0, 5: 1}, 15, {"imported_energy": 700.0, "exported_energy": 458752.0}),
        (BLOCKS, "battery", {100: 40, 101: 50}, 1, {"active_power": 40.0, "soc": 50.0}),
        (PRESENT, "inverter", {100: 1, 101: 40}, 103, {"active_power": 40.0}),
    ],
    ids=["variant", "count", "present"],
)
async def test_a_register_that_always_fails_selects_as_one_that_the_device_lacks(
    tmp_path: Path, text: str, kind: str, words: dict[int, int], at: int, values: dict[str, object], code: int
) -> None:
    async with faulty(tmp_path, text, words, kind) as found:
        found.server.faults.exception_at = {at: code}
        with pytest.raises(DeviceFailureError):
            await found.poll()
        for after_s in (1.0, 1.0, SELECT_EVERY_S):
            assert await found.poll(after_s=after_s) == values
            assert found.scan is not None
            assert found.scan.complete
        found.server.faults.exception_at = dict.fromkeys(words, 10) | {at: code}
        with pytest.raises(GatewayError):
            await found.poll()
        found.server.faults.exception_at = {at: code}
        assert await found.poll() == values, "the refusal is still known after a poll that failed"


async def test_a_register_that_always_failed_is_asked_at_each_poll(tmp_path: Path) -> None:
    async with faulty(tmp_path, VARIANTS, NEW_FIRMWARE) as starting:
        starting.server.faults.exception = 4  # the whole device
        with pytest.raises(DeviceFailureError):
            await starting.poll()
        assert set((await starting.poll()).values()) == {"missing"}
        starting.server.heal()
        assert (await starting.poll())["imported_energy"] == "missing"
        assert (await starting.poll())["imported_energy"] == 7000.0


@pytest.mark.simulated_time
@pytest.mark.parametrize("code", [4, 5, 6])
async def test_a_refusal_for_a_moment_leaves_the_layout_as_it_is(tmp_path: Path, code: int) -> None:
    async with faulty(tmp_path, VARIANTS, NEW_FIRMWARE) as meter:
        assert (await meter.poll())["imported_energy"] == 7000.0
        meter.server.faults.exception_at = {15: code, 5: code}
        assert (await meter.poll(after_s=SELECT_EVERY_S))["imported_energy"] == 7000.0
        assert meter.scan is not None
        assert meter.scan.complete
        meter.server.heal()
        meter.words[15] = 0x1097
        assert (await meter.poll())["imported_energy"] == "missing", "the next poll reads the register again"
        assert (await meter.poll())["imported_energy"] == 700.0


@pytest.mark.simulated_time
async def test_a_device_that_is_busy_selects_no_layout(tmp_path: Path) -> None:
    async with faulty(tmp_path, VARIANTS, NEW_FIRMWARE) as meter:
        for code in (6, 6, 4, 5, 4, 6):  # exception 4 never twice in a row
            meter.server.faults.exception_at = {15: code}
            with pytest.raises(RefusedError) as refusal:
                await meter.poll()
            assert refusal.value.code == code
        meter.server.heal()
        assert (await meter.poll())["imported_energy"] == 7000.0


@pytest.mark.simulated_time
@pytest.mark.parametrize("failing_at", [0, 15])
async def test_a_device_that_is_busy_after_a_poll_that_failed_may_have_another_layout(
    tmp_path: Path, failing_at: int
) -> None:
    async with faulty(tmp_path, VARIANTS, OLD_FIRMWARE) as meter:
        await meter.poll()
        meter.server.faults.exception_at = {failing_at: 10}
        with pytest.raises(GatewayError):
            await meter.poll(after_s=SELECT_EVERY_S)
        meter.server.faults.exception_at = {15: 6}
        with pytest.raises(BusyError):
            await meter.poll(NEW_FIRMWARE)
        meter.server.heal()
        assert (await meter.poll())["imported_energy"] == "missing"
        assert (await meter.poll())["imported_energy"] == 7000.0


@pytest.mark.simulated_time
async def test_a_device_that_is_busy_confirms_no_layout(tmp_path: Path) -> None:
    async with faulty(tmp_path, VARIANTS, OLD_FIRMWARE) as meter:
        await meter.poll()
        assert (await meter.poll(NEW_FIRMWARE, SELECT_EVERY_S))["imported_energy"] == "missing"
        meter.server.faults.exception_at = {15: 6}
        with pytest.raises(BusyError):
            await meter.poll()
        meter.server.heal()
        assert (await meter.poll())["imported_energy"] == 7000.0


# What a device of a size can do.

RATED = '[rating]\ntable = "holding"\naddress = 50\ntype = "uint16"\nscale = 100\n' + point("active_power", 0, "uint16")


async def test_a_power_far_beyond_the_rated_one_is_invalid(tmp_path: Path) -> None:
    async with device(tmp_path, RATED, {0: 9000, 50: 50}, "inverter") as inverter:
        assert await inverter.poll() == {"active_power": 9000.0}
        for _ in range(2):
            assert await inverter.poll({0: 65_035, 50: 50}) == {"active_power": "invalid"}
        assert inverter.scan is not None
        assert inverter.scan.requests == 1  # the rated power does not change
        # Read again while the device starts, it is no rated power; the one before still counts.
        for _ in range(2):
            assert await inverter.poll({0: 65_035, 50: 0}, RECHECK_FIRST_S) == {"active_power": "invalid"}
    for rated in ({}, {50: 0}, {50: 0xFFFF}):
        text = RATED.replace("scale = 100", "scale = 100\ninvalid = [0xFFFF]")
        async with device(tmp_path, text, {0: 65_035} | rated, "inverter") as unknown:
            assert await unknown.poll() == {"active_power": 65_035.0}


@pytest.mark.simulated_time
async def test_a_device_that_is_silent_about_its_rated_power_is_read(tmp_path: Path) -> None:
    """Some devices do not reply to an address that they do not have."""
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="inverter") + RATED)
    async with FaultServer({(1, Table.HOLDING): {0: 9000, 50: 50}}) as server:
        server.faults.silent_at = frozenset({50})
        link, driver = Link(server.link(timeout_s=2.0)), driver_of(load(path), ReadOptions())

        async def power(at: float) -> object:
            scan = await driver.poll(link.unit(1), lambda: at)
            return scan.readings[0].value

        assert [await power(at) for at in (0.0, 1.0)] == [9000.0, 9000.0]
        assert [seen.address for seen in server.requests] == [0, 50, 0], "one time-out, not one for each poll"
        server.faults.silent_at = frozenset()
        server.registers[1, Table.HOLDING][0] = 65_035
        assert [await power(at) for at in (2.0, RECHECK_FIRST_S + 1)] == [65_035.0, None]
        await link.close()


async def test_a_small_number_is_no_rated_power(tmp_path: Path) -> None:
    """Such as a model number, or a power in kW."""
    async with device(tmp_path, RATED, {0: 9000, 50: 0}, "inverter") as inverter:
        assert await inverter.poll() == {"active_power": 9000.0}
    coded = RATED.replace("scale = 100", "scale = 1")
    async with device(tmp_path, coded, {0: 9000, 50: 99}, "inverter") as inverter:
        assert await inverter.poll() == {"active_power": 9000.0}
    async with device(tmp_path, coded, {0: 9000, 50: 100}, "inverter") as micro_inverter:
        assert await micro_inverter.poll() == {"active_power": "invalid"}


async def test_the_rated_power_is_read_again_less_and_less_often(tmp_path: Path) -> None:
    async with device(tmp_path, RATED, {0: 9000, 50: 50}, "inverter") as inverter:
        for after_s, requests in ((1.0, 2), (RECHECK_FIRST_S, 2), (RECHECK_FIRST_S, 1), (RECHECK_FIRST_S, 2)):
            await inverter.poll(after_s=after_s)
            assert inverter.scan is not None
            assert inverter.scan.requests == requests


@pytest.mark.parametrize(("times", "limit"), [(2, 10_000), (3, 15_000)])
async def test_a_profile_sets_the_bound_of_the_rated_power(tmp_path: Path, times: int, limit: int) -> None:
    """An inverter that also counts micro inverters has more power than its own."""
    text = RATED.replace("scale = 100", f"scale = 100\ntimes = {times}")
    async with device(tmp_path, text, {0: limit, 50: 50}, "inverter") as inverter:
        assert await inverter.poll() == {"active_power": float(limit)}
        assert await inverter.poll({0: limit + 1, 50: 50}) == {"active_power": "invalid"}


@pytest.mark.parametrize("node", ["solar", "storage"])
async def test_the_rated_power_does_not_bound_what_the_house_draws(tmp_path: Path, node: str) -> None:
    text = RATED.replace("[[point]]", f'[[point]]\nnode = "{node}"') + point("active_power", 1, "uint16", node='"grid"')
    async with device(tmp_path, text, {0: 9000, 1: 30_000, 50: 50}, "hybrid") as hybrid:
        assert await hybrid.poll() == {f"{node}.active_power": 9000.0, "grid.active_power": 30_000.0}
        found = await hybrid.poll({0: 30_000, 1: 30_000, 50: 50})
        assert found == {f"{node}.active_power": "invalid", "grid.active_power": 30_000.0}


@pytest.mark.parametrize(
    ("kind", "power"),
    [("inverter", "invalid"), ("battery", "invalid"), ("charger", "invalid"), ("heat_pump", "invalid"), ("meter", 1e4)],
)
async def test_the_rated_power_bounds_what_flows_through_the_device(tmp_path: Path, kind: str, power: object) -> None:
    async with device(tmp_path, RATED, {0: 10_000, 50: 20}, kind) as rated:
        assert await rated.poll() == {"active_power": power}


async def test_the_rated_power_bounds_only_powers(tmp_path: Path) -> None:
    text = RATED + "invalid = [0xFFFF]\n" + point("dc_power", 1, "uint16") + point("produced_energy", 2, "uint16")
    async with device(tmp_path, text, {0: 0xFFFF, 1: 20_000, 2: 30_000, 50: 50}, "inverter") as inverter:
        found = await inverter.poll()
    assert found == {"active_power": "missing", "dc_power": "invalid", "produced_energy": 30_000.0}


@pytest.mark.parametrize(
    ("type_", "invalid", "words"),
    [
        ("float32", "[-1.0]", [0xBF80, 0]),
        ("float32", "[7, 0xBF800000]", [0xBF80, 0]),
        ("int16", "[-1]", [0xFFFF]),
        ("int32", "[-2147483648]", [0x8000, 0]),
    ],
)
async def test_a_value_or_a_pattern_may_mean_not_available(
    tmp_path: Path, type_: str, invalid: str, words: list[int]
) -> None:
    async with device(tmp_path, point("voltage", 0, type_, invalid=invalid), dict(enumerate(words))) as meter:
        assert await meter.poll() == {"voltage": "missing"}
        assert await meter.poll(dict.fromkeys(range(2), 0)) == {"voltage": 0.0}


# Whole devices that are not there.

WHOLE = (
    point("active_power", 0) + point("voltage", 1, "uint16", scale=0.1) + point("frequency", 2, "uint16", scale=0.01)
)
WHOLE += point("imported_energy", 3, "uint32")
GOOD = {"active_power": 5.0, "voltage": 230.0, "frequency": 50.0, "imported_energy": 9.0}


@pytest.mark.parametrize("word", [0xFFFF, 0x8000, 0])
async def test_the_same_word_everywhere_is_a_device_that_restarts(tmp_path: Path, word: int) -> None:
    good = {0: 5, 1: 2300, 2: 5000, 3: 0, 4: 9}
    async with device(tmp_path, WHOLE, good) as meter:
        assert await meter.poll() == GOOD
        for _ in range(2):
            assert await meter.poll(dict.fromkeys(range(5), word)) == dict.fromkeys(GOOD, "missing")
        assert await meter.poll(good) == GOOD


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ((0xFFFF, 0xFFFF, 0xFFFF), [-1.0] * 3),
        ((0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF), ["missing"] * 4),
        ((0xFFFF, 0xFFFF, 0xFFFF, 0x8000), [-1.0, -1.0, -1.0, -32768.0]),
        ((1, 1, 1, 1), [1.0] * 4),
    ],
)
async def test_a_few_equal_words_are_numbers(tmp_path: Path, words: tuple[int, ...], values: list[object]) -> None:
    phases = [{}, *({"phase": f'"l{n}"'} for n in (1, 2, 3))]
    text = "".join(point("active_power", n, **phases[n]) for n in range(len(words)))
    async with device(tmp_path, text, dict(enumerate(words))) as meter:
        assert list((await meter.poll()).values()) == values


@pytest.mark.parametrize(
    ("on_invalid", "pattern", "word", "value"),
    [
        ("zero", 0xFFFFFFFF, 0xFFFF, 0.0),
        ("zero", 0x80008000, 0x8000, 0.0),
        ("zero", 0x80000000, 0x8000, float(0x80008000 - 2**32)),  # one of its words
        ("zero", 0xFFFFFFFF, 0x8000, "missing"),
        ("missing", 0xFFFFFFFF, 0xFFFF, "missing"),
    ],
)
async def test_the_same_word_everywhere_may_be_a_zero(
    tmp_path: Path, on_invalid: str, pattern: int, word: int, value: object
) -> None:
    text = point("active_power", 0, "int32", invalid=f"[{pattern}]", on_invalid=f'"{on_invalid}"')
    text += point("current", 2) + point("reactive_power", 3)
    async with device(tmp_path, text, dict.fromkeys(range(4), word)) as meter:
        found = await meter.poll()
    assert found["active_power"] == value
    assert found["current"] == ("missing" if value == "missing" else float((word ^ 0x8000) - 0x8000))


async def test_a_device_at_rest_reports_0(tmp_path: Path) -> None:
    """Only a voltage and a frequency that both are 0 mean that it does not work."""
    rest = {"active_power": 0.0, "voltage": 230.0, "frequency": 50.0, "imported_energy": 9.0}
    async with device(tmp_path, WHOLE, {0: 0, 1: 2300, 2: 5000, 3: 0, 4: 9}) as meter:
        assert await meter.poll() == rest
    for quantity in ("voltage", "frequency"):
        async with device(tmp_path, point("active_power", 0) + point(quantity, 1), {0: 0, 1: 0}) as meter:
            assert await meter.poll() == {"active_power": 0.0, quantity: 0.0}
    text = point("active_power", 0) + point("voltage", 1) + point("frequency", 2, invalid="[0x8000]")
    async with device(tmp_path, text, {0: 0, 1: 0, 2: 0x8000}) as meter:
        assert await meter.poll() == {"active_power": 0.0, "voltage": 0.0, "frequency": "missing"}


async def test_a_device_that_refused_everything_is_read_as_if_it_was_new(tmp_path: Path) -> None:
    """It was starting: what it refused says nothing of it."""
    async with device(tmp_path, WHOLE, {}) as meter:
        for _ in range(2):
            with pytest.raises(RefusedError):
                await meter.poll({})
            assert await meter.poll({0: 5, 1: 2300, 2: 5000, 3: 0, 4: 9}) == GOOD
            assert meter.scan is not None
            assert meter.scan.requests == 1


async def test_a_device_that_restarts_has_nothing_whatever_it_may_lack(tmp_path: Path) -> None:
    async with device(tmp_path, point("voltage", 0) + point("frequency", 1), {0: 0, 1: 0}) as meter:
        assert await meter.poll() == {"voltage": "missing", "frequency": "missing"}
    text = WHOLE + point("temperature", 50, optional="true")
    async with device(tmp_path, text, dict.fromkeys(range(5), 0)) as meter:
        assert await meter.poll() == dict.fromkeys(GOOD, "missing")


# What a profile tells others.


IDENTIFY = '[identify]\ntable = "holding"\naddress = 7\n'


@pytest.mark.parametrize(
    ("mark", "other"),
    [
        ('type = "uint16"\nequals = [3, 4]\nscale = 0.1\noffset = 5\n', [5]),
        ('type = "uint16"\nmin = 5\nmax = 6\n', [7]),
        ('type = "uint16"\nmin = 5\n', [4]),
        ('type = "int16"\nmax = -5\n', [signed(-4)]),
        ('type = "uint16"\nbit = 3\n', [0xFFF7]),
        ('type = "bool"\n', [0]),
        ('type = "bool"\nequals = [255]\n', [1]),
        ('type = "string"\nlength = 2\nequals = ["A?*C", "D"]\n', [0, 0]),
    ],
)
def test_a_mark_has_an_example(tmp_path: Path, mark: str, other: list[int]) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="meter") + point("voltage", 0) + IDENTIFY + mark)
    identify = load(path).identify
    assert identify is not None
    assert identify.matches(identify.example_words)
    assert not identify.matches(other)


def test_a_mark_at_another_unit_id_is_no_register_of_the_device(tmp_path: Path) -> None:
    also = 'also = [{ table = "holding", address = 9, type = "uint16", equals = [1], unit_id = 200 }]\n'
    path = tmp_path / "acme.toml"
    path.write_text(
        HEAD.format(kind="meter") + point("voltage", 0) + IDENTIFY + 'type = "uint16"\nequals = [1]\n' + also
    )
    identify = load(path).identify
    assert identify is not None
    assert [mark.unit_id for mark in identify.all] == [None, 200]
    assert [span.address for span in identify.spans] == [7]


def test_a_profile_knows_all_registers_that_its_driver_may_read(tmp_path: Path) -> None:
    text = SUN + '[mark.new]\ntable = "input"\naddress = 40\ntype = "uint16"\nequals = [1]\n'
    text += PRESENT.partition("[[point]]")[0] + "[repeat.batteries]\nmost = 4\nstep = 10\n"
    text += 'table = "holding"\naddress = 1\ntype = "uint16"\n' + RATED.partition("[[point]]")[0]
    text += point("active_power", 101, repeat='"panels"') + point("soc", 200, repeat='"batteries"')
    text += '[[variant]]\nname = "new"\nmark = "new"\n' + point("voltage", 60).replace("[[", "[[variant.")
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="battery") + text)
    spans = {(span.table.value, span.address, span.count) for span in load(path).spans}
    holding = [(0, 1), (1, 1), (10, 2), (50, 1), (60, 1), (100, 1), (101, 1), (103, 1), (104, 1)]
    holding += [(200 + 10 * number, 1) for number in range(4)]
    assert spans == {("input", 40, 1), *(("holding", *span) for span in holding)}


@pytest.mark.parametrize(
    ("type_", "words", "number"),
    [
        ("uint16", [1], "1"),
        ("uint32", [1, 2], "65538"),
        ("uint16", [0], ""),
        ("int16", [0xFFFF], ""),
        ("string", [0x4142, 0], "AB"),
        ("string", [0, 0], ""),
    ],
)
def test_a_serial_number_is_a_text_or_a_number(tmp_path: Path, type_: str, words: list[int], number: str) -> None:
    path = tmp_path / "acme.toml"
    text = f'[serial]\ntable = "holding"\naddress = 7\ntype = "{type_}"\n'
    path.write_text(HEAD.format(kind="meter") + point("voltage", 0) + text + "length = 2\n" * (type_ == "string"))
    serial = load(path).serial
    assert serial is not None
    assert serial.read(words) == number
