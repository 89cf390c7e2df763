"""Encodes and decodes frames with pymodbus' framers, and checks that a frame is the reply to a request.

`accept` receives all bytes that arrived since the request was sent. It returns the values of the reply, or None while
the reply is incomplete. It raises `RefusedError` or `GatewayError` for an exception reply, and `BadReplyError` if the
bytes cannot become the reply. A reply is accepted only if transaction, unit id, function code, byte count, length and
checksum match the request, as far as the framing has them.
"""

from __future__ import annotations

from binascii import unhexlify
from typing import Protocol, TypeVar

from pymodbus.framer import FramerAscii, FramerRTU, FramerSocket

from drivers.errors import BadReplyError
from drivers.modbus.pdu import REPLIES, Question
from drivers.protocol import EXCEPTION, MAX_PDU

Answer = TypeVar("Answer")

_MBAP_LENGTHS = range(2, MAX_PDU + 2)
"""Valid values of the length field: at least unit id and function code."""


class Framing(Protocol):
    """Encodes requests and recognises their replies."""

    def encode(self, request: Question[object]) -> bytes: ...

    def accept(self, request: Question[Answer], received: bytes) -> Answer | None: ...


class Mbap:
    """Modbus over TCP, TLS and UDP: a header with transaction and length, no checksum."""

    _framer = FramerSocket(REPLIES)

    def encode(self, request: Question[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: Question[Answer], received: bytes) -> Answer | None:
        while len(received) >= self._framer.MIN_SIZE:
            end, unit_id, transaction, pdu = self._framer.decode(received)
            if not pdu:
                if not is_mbap(received):
                    raise BadReplyError(f"{request}: the received bytes are not Modbus")
                return None
            if transaction == request.transaction:
                if unit_id != request.unit_id:
                    raise BadReplyError(f"{request}: the reply is from unit {unit_id}")
                if len(received) > end:
                    raise BadReplyError(f"{request}: the reply has a wrong length")
                return request.decode(pdu)
            # The frame is a duplicate, or a gateway's reply to an earlier request. The reply may follow it.
            received = received[end:]
        return None


def is_mbap(received: bytes) -> bool:
    """Whether the bytes begin with an MBAP header. For bytes that are no complete frame yet."""
    return not any(received[2:4]) and int.from_bytes(received[4:6], "big") in _MBAP_LENGTHS


class Rtu:
    """Modbus on a serial line: unit id, data, CRC-16. There is no start mark, end mark or transaction."""

    _framer = FramerRTU(REPLIES)

    def encode(self, request: Question[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: Question[Answer], received: bytes) -> Answer | None:
        # Noise, an echo of the request or a late reply of another unit may precede the reply. pymodbus' framer then
        # discards all bytes. So every possible start is tried; pymodbus' PDU classes give the length of the frame.
        for function in (request.function, request.function | EXCEPTION):
            start = received.find(head := bytes((request.unit_id, function)))
            while start >= 0:
                frame = received[start:]
                size = _rtu_size(frame)
                if 0 < size <= len(frame) and crc16(frame[: size - 2]) == frame[size - 2 : size]:
                    return request.decode(frame[1 : size - 2])
                start = received.find(head, start + 1)
        return None


class Ascii:
    """Modbus on a serial line in hexadecimal: colon, unit id, data, LRC, carriage return, line feed."""

    _framer = FramerAscii(REPLIES)

    def encode(self, request: Question[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: Question[Answer], received: bytes) -> Answer | None:
        # Other bytes may precede the reply, as for RTU. A frame begins at the last colon of its line. The sum of all
        # bytes with the LRC is zero.
        for line in received.split(b"\r\n")[:-1]:
            _, colon, digits = line.rpartition(b":")
            frame = _unhex(digits) if colon else b""
            if len(frame) >= 4 and frame[0] == request.unit_id and sum(frame) & 0xFF == 0:
                return request.decode(frame[1:-1])
        return None


def _rtu_size(frame: bytes) -> int:
    """Length in bytes of the frame that begins here, with its checksum; 0 while unknown."""
    if len(frame) < FramerRTU.MIN_SIZE or (pdu := REPLIES.lookupPduClass(frame)) is None:
        return 0
    return pdu.calculateRtuFrameSize(frame)


def crc16(frame: bytes) -> bytes:
    """Return the RTU checksum, low byte first as on the wire."""
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


_CRC = tuple(FramerRTU.crc16_table)


def _unhex(digits: bytes) -> bytes:
    try:
        return unhexlify(digits)
    except ValueError:
        return b""
