"""Every profile that says how it is recognised is, among all the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.dump.file import Dump
from drivers.dump.file import load as load_dump
from drivers.errors import SilentError
from drivers.model import Quantity, Table
from drivers.profile.loader import load
from drivers.profile.mark import Mark
from drivers.registers.codec import Encoding, encode
from drivers.registers.read_plan import Span
from drivers.scan.identify import Identifier
from drivers.simulator.modbus_server import SimulatedUnit
from drivers.simulator.register_image import profile_unit
from drivers.simulator.sunspec_units import inverter_model, sunspec_unit
from tests.support.cases import for_each
from tests.support.profiles import PROFILES, Profiles, families

DUMPS = Path(__file__).parents[2] / "fixtures" / "dumps"
MARKED = Profiles(lambda profile: profile.identify is not None)


def mark(name: str) -> Mark:
    found = MARKED[name].identify
    assert found is not None
    return found


def first_and_last() -> Iterator[tuple[str, int]]:
    """Yield each family and the places of the first and the last of the spans of its mark."""
    for name in MARKED:
        yield from ((name, of) for of in sorted({0, len(mark(name).spans) - 1}))


def unit_with_the_name(name: str, unit_id: int) -> Dump:
    """Another unit of the link, with the marks of the family that are there."""
    found: dict[Table, dict[int, int]] = {table: {} for table in Table}
    for each in mark(name).also:
        if each.unit_id == unit_id:
            found[each.table].update(enumerate(each.example_words, each.address))
    return Dump(found)


@for_each("name", MARKED)
async def test_a_family_is_recognised_by_its_mark(name: str) -> None:
    image = profile_unit(MARKED[name], dict).image()
    identity = await Identifier(families(), time.monotonic).identify(
        Dump({table: dict(words) for table, words in image.items()}),
        elsewhere=lambda unit_id: unit_with_the_name(name, unit_id),
    )
    names = [match.driver for match in identity.matches]
    assert names[0] == name
    for other in set(names) - {name}:
        ours, theirs = mark(name), mark(other)
        assert (ours.table, ours.address) == (theirs.table, theirs.address), "no mark may be another family's value"
        assert ours.equals[0] in theirs.equals


@for_each("path", sorted(DUMPS.glob("*.json")), lambda path: path.stem)
async def test_the_words_of_a_real_device_are_no_other_family(path: Path) -> None:
    dump = load_dump(path)
    identity = await Identifier(families(), time.monotonic).identify(dump)
    found = {match.driver for match in identity.matches}
    family = PROFILES[dump.about["driver"]]
    if family.driver is not None:
        found &= set(MARKED)  # discovery also names the general driver and other families of the maker
    assert found <= {family.name}


@dataclass
class Counting:
    """A device that has a few registers; counts what it is asked."""

    dump: Dump
    asked: list[Span] = field(default_factory=list)

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.asked.append(Span(table, address, count))
        return await self.dump.read(table, address, count)


async def test_all_families_are_told_apart_in_few_requests() -> None:
    device = Counting(Dump())
    identity = await Identifier(families(), time.monotonic).identify(device, sunspec=False)
    assert not identity.matches
    assert [each.table for each in device.asked[40:]] in ([], [Table.COIL]), "what has no register may be a relay board"
    assert len(set(device.asked)) == len(device.asked)


class Silent(Counting):
    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.asked.append(Span(table, address, count))
        raise SilentError("no answer")


async def test_a_device_that_is_silent_where_it_has_nothing_is_asked_for_the_likely_marks() -> None:
    """Each costs a time-out."""
    device = Silent(Dump())
    identity = await Identifier(families(), time.monotonic).identify(device, unit_id=247, sunspec=False)
    assert not identity.matches
    assert len(device.asked) <= 12
    usual = {mark(name).span for name in MARKED if MARKED[name].link.unit_id == 247}
    assert usual
    assert usual <= set(device.asked)


@dataclass
class Lossy(Counting):
    """A device on a line that loses the replies to the first requests of each of these spans."""

    lost: dict[Span, int] = field(default_factory=dict)

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        span = Span(table, address, count)
        if self.lost.get(span, 0) > 0:
            self.lost[span] -= 1
            raise SilentError("no answer")
        return await self.dump.read(table, address, count)


def lossy(name: str, lost: int, *, of: int = 0) -> Lossy:
    """A device of the family. The replies to one of its marks are lost, `lost` times."""
    image = profile_unit(MARKED[name], dict).image()
    dump = Dump({table: dict(words) for table, words in image.items()})
    return Lossy(dump, lost={mark(name).spans[of]: lost})


@for_each(("name", "of"), first_and_last())
async def test_a_lost_reply_does_not_change_the_family(name: str, of: int) -> None:
    identity = await Identifier(families(), time.monotonic).identify(
        lossy(name, 1, of=of), elsewhere=lambda unit_id: unit_with_the_name(name, unit_id), sunspec=False
    )
    assert identity.matches[0].driver == name
    assert identity.unanswered == ()


@for_each(("name", "of"), first_and_last())
async def test_a_family_whose_mark_gets_no_reply_stays_possible(name: str, of: int) -> None:
    identity = await Identifier(families(), time.monotonic).identify(
        lossy(name, 99, of=of), elsewhere=lambda unit_id: unit_with_the_name(name, unit_id)
    )
    assert name not in {match.driver for match in identity.matches}
    assert name in identity.unanswered


async def test_a_lost_name_at_another_unit_is_read_again() -> None:
    there = next(each for each in mark("alfen-eve").also if each.unit_id is not None)
    name = Lossy(unit_with_the_name("alfen-eve", 200), lost={there.span: 1})
    identity = await Identifier(families(), time.monotonic).identify(lossy("alfen-eve", 0), elsewhere=lambda _: name)
    assert identity.matches[0].driver == "alfen-eve"


async def test_a_sunspec_device_that_is_silent_elsewhere_is_found_though_its_first_reply_is_lost() -> None:
    words = sunspec_unit("acme", lambda: [inverter_model(4200.0, 1_234_560.0, 234.5)]).image()[Table.HOLDING]
    device = Lossy(Dump({Table.HOLDING: dict(words)}), lost={Span(Table.HOLDING, 40_000, 2): 1})
    device.lost |= {Span(Table.HOLDING, base, 2): 99 for base in (50_000, 0)}
    identity = await Identifier([], time.monotonic).identify(device)
    assert [match.driver for match in identity.matches] == ["sunspec"]


@for_each("name", MARKED)
def test_one_register_that_many_devices_have_does_not_decide(name: str) -> None:
    """A power or a temperature at a low address may be any small number."""
    first = mark(name)
    assert first.also or first.encoding.width > 1 or first.address > 4000


TWO = """
manufacturer = "Acme"
models = ["x"]
kind = "meter"
source = "this test"
point = [{ quantity = "active_power", table = "holding", address = 0, type = "int16" }]
[identify]
table = "holding"
address = 11
type = "uint16"
equals = [341]
also = [{ table = "input", address = 20, type = "string", length = 4, equals = ["ac?e*"] }]
"""


def text(value: str) -> dict[int, int]:
    return dict(enumerate(encode(Encoding("string", length=4), value), 20))


@pytest.mark.parametrize(
    ("code", "name", "found", "requests"),
    [
        (341, "Acme X1", True, 2),
        (341, "ACDE", True, 2),
        (341, "A Acme", False, 2),
        (341, "", False, 2),
        (7, "Acme", False, 1),
    ],
)
async def test_further_marks_are_asked_where_the_first_holds_and_decide(
    tmp_path: Path, code: int, name: str, found: bool, requests: int
) -> None:
    (tmp_path / "acme.toml").write_text(TWO)
    device = Counting(Dump({Table.HOLDING: {11: code}, Table.INPUT: text(name) if name else {}}))
    identity = await Identifier([load(tmp_path / "acme.toml")], time.monotonic).identify(device, sunspec=False)
    assert [match.why for match in identity.matches] == (["by holding 11, input 20-23"] if found else [])
    assert len(device.asked) == requests


@pytest.mark.parametrize("unit_id", [None, 1, 2, 3])
async def test_the_longest_mark_decides_whatever_unit_ids_are_usual(tmp_path: Path, unit_id: int | None) -> None:
    long = TWO.replace("[identify]", "[defaults]\nunit_id = 1\n[identify]")
    short = long.replace("unit_id = 1", "unit_id = 2").partition("also")[0].replace("address = 11", "address = 12")
    other = short.replace("unit_id = 2", "").replace("address = 12", "address = 13")
    families = []
    for name, profile in {"long": long, "short": short, "other": other}.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(profile)
        families.append(load(path))
    device = Dump({Table.HOLDING: dict.fromkeys((11, 12, 13), 341), Table.INPUT: text("Acme")})
    identity = await Identifier(families, time.monotonic).identify(device, unit_id=unit_id, sunspec=False)
    assert identity.matches[0].driver == "long"
    assert len(identity.matches) == 3


async def test_a_family_with_more_marks_stands_before_one_with_fewer() -> None:
    image = profile_unit(MARKED["huawei-sun2000"], dict).image()
    identity = await Identifier(families(), time.monotonic).identify(
        Dump({table: dict(words) for table, words in image.items()})
    )
    assert [match.driver for match in identity.matches] == ["huawei-sun2000", "huawei-sun2000-inverter"]


def test_there_are_profiles_with_a_mark() -> None:
    assert len(MARKED) >= 30
    assert set(MARKED) <= set(Catalogue().names())


@pytest.mark.parametrize(
    ("words", "found"),
    [([0x4142, 0x4344], True), ([0, 0], False), ([0x4142, 0x4300], False), ([0x4142, 0x8701], False)],
)
def test_a_letter_is_no_empty_register_and_no_number(words: list[int], found: bool) -> None:
    anything = Mark(Table.HOLDING, 0, Encoding("string", length=2), ("????",))
    assert anything.matches(words) is found


async def test_a_device_with_coils_only_is_probably_a_relay_board() -> None:
    identifier = Identifier(families(), time.monotonic)
    relay = await identifier.identify(Dump({Table.COIL: {0: 1}}))
    assert (relay.matches, relay.likely, relay.tables) == ([], ("relay",), frozenset({Table.COIL}))
    nothing = await identifier.identify(Dump({}))
    assert not nothing.likely
    assert not nothing.tables


@pytest.mark.parametrize(
    "unit",
    [
        profile_unit(PROFILES["eastron-sdm630"], lambda: {(None, Quantity.ACTIVE_POWER, None): 5.0}),
        sunspec_unit("roof", lambda: [inverter_model(500.0, 1000.0, 230.0)], 1),
    ],
    ids=["profile", "sunspec"],
)
async def test_the_time_of_a_poll_does_not_contain_what_the_first_poll_learns(unit: SimulatedUnit) -> None:
    """A request takes a second. The meter has few of the registers of its profile; SunSpec models must be found."""
    asked: list[int] = []

    class Slow:
        dump = Dump({table: dict(words) for table, words in unit.image().items()})

        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            asked.append(address)
            return await self.dump.read(table, address, count)

    reader = Slow()
    identifier = Identifier(families(), lambda: float(len(asked)))
    identity = await identifier.identify(reader)
    await identifier.measure(reader, identity)
    driver = Catalogue().create(identity.matches[0].driver, ReadOptions())
    await driver.poll(reader, time.monotonic)
    before = len(asked)
    await driver.poll(reader, time.monotonic)
    assert identity.poll_s == len(asked) - before
