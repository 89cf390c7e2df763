"""Frames, against the device's side of the tests, which shares no code with pymodbus."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, IllegalAddressError
from drivers.modbus.framer import Ascii, Framing, Mbap, Rtu, is_mbap
from drivers.modbus.pdu import ReadRequest
from drivers.model import Table
from drivers.protocol import FUNCTIONS
from tests.faults import framing as device

PAIRS: list[tuple[Framing, device.Framing]] = [
    (Mbap(), device.Mbap()),
    (Rtu(), device.Rtu()),
    (Ascii(), device.Ascii()),
]
framings = pytest.mark.parametrize(("framing", "theirs"), PAIRS, ids=["mbap", "rtu", "ascii"])
words = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125)
units = st.integers(0, 255)
transactions = st.integers(1, 0xFFFF)


def registers(words: list[int]) -> bytes:
    return bytes((3, 2 * len(words))) + struct.pack(f">{len(words)}H", *words)


@framings
@given(st.sampled_from(Table), units, st.integers(0, 0xFF00), st.integers(1, 125), transactions)
def test_requests_are_what_a_device_understands(
    framing: Framing,
    theirs: device.Framing,
    table: Table,
    unit_id: int,
    address: int,
    count: int,
    transaction: int,
) -> None:
    frame = framing.encode(ReadRequest(unit_id, table, address, count, transaction))
    pdu = struct.pack(">BHH", FUNCTIONS[table], address, count)
    numbered = transaction if isinstance(framing, Mbap) else 0
    assert theirs.split(frame) == ([device.Query(unit_id, pdu, numbered)], b"")
    assert theirs.build(device.Query(unit_id, pdu, transaction)) == frame


@framings
@given(words, units, transactions, st.data())
def test_replies_are_accepted_when_complete_and_not_before(
    framing: Framing,
    theirs: device.Framing,
    words: list[int],
    unit_id: int,
    transaction: int,
    data: st.DataObject,
) -> None:
    frame = theirs.build(device.Query(unit_id, registers(words), transaction))
    request = ReadRequest(unit_id, Table.HOLDING, 0, len(words), transaction)
    assert list(framing.accept(request, frame) or ()) == words
    part = frame[: data.draw(st.integers(0, len(frame) - 1))]
    assert framing.accept(request, part) is None


@framings
@given(st.lists(st.integers(0, 1), min_size=1, max_size=2000))
def test_bits(framing: Framing, theirs: device.Framing, bits: list[int]) -> None:
    data = sum(bit << place for place, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    frame = theirs.build(device.Query(1, bytes((1, len(data))) + data, 5))
    answer = framing.accept(ReadRequest(1, Table.COIL, 0, len(bits), 5), frame)
    assert list(answer or ()) == bits
    assert {type(bit) for bit in answer or ()} == {int}
    with pytest.raises(BadReplyError):
        framing.accept(ReadRequest(1, Table.COIL, 0, 8 * len(data) % 2000 + 1, 5), frame)


def test_the_specification_s_examples() -> None:
    # Modbus over serial line V1.02, and the widely published request for ten holding registers of unit 17.
    assert Rtu().encode(ReadRequest(0x11, Table.HOLDING, 0x006B, 3)).hex() == "1103006b00037687"
    assert Ascii().encode(ReadRequest(0x11, Table.HOLDING, 0x006B, 3)) == b":1103006B00037E\r\n"
    # Appendix B of the former: the CRC of 02 07 is 1241, its low byte first.
    assert device.crc(bytes.fromhex("0207")) == bytes.fromhex("4112")


@framings
def test_an_exception_is_told_from_data(framing: Framing, theirs: device.Framing) -> None:
    frame = theirs.build(device.Query(1, b"\x83\x02", 9))
    with pytest.raises(IllegalAddressError, match="unit 1, holding 40000-40069: Modbus exception 2"):
        framing.accept(ReadRequest(1, Table.HOLDING, 40000, 70, 9), frame)


@framings
def test_an_exception_of_another_function_is_no_exception_of_the_request(
    framing: Framing, theirs: device.Framing
) -> None:
    with suppress(BadReplyError):
        assert (
            framing.accept(ReadRequest(1, Table.HOLDING, 0, 2, 9), theirs.build(device.Query(1, b"\x84\x02", 9)))
            is None
        )


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("0001 0000 0001", False),
        ("0001 0000 0002 01", True),
        ("0001 0000 00FE 01", True),
        ("0001 0000 00FF", False),
        ("0001 0000 0106", False),
        ("0001 0100 0006", False),
        ("0001 0001 0006", False),
    ],
)
def test_a_header_has_protocol_0_and_a_length_of_2_to_254(header: str, accepted: bool) -> None:
    assert is_mbap(bytes.fromhex(header)) == accepted


def test_noise_that_is_the_unit_id_hides_no_reply() -> None:
    """The unit id is the function code, so a frame seems to begin one byte early."""
    frame = device.Rtu().build(device.Query(3, b"\x03\x02\x12\x34"))
    assert list(Rtu().accept(ReadRequest(3, Table.HOLDING, 0, 1), b"\x03" + frame) or ()) == [0x1234]


def test_a_checksum_that_differs_by_one_is_wrong() -> None:
    frame = device.Ascii().build(device.Query(1, b"\x03\x02\x12\x34"))
    request = ReadRequest(1, Table.HOLDING, 0, 1)
    digits = int(frame[-4:-2], 16)
    for other in (digits - 1, digits + 1):
        assert Ascii().accept(request, frame[:-4] + b"%02X\r\n" % other) is None


@framings
def test_what_carries_no_data_is_no_reply(framing: Framing, theirs: device.Framing) -> None:
    request = ReadRequest(1, Table.HOLDING, 0, 2, 9)
    for pdu in (
        b"",
        b"\x03",
        b"\x83",
        b"\x03\x04",
        b"\x03\x04\x00\x01\x00",
        b"\x03\x03\x00\x01\x00\x02",
        b"\x83\x02\x00",
    ):
        with suppress(BadReplyError):
            assert framing.accept(request, theirs.build(device.Query(1, pdu, 9))) is None


def test_a_reply_behind_another_unit_s_in_one_piece() -> None:
    request = ReadRequest(2, Table.HOLDING, 0, 1)
    for framing, theirs in PAIRS[1:]:
        # It looks like the beginning of a reply of unit 2.
        foreign = theirs.build(device.Query(1, b"\x03\x04\x02\x03\x02\x03"))
        assert framing.accept(request, foreign) is None
        own = theirs.build(device.Query(2, b"\x03\x02\x12\x34"))
        assert list(framing.accept(request, foreign + own) or ()) == [0x1234]


@pytest.mark.parametrize(
    "noise", [b":0103FC\r\n", b":zz0304\r\n", b":\r\n", b":+1030200010A\r\n", b":0x0302000\r\n", b"\r\n\r\n", b":0"]
)
def test_a_line_that_is_not_hexadecimal_hides_no_reply(noise: bytes) -> None:
    frame = device.Ascii().build(device.Query(1, b"\x03\x02\x12\x34"))
    request = ReadRequest(1, Table.HOLDING, 0, 1)
    assert Ascii().accept(request, noise) is None
    assert list(Ascii().accept(request, noise + frame) or ()) == [0x1234]
