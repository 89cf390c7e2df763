"""Chains of models that no device should have: a scan or an error in bounded reads, and text that is safe to paste."""

from __future__ import annotations

import asyncio
import math
import tomllib
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.commissioning.config_snippets import as_json, device_tables
from drivers.driver import ReadOptions
from drivers.errors import DriverError, exception_reply
from drivers.modbus import LinkSettings
from drivers.model import Table
from drivers.scan import FoundUnit, Identifier, SearchLocation
from drivers.sunspec.driver import SunSpec
from tests.faults.sunspec import SUNS, FakeReader, common, inverter, model, words
from tests.support.profiles import PROFILES, families

MOST_READS = 400
KNOWN = [1, 101, 103, 111, 113, 120, 124, 160, 201, 203, 213, 701, 704, 713, 714, 801, 802, 803, 804, 805]
WORD = st.one_of(st.integers(0, 0xFFFF), st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x1B5B, 0x9B33, 0x202E]))
# Bytes of a string point; the device says what it likes.
EVIL = st.one_of(
    st.binary(max_size=32), st.text(max_size=10).map(str.encode), st.just("\x1b[2J\x9b31m\u202e\nhost = 1\n".encode())
)


def padded(text: bytes) -> list[int]:
    return words("32s", text[:32])  # type: ignore[arg-type]  # struct takes bytes for "s"


@st.composite
def models(draw: st.DrawFn) -> list[int]:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        strings = padded(draw(EVIL)) + padded(draw(EVIL)) + [0] * 16 + padded(draw(EVIL))
        return model(1, 66, {0: strings})
    if kind == 1:
        return inverter(
            draw(st.sampled_from([101, 103])), **{name: draw(WORD) for name in ("W", "W_SF", "WH_SF", "V_SF")}
        )
    length = draw(st.one_of(st.integers(0, 300), st.sampled_from([0, 1, 105, 0xFFFE, 0xFFFF])))
    kept = min(length, 300)
    data = draw(st.lists(WORD, min_size=1, max_size=40))
    return [draw(st.one_of(st.sampled_from(KNOWN), WORD)), length, *(data * (kept // len(data) + 1))[:kept]]


CHAINS = st.lists(models(), max_size=8).map(lambda chain: [*SUNS, *(word for each in chain for word in each)])


def registers(chain: list[int], base: int) -> dict[int, int]:
    return {address: word for address, word in enumerate(chain, base) if address < 0x1_0000}


@given(CHAINS, st.sampled_from([40000, 50000, 0, 65_500]), st.booleans())
@settings(max_examples=100)
@example([*SUNS, *[1, 2, 0, 0] * 1000], 40000, True)
def test_any_chain_is_a_scan_of_numbers_or_an_error(chain: list[int], base: int, repeat: bool) -> None:
    reader = FakeReader(registers(chain, base))
    driver = SunSpec(ReadOptions())
    for _ in range(1 + repeat):
        reader.asked.clear()
        try:
            scan = asyncio.run(driver.poll(reader, lambda: 0.0))
        except DriverError:
            continue
        finally:
            assert len(reader.asked) <= MOST_READS
        assert all(not isinstance(each.value, float) or math.isfinite(each.value) for each in scan.readings)


class AnyDevice(FakeReader):
    """Every table has the registers of a chain; elsewhere it has `filler`, or exception 2 without any."""

    def __init__(self, chain: list[int], filler: list[int]) -> None:
        super().__init__(registers(chain, 40000))
        self.filler = filler

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.asked.append((address, count))
        bits = table in (Table.COIL, Table.DISCRETE)
        found = []
        for place in range(address, address + count):
            if place not in self.registers and not self.filler:
                raise exception_reply(2, f"{table} {place}")
            word = self.registers[place] if place in self.registers else self.filler[place % len(self.filler)]
            found.append(word & 1 if bits else word)
        return found


@given(CHAINS, st.lists(WORD, max_size=7), st.lists(EVIL.map(lambda text: text.decode("latin-1")), max_size=3))
@settings(max_examples=40)
@example([*SUNS, *common("\x1b]0;x\x07", "\u202emodel", "\n[[device]]")], [], ["\n[[device]]\nnode_id = 'x'"])
def test_what_a_scan_prints_can_be_pasted_whatever_the_device_says(
    chain: list[int], filler: list[int], labels: list[str]
) -> None:
    device = AnyDevice(chain, filler)
    identity = asyncio.run(Identifier(families(), lambda: 0.0).identify(device))
    identity.labels = tuple(labels)
    place = SearchLocation(LinkSettings(host="10.0.0.1"), [FoundUnit(1, identity)], note="".join(labels))
    text = device_tables([place])
    assert all(line.isprintable() and len(line) <= 500 for line in text.split("\n"))
    tables = tomllib.loads(text)
    assert len(tables.get("device", [])) <= 1 + sum(len(match.further) for match in identity.matches[:1])
    assert "\x1b" not in as_json([place])
    assert len(device.asked) <= MOST_READS + 2 * len(PROFILES)
