"""Taking, blanking, writing and reading dumps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.driver import ReadOptions
from drivers.dump.capture import Capture, of_profiles, of_ranges, of_sunspec, parse_range, take
from drivers.dump.file import Dump, DumpError, load, to_json
from drivers.dump.redact import BLANK, NUMBERS, redact
from drivers.errors import IllegalAddressError, SilentError
from drivers.modbus.link import Link
from drivers.model import Table
from drivers.profile.loader import load as load_profile
from drivers.profile.loader import profile_files
from drivers.registers.read_plan import Span
from drivers.simulator.modbus_server import ModbusServer
from drivers.simulator.register_image import dump_unit
from drivers.simulator.sunspec_units import inverter_model, sunspec_unit
from tests.faults.modbus import FaultServer, registers_from
from tests.support.cases import for_each


def span(text: str) -> Span:
    return parse_range(text)


async def taken_from(words: Mapping[int, int], *ranges: str) -> Capture:
    taken = Capture()
    async with FaultServer({(1, Table.HOLDING): dict(words)}) as server:
        link = Link(server.link())
        await take(link.unit(1), of_ranges([span(text) for text in ranges]), taken)
        await link.close()
    return taken


async def test_a_range_is_read_in_as_few_requests_as_it_takes() -> None:
    words = registers_from(100, range(300))
    taken = await taken_from(words, "holding:100-399")
    assert taken.tables == {Table.HOLDING: words}
    assert taken.requests == 3


async def test_holes_are_split_around() -> None:
    words = registers_from(0, range(100))
    for hole in (0, 17, 18, 60, 99):
        del words[hole]
    taken = await taken_from(words, "holding:0-99")
    assert taken.tables == {Table.HOLDING: words}
    assert {block.address for block in taken.refused} == {0, 17, 18, 60, 99}


async def test_a_table_that_does_not_exist_is_asked_for_once() -> None:
    taken = await taken_from({0: 1}, "input:0-999", "holding:0")
    assert taken.tables == {Table.HOLDING: {0: 1}}
    assert taken.requests == 2


async def test_a_device_that_is_not_there_ends_it_soon() -> None:
    taken = Capture()
    async with FaultServer({(1, Table.HOLDING): {0: 1}}) as server:
        link = Link(server.link(timeout_s=0.5))
        with pytest.raises(SilentError):
            await take(link.unit(7), of_ranges([span("holding:0-9999")]), taken)
        await link.close()
    assert len(server.requests) == 3


async def test_the_registers_of_a_profile_are_kept_when_one_of_them_is_refused() -> None:
    profile = load_profile(profile_files()["eastron-sdm630"])
    registers = {address: 1 for point in profile.points for address in (point.address, point.address + 1)}
    del registers[0x46]
    taken = Capture()
    async with FaultServer({(1, Table.INPUT): registers}) as server:
        link = Link(server.link())
        await take(link.unit(1), of_profiles([profile], ReadOptions()), taken)
        await link.close()
    assert taken.tables[Table.INPUT] == {address: 1 for address in registers if address not in (0x46, 0x47)}


async def test_a_sunspec_chain_is_taken_whole_and_its_serial_number_blanked() -> None:
    server = ModbusServer([sunspec_unit("SECRET12345", lambda: [inverter_model(1000, 5, 230)])], "127.0.0.1")
    await server.start()
    link = Link(FaultServer({}).link(port=server.port))
    taken = Capture()
    await take(link.unit(1), await of_sunspec(link.unit(1)), taken)
    await link.close()
    await server.stop()
    words = taken.tables[Table.HOLDING]
    assert (min(words), max(words), len(words)) == (40000, 40000 + 2 + 68 + 52 + 2 - 1, 2 + 68 + 52 + 2)
    model_name = [words[address] for address in range(40020, 40036)]
    redact(taken.tables)
    assert [words[address] for address in range(40020, 40036)] == model_name, "the model stays"
    assert words[40052] == BLANK
    assert b"SECRET" not in b"".join(words[address].to_bytes(2, "big") for address in range(40052, 40068))


def text_words(text: str) -> list[int]:
    raw = text.encode()
    return [int.from_bytes(raw[place : place + 2].ljust(2, b"\0"), "big") for place in range(0, len(raw), 2)]


def test_whatever_reads_as_text_is_blanked_and_told() -> None:
    tables = {Table.INPUT: registers_from(10, [*text_words("SN-2024-ABC-77"), 0, 5, 2301, 0x4366, 0x6666])}
    assert redact(tables) == [Span(Table.INPUT, 10, 7)]
    assert tables[Table.INPUT] == registers_from(10, [*[BLANK] * 7, 0, 5, 2301, 0x4366, 0x6666])


def test_numbers_that_are_known_are_kept_though_they_read_as_text() -> None:
    words = registers_from(0, [0x4366, 0x6666] * 3)
    tables = {Table.INPUT: dict(words)}
    assert redact(tables, [Span(Table.INPUT, 0, 6)]) == []
    assert tables == {Table.INPUT: words}
    assert redact(tables) == [Span(Table.INPUT, 0, 6)]


def test_numeric_serial_numbers_are_blanked() -> None:
    tables = {Table.HOLDING: {0xFC00: 0x0123, 0xFC01: 0x4567, 0xFC02: 0x0070}}
    redact(tables)
    assert tables[Table.HOLDING] == {0xFC00: BLANK, 0xFC01: BLANK, 0xFC02: 0x0070}


@pytest.mark.parametrize("span", NUMBERS, ids=lambda span: f"{span.table}-{span.address}")
def test_a_numeric_serial_number_is_blanked_and_nothing_beside_it(span: Span) -> None:
    tables: dict[Table, dict[int, int]] = {span.table: dict.fromkeys(range(span.address - 1, span.end + 1), 0x0123)}
    assert redact(tables) == [span]
    assert tables[span.table] == {
        address: BLANK if span.address <= address < span.end else 0x0123
        for address in range(span.address - 1, span.end + 1)
    }


def test_what_a_driver_reads_is_no_serial_number() -> None:
    temperature = Span(Table.HOLDING, 1014, 2)
    tables: dict[Table, dict[int, int]] = {Table.HOLDING: {1014: 0x4248, 1015: 0x0001}}
    assert redact(tables, [temperature]) == []
    assert tables == {Table.HOLDING: {1014: 0x4248, 1015: 0x0001}}


@pytest.mark.parametrize("base", [0, 40000, 50000])
def test_the_manufacturer_of_a_sunspec_chain_is_kept_wherever_the_chain_begins(base: int) -> None:
    common = [1, 66, *text_words("Schneider Electric".ljust(32, "\0")), *[0] * 32, *text_words("S4".ljust(32, "\0")), 0]
    chain = registers_from(base, [*text_words("SunS"), *common, 0, 0xFFFF, 0])
    tables = {Table.HOLDING: dict(chain)}
    assert redact(tables) == [Span(Table.HOLDING, base + 52, 16)]
    assert tables[Table.HOLDING] == chain | {base + 52: BLANK}


WORDS = st.dictionaries(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), min_size=1, max_size=30)


@given(WORDS, WORDS, st.integers(0, 255))
def test_a_dump_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, a: dict[int, int], b: dict[int, int], unit_id: int
) -> None:
    path = tmp_path_factory.mktemp("dump") / "dump.json"
    dump = Dump({Table.HOLDING: a, Table.INPUT: b}, unit_id, {"model": "Acme", "expected": {"soc": 1.5}})
    path.write_text(to_json(dump))
    assert load(path) == dump
    assert max(map(len, path.read_text().splitlines())) < 120
    assert list(json.loads(path.read_text())) == ["model", "unit_id", "registers", "expected"]


async def test_a_dump_can_be_read_like_the_device_and_served_like_it() -> None:
    dump = Dump({Table.HOLDING: {5: 50, 6: 60}, Table.COIL: {0: 1}})
    assert list(await dump.read(Table.HOLDING, 5, 2)) == [50, 60]
    with pytest.raises(IllegalAddressError, match="holding 6-7"):
        await dump.read(Table.HOLDING, 6, 2)
    server = ModbusServer([dump_unit(dump.tables)], "127.0.0.1")
    await server.start()
    link = Link(FaultServer({}).link(port=server.port))
    assert list(await link.unit(1).read(Table.HOLDING, 5, 2)) == [50, 60]
    assert list(await link.unit(1).read(Table.COIL, 0, 1)) == [1]
    await link.close()
    await server.stop()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "is not JSON"),
        ("[]", 'must be an object with "registers"'),
        ('{"registers": []}', 'must be an object with "registers"'),
        ('{"registers": {"coils": {}}}', "must be coil, discrete, input, holding (found 'coils')"),
        ('{"registers": {"holding": []}}', "must map first addresses to lists of words"),
        ('{"registers": {"holding": {"x": [1]}}}', "(found 'x': [1])"),
        ('{"registers": {"holding": {"1": 1}}}', "(found '1': 1)"),
        ('{"registers": {"holding": {"65535": [1, 2]}}}', "addresses 0..65535"),
        ('{"registers": {"holding": {"1": [7, 65536]}}}', "holding 2: must be a word 0..65535 (found 65536)"),
        ('{"registers": {"coil": {"1": [2]}}}', "must be a word 0..1"),
        ('{"registers": {"holding": {"1": [true]}}}', "(found True)"),
        ('{"registers": {}, "unit_id": 300}', "unit_id: must be 0..255 (found 300)"),
    ],
)
def test_files_that_are_no_dumps_say_why(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "dump.json"
    path.write_text(text)
    with pytest.raises(DumpError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert rule in str(error.value)


@pytest.mark.parametrize(
    "text", ["holding", "holding:", "holding:5-2", "watts:1", "holding:1-70000", "holding:a-b", "holding:1-"]
)
def test_wrong_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_range(text)


@for_each("path", sorted((Path(__file__).parents[2] / "fixtures" / "dumps").glob("*.json")), lambda path: path.stem)
def test_captures_of_real_devices_are_dumps(tmp_path: Path, path: Path) -> None:
    dump = load(path)
    assert dump.count
    (tmp_path / "again.json").write_text(to_json(dump))
    assert load(tmp_path / "again.json") == dump
