"""Frames, against pymodbus' framers as an independent opinion."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii, FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadCoilsResponse, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
)

from drivers.errors import BadReplyError, IllegalAddressError
from drivers.modbus.framer import Ascii, Framing, Mbap, ReadRequest, Rtu, crc16, lrc
from drivers.model import Table

PAIRS: list[tuple[Framing, type[FramerBase]]] = [(Mbap(), FramerSocket), (Rtu(), FramerRTU), (Ascii(), FramerAscii)]
framings = pytest.mark.parametrize(("framing", "theirs"), PAIRS, ids=["mbap", "rtu", "ascii"])
REQUESTS: dict[Table, type[ModbusPDU]] = {
    Table.COIL: ReadCoilsRequest,
    Table.DISCRETE: ReadDiscreteInputsRequest,
    Table.HOLDING: ReadHoldingRegistersRequest,
    Table.INPUT: ReadInputRegistersRequest,
}
words = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125)
units = st.integers(0, 255)
transactions = st.integers(1, 0xFFFF)


@framings
@given(st.sampled_from(Table), units, st.integers(0, 0xFF00), st.integers(1, 125), transactions)
def test_requests_are_what_pymodbus_sends(
    framing: Framing,
    theirs: type[FramerBase],
    table: Table,
    unit_id: int,
    address: int,
    count: int,
    transaction: int,
) -> None:
    request = REQUESTS[table](dev_id=unit_id, transaction_id=transaction, address=address, count=count)
    expected = theirs(DecodePDU(is_server=False)).buildFrame(request)
    assert framing.encode(ReadRequest(unit_id, table, address, count, transaction)) == expected


@framings
@given(words, units, transactions, st.data())
def test_replies_of_pymodbus_are_accepted_when_complete(
    framing: Framing,
    theirs: type[FramerBase],
    words: list[int],
    unit_id: int,
    transaction: int,
    data: st.DataObject,
) -> None:
    reply = ReadHoldingRegistersResponse(dev_id=unit_id, transaction_id=transaction, registers=words)
    frame = theirs(DecodePDU(is_server=True)).buildFrame(reply)
    request = ReadRequest(unit_id, Table.HOLDING, 0, len(words), transaction)
    assert framing.accept(request, frame) == b"".join(word.to_bytes(2, "big") for word in words)
    part = frame[: data.draw(st.integers(0, len(frame) - 1))]
    assert framing.accept(request, part) is None


@framings
def test_bits(framing: Framing, theirs: type[FramerBase]) -> None:
    reply = ReadCoilsResponse(dev_id=1, transaction_id=5, bits=[True, False, True] + [False] * 5 + [True] + [False] * 7)
    frame = theirs(DecodePDU(is_server=True)).buildFrame(reply)
    assert framing.accept(ReadRequest(1, Table.COIL, 0, 9, 5), frame) == b"\x05\x01"
    with pytest.raises(BadReplyError):
        framing.accept(ReadRequest(1, Table.COIL, 0, 8, 5), frame)


def test_the_specification_s_examples() -> None:
    # Modbus over serial line V1.02, and the widely published request for ten holding registers of unit 17.
    assert Rtu().encode(ReadRequest(0x11, Table.HOLDING, 0x006B, 3)).hex() == "1103006b00037687"
    assert Ascii().encode(ReadRequest(0x11, Table.HOLDING, 0x006B, 3)) == b":1103006B00037E\r\n"
    assert crc16(bytes.fromhex("0207")) == bytes.fromhex("4112")
    assert lrc(bytes.fromhex("1103006B0003")) == b"\x7e"


@framings
def test_an_exception_is_told_from_data(framing: Framing, theirs: type[FramerBase]) -> None:
    frame = theirs(DecodePDU(is_server=True)).encode(b"\x83\x02", 1, 9)
    with pytest.raises(IllegalAddressError, match="unit 1, holding 40000-40069: Modbus exception 2"):
        framing.accept(ReadRequest(1, Table.HOLDING, 40000, 70, 9), frame)


@framings
def test_what_carries_no_data_is_no_reply(framing: Framing, theirs: type[FramerBase]) -> None:
    encode = theirs(DecodePDU(is_server=True)).encode
    request = ReadRequest(1, Table.HOLDING, 0, 2, 9)
    for pdu in (b"\x03", b"\x83", b"\x03\x04", b"\x03\x04\x00\x01\x00", b"\x03\x03\x00\x01\x00\x02", b"\x83\x02\x00"):
        with suppress(BadReplyError):
            assert framing.accept(request, encode(pdu, 1, 9)) is None


def test_a_reply_behind_another_unit_s_in_one_piece() -> None:
    request = ReadRequest(2, Table.HOLDING, 0, 1)
    for framing, build in ((Rtu(), FramerRTU), (Ascii(), FramerAscii)):
        encode = build(DecodePDU(is_server=True)).encode
        foreign = encode(b"\x03\x04\x02\x03\x02\x03", 1, 0)  # looks like the beginning of a reply of unit 2
        assert framing.accept(request, foreign) is None
        assert framing.accept(request, foreign + encode(b"\x03\x02\x12\x34", 2, 0)) == b"\x12\x34"
