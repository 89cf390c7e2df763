"""Words to values and back: every type, every order of words and bytes, one value or a whole request."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.model import WORD_ORDERS, Quality, Resolution, Value, WordOrder
from drivers.registers.block_codec import Cell, block_decoder
from drivers.registers.codec import FORMATS, Encoding, decoder, encode, linear

ORDERS = st.sampled_from(["big", "little", "big_swapped", "little_swapped"])
INTEGERS = sorted(set(FORMATS) - {"bool", "bitfield", "float32", "float64"})


def bounds(type_: str) -> tuple[int, int]:
    bits = Encoding(type_).bits
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if type_.startswith("int") else (0, 2**bits - 1)


@given(st.sampled_from(INTEGERS), ORDERS, st.sampled_from([1.0, 0.1, 0.01, -0.001, 10.0, -1.0]), st.data())
def test_integers_round_trip(type_: str, order: Any, scale: float, data: st.DataObject) -> None:
    low, high = bounds(type_)
    raw = data.draw(st.integers(max(low, -(2**50)), min(high, 2**50)))
    encoding = Encoding(type_, word_order=order, scale=scale)
    value, quality = decoder(encoding)(encode(Encoding(type_, word_order=order), float(raw)))
    assert quality is Quality.GOOD
    assert value == pytest.approx(raw * scale, rel=1e-12)
    assert value is not None
    assert decoder(encoding)(encode(encoding, value)) == (value, quality)


@given(st.sampled_from(["float32", "float64"]), ORDERS, st.data())
def test_floats_round_trip(type_: str, order: Any, data: st.DataObject) -> None:
    value = data.draw(st.floats(width=32 if type_ == "float32" else 64, allow_nan=False, allow_infinity=False))
    encoding = Encoding(type_, word_order=order)
    assert decoder(encoding)(encode(encoding, value)) == (value, Quality.GOOD)


@given(st.text("ABCxyz019-. ", min_size=1, max_size=12), ORDERS)
def test_text_round_trips_but_for_the_blanks_around_it(text: str, order: Any) -> None:
    encoding = Encoding("string", length=6, word_order=order)
    expected = (text.strip(), Quality.GOOD) if text.strip() else (None, Quality.MISSING)
    assert decoder(encoding)(encode(encoding, text)) == expected


@given(st.integers(0, 31), st.integers(0, 2**32 - 1), ORDERS)
def test_a_bit_is_the_same_bit_in_every_order(bit: int, raw: int, order: Any) -> None:
    words = encode(Encoding("uint32", word_order=order), float(raw))
    assert decoder(Encoding("uint32", word_order=order, bit=bit))(words) == (raw >> bit & 1 == 1, Quality.GOOD)


@given(st.integers(0, 255), st.integers(0, 255))
def test_two_bytes_of_a_register_are_two_values_in_every_word_order(high: int, low: int) -> None:
    orders: tuple[WordOrder, ...] = ("big", "little", "big_swapped", "little_swapped")
    for order in orders:
        first, second = (low, high) if WORD_ORDERS[order].bytes_swapped else (high, low)
        for type_, value in (("uint8_high", first), ("uint8_low", second)):
            assert decoder(Encoding(type_, word_order=order))([high << 8 | low]) == (value, Quality.GOOD)


@pytest.mark.parametrize(("raw", "good"), [(-6, False), (-5, True), (100, True), (101, False)])
def test_the_ends_of_a_range_are_in_it(raw: int, good: bool) -> None:
    value = decoder(Encoding("int16", scale=0.1, minimum=-0.5, maximum=10.0))([raw & 0xFFFF])
    assert value == ((raw / 10, Quality.GOOD) if good else (None, Quality.INVALID))


def test_bits_without_names_may_still_say_that_they_are_none() -> None:
    decode = decoder(Encoding("bits", length=2, invalid=(3,)))
    assert decode([1, 1]) == (None, Quality.MISSING)
    assert decode([1, 0]) == (None, Quality.INVALID)


@given(st.integers(2, 8), ORDERS, st.data())
def test_bits_are_one_number_with_the_first_one_least(length: int, order: Any, data: st.DataObject) -> None:
    """Whatever the order of words, which is for registers."""
    words = data.draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
    number = sum(bit << place for place, bit in enumerate(words))
    other = (number + 1) % 2**length
    encoding = Encoding("bits", length=length, word_order=order, values={number: "on"}, invalid=(other,))
    assert decoder(encoding)(words) == ("on", Quality.GOOD)
    assert encode(encoding, "on") == words
    assert decoder(encoding)([other >> place & 1 for place in range(length)]) == (None, Quality.MISSING)
    neither = (number + 2) % 2**length
    assert decoder(encoding)([neither >> place & 1 for place in range(length)]) == (None, Quality.INVALID)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("big", [0x0102, 0x0304]),
        ("little", [0x0304, 0x0102]),
        ("big_swapped", [0x0201, 0x0403]),
        ("little_swapped", [0x0403, 0x0201]),
    ],
)
def test_the_four_orders_are_abcd_cdab_badc_dcba(order: Any, words: list[int]) -> None:
    assert encode(Encoding("uint32", word_order=order), 0x01020304) == words
    assert decoder(Encoding("uint32", word_order=order))(words) == (float(0x01020304), Quality.GOOD)
    text = Encoding("string", length=2, word_order=order)
    swapped = order.endswith("swapped")
    assert decoder(text)([0x4241, 0x4443] if swapped else [0x4142, 0x4344]) == ("ABCD", Quality.GOOD)


@pytest.mark.parametrize(
    ("encoding", "words", "expected"),
    [
        (Encoding("uint16", scale=0.1), [2301], 230.1),
        (Encoding("uint16", scale=0.001), [1], 0.001),
        (Encoding("int16", scale=-1.0), [0], 0.0),
        (Encoding("uint16", scale=0.1, offset=-40.0), [500], 10.0),
        (Encoding("int32", word_order="little"), [0xFFFE, 0xFFFF], -2),
        (Encoding("int16", scale=10, magnitude=True), [0xFFFE], 20),
        (Encoding("int16", scale=10, magnitude=True), [2], 20),
        (Encoding("int16", magnitude=True, invalid=(0x7FFF,)), [0x8001], 32_767),
        (Encoding("uint64"), [0, 0, 0, 7], 7),
        (Encoding("uint16", bit=3), [0b1000], True),
        (Encoding("uint16", bit=3), [0b0111], False),
        (Encoding("uint16", values={2: "on"}), [2], "on"),
        (Encoding("uint16", bit=1, values={0: "off", 1: "on"}), [2], "on"),
        (Encoding("uint16", bit=1, values={0: "off", 1: "on"}), [0b101], "off"),
        (Encoding("bool"), [1], True),
        (Encoding("bool"), [2], True),
        (Encoding("bool"), [0], False),
        (Encoding("bool", invalid=(0xFFFF,), on_invalid="zero"), [0xFFFF], False),
        (Encoding("uint16", bit=3, invalid=(0xFFFF,), on_invalid="zero"), [0xFFFF], False),
        (Encoding("string"), [0x4142], "AB"),
        (Encoding("string", length=2), [0xE442, 0x4344], "\ufffdBCD"),
        (Encoding("string", length=2), [0x4142, 0x4300], "ABC"),
    ],
)
def test_good_values(encoding: Encoding, words: list[int], expected: Value) -> None:
    value, quality = decoder(encoding)(words)
    assert (value, quality) == (expected, Quality.GOOD)
    assert type(value) is (
        float
        if isinstance(expected, int | float) and expected is not True and expected is not False
        else type(expected)
    )
    assert not (isinstance(value, float) and math.copysign(1, value) < 0 and value == 0)


NAN = [0x7FC0, 0]
ALL_ONES_64 = (1 << 64) - 1


@pytest.mark.parametrize(
    ("type_", "invalid", "words"),
    [
        ("int16", 0x8000, [0x8000]),
        ("uint16", 0xFFFF, [0xFFFF]),
        ("int32", 0x80000000, [0x8000, 0]),
        ("int32", 0x7FFFFFFF, [0x7FFF, 0xFFFF]),
        ("uint32", 0xFFFFFFFF, [0xFFFF, 0xFFFF]),
        ("float32", 0xFFFFFFFF, [0xFFFF, 0xFFFF]),
        ("float32", 0x80000000, [0x8000, 0]),
        ("int64", 1 << 63, [0x8000, 0, 0, 0]),
        ("uint64", ALL_ONES_64, [0xFFFF] * 4),
        ("float64", 0x7FF8 << 48, [0x7FF8, 0, 0, 0]),
        ("float32", None, NAN),
        ("float32", None, [0x7F80, 0]),
        ("float64", None, [0xFFF0, 0, 0, 0]),
    ],
)
def test_not_available_is_missing_or_by_choice_zero_and_nothing_else_is(
    type_: str, invalid: int | None, words: list[int]
) -> None:
    known = () if invalid is None else (invalid,)
    assert decoder(Encoding(type_, invalid=known))(words) == (None, Quality.MISSING)
    assert decoder(Encoding(type_, invalid=known, on_invalid="zero"))(words) == (0.0, Quality.GOOD)
    if invalid is not None and not type_.startswith("float"):
        assert decoder(Encoding(type_))(words)[1] is Quality.GOOD
        assert decoder(Encoding(type_, invalid=known))([*words[:-1], words[-1] ^ 1])[1] is Quality.GOOD


def test_a_float_s_zero_is_not_its_negative_sentinel() -> None:
    encoding = Encoding("float32", invalid=(0x80000000,))
    assert decoder(encoding)([0, 0]) == (0.0, Quality.GOOD)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        (Encoding("uint16", values={2: "on"}), [3]),
        (Encoding("uint16", maximum=100), [101]),
        (Encoding("int16", minimum=0), [0xFFFF]),
        (Encoding("float32", maximum=1e6), [0x7F00, 0]),
    ],
)
def test_what_cannot_be_is_invalid(encoding: Encoding, words: list[int]) -> None:
    assert decoder(encoding)(words) == (None, Quality.INVALID)


@pytest.mark.parametrize(
    ("encoding", "value", "why"),
    [
        (Encoding("uint16"), -1.0, "-1.0 does not fit uint16 with scale 1"),
        (Encoding("uint16", scale=0.1), 7000.0, r"7000.0 does not fit uint16 with scale 0.1"),
        (Encoding("int32"), math.inf, "inf does not fit int32"),
        (Encoding("int32"), math.nan, "nan does not fit int32"),
        (Encoding("float32"), 1e39, r"1e\+39 does not fit float32 with scale 1"),
        (Encoding("string", length=1), "ABC", "'ABC' does not fit 1 registers"),
        (Encoding("uint16", values={2: "on"}), "off", "'off' is none of on"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_so(encoding: Encoding, value: Value, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode(encoding, value)


def encodings() -> st.SearchStrategy[Encoding]:
    numeric = st.builds(
        Encoding,
        st.sampled_from([*INTEGERS, "float32", "float64"]),
        word_order=ORDERS,
        scale=st.sampled_from([1.0, 0.1, -0.01, 1000.0]),
        offset=st.sampled_from([0.0, -40]),
        magnitude=st.booleans(),
        invalid=st.sampled_from([(), (0x8000,), (0,)]),
        on_invalid=st.sampled_from(["missing", "zero"]),
        maximum=st.sampled_from([None, 1000.0]),
    )
    texts = st.builds(Encoding, st.just("string"), length=st.integers(1, 3), word_order=ORDERS)
    bits = st.builds(Encoding, st.just("bitfield"), word_order=ORDERS, bit=st.integers(0, 15))
    states = st.sampled_from(
        [
            Encoding("bool"),
            Encoding("uint16", values={0: "off", 0x8000: "on"}),
            Encoding("bitfield", bit=15, values={0: "off", 1: "on"}),
            Encoding("bits", length=2, values={0: "off"}),
        ]
    )
    return st.one_of(numeric, texts, bits, states)


@given(st.lists(st.tuples(st.integers(0, 12), encodings()), min_size=1, max_size=8), st.data())
def test_a_whole_request_decodes_as_its_values_one_by_one(
    found: list[tuple[int, Encoding]], data: st.DataObject
) -> None:
    count = max(offset + encoding.width for offset, encoding in found) + data.draw(st.integers(0, 3))
    words: Sequence[int] = data.draw(
        st.lists(
            st.one_of(st.integers(0, 0xFFFF), st.sampled_from([0, 0x8000, 0x7FC0])), min_size=count, max_size=count
        )
    )
    cells = tuple(Cell(offset, encoding, slot) for slot, (offset, encoding) in enumerate(found))
    values: list[Value | None] = ["not written"] * len(cells)
    qualities = [Quality.GOOD] * len(cells)
    block_decoder(cells, count)(words, values, qualities)
    for cell, value, quality in zip(cells, values, qualities, strict=True):
        expected = decoder(cell.encoding)(words[cell.offset : cell.end])
        assert (value, quality) == expected
        assert type(value) is type(expected[0])
        assert (value is None) == (quality is not Quality.GOOD)
        assert not isinstance(value, float) or (math.isfinite(value) and str(value) != "-0.0")


@pytest.mark.parametrize(
    ("encoding", "scale"),
    [(Encoding("float32"), None), (Encoding("float32", scale=0.1), (1, 10)), (Encoding("int16"), (1, 1))],
)
def test_a_float_without_a_scale_is_not_scaled(encoding: Encoding, scale: object) -> None:
    found = linear(encoding)
    assert found is not None
    assert found[3] == scale


class _Counted(list[Any]):
    """Counts how often it is read from the beginning, and how often an item is written."""

    reads = writes = 0

    def __iter__(self) -> Iterator[Any]:
        self.reads += 1
        return super().__iter__()

    def __setitem__(self, *args: Any) -> None:
        self.writes += 1
        super().__setitem__(*args)


def test_values_that_do_not_overlap_are_unpacked_together_and_written_once() -> None:
    """Each poll does this for each value; docs/benchmarks.md has the limit of its CPU time."""
    cells = tuple(Cell(2 * slot, Encoding("float32"), slot) for slot in range(20))
    words, values = _Counted(encode(Encoding("float32"), 231.5) * 20), _Counted([None] * 20)
    block_decoder(cells, 40)(words, values, [Quality.GOOD] * 20)
    assert values == [231.5] * 20
    assert (words.reads, values.writes) == (1, 20)


def test_words_are_packed_as_struct_does() -> None:
    assert encode(Encoding("float32"), 231.5) == list(struct.unpack(">HH", struct.pack(">f", 231.5)))
    assert encode(Encoding("uint64"), 2**63 + 1) == [0x8000, 0, 0, 1], "more digits than a float has"


@pytest.mark.parametrize(
    ("encoding", "value", "words"),
    [
        (Encoding("uint16", scale=0.1, offset=-40.0), 10, [500]),
        (Encoding("uint16", scale=10.0), 20, [2]),
        (Encoding("uint16", offset=-40.0), 10, [50]),
        (Encoding("float32", scale=1000.0, offset=5.0), 2005.0, encode(Encoding("float32"), 2.0)),
        (Encoding("uint16", bit=3), True, [0b1000]),
        (Encoding("uint16", bit=3), False, [0]),
        (Encoding("uint16", bit=3, values={0: "off", 1: "on"}), "on", [0b1000]),
        (Encoding("uint16", bit=3, values={0: "off", 1: "on"}), "off", [0]),
        (Encoding("uint16", values={4: "on", 7: "on"}), "on", [4]),
        (Encoding("bool"), True, [1]),
        (Encoding("string", length=2), "ABCD", [0x4142, 0x4344]),
        (Encoding("bits", length=2, values={2: "on"}), "on", [0, 1]),
    ],
)
def test_the_words_of_a_value(encoding: Encoding, value: Any, words: list[int]) -> None:
    assert encode(encoding, value) == words
    assert decoder(encoding)(words) == (value, Quality.GOOD)


@pytest.mark.parametrize(
    ("encoding", "resolution"),
    [
        (Encoding("uint8_high", scale=-0.5), Resolution(0.5, 128.0)),
        (Encoding("uint8_low"), Resolution(1.0, 256.0)),
        (Encoding("int16"), Resolution(1.0, 65536.0)),
        (Encoding("bitfield"), Resolution(1.0, 65536.0)),
        (Encoding("uint64"), Resolution(1.0, 2.0**64)),
        *(
            (encoding, None)
            for encoding in (
                Encoding("float32"),
                Encoding("float64"),
                Encoding("string"),
                Encoding("bits"),
                Encoding("bool"),
                Encoding("uint16", bit=0),
                Encoding("uint16", values={}),
            )
        ),
    ],
)
def test_integers_have_a_resolution(encoding: Encoding, resolution: Resolution | None) -> None:
    assert encoding.resolution == resolution


@pytest.mark.parametrize(
    ("type_", "length", "width"),
    [("string", 3, 3), ("bits", 7, 7), ("uint8_low", 3, 1), ("uint16", 3, 1), ("float32", 3, 2), ("int64", 3, 4)],
)
def test_only_texts_and_bits_have_a_length(type_: str, length: int, width: int) -> None:
    assert (Encoding(type_, length).width, Encoding("string").width, Encoding("bits").width) == (width, 1, 1)


def test_devices_of_one_family_share_their_decoder() -> None:
    """And one that differs in a single key, even in the names of its numbers, has its own."""
    on, running = ({0: "off", 1: name} for name in ("on", "running"))

    def made(**keys: Any) -> object:
        return block_decoder((Cell(0, Encoding("uint16", **keys), 0),), 1)

    assert made(values=on) is made(values=dict(on))
    assert len({made(values=on), made(values=running), made(), made(scale=0.1)}) == 4
