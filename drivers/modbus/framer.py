"""Frames by pymodbus' framers, and the rules by which a frame answers a request.

A framing's `accept` sees all bytes received since the request was sent and gives the values of its reply, or None while
the reply is not complete. It raises `RefusedError` or `GatewayError` for an exception, and `BadReplyError` when what
came cannot become the reply. A reply counts only when transaction, unit id, function code, byte count, length and
checksum, as far as the framing has them, are exactly what the request asks for.
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
"""At least unit id and function code."""


class Framing(Protocol):
    """How a request and its reply travel."""

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
                    raise BadReplyError(f"{request}: what came is not Modbus")
                return None
            if transaction == request.transaction:
                if unit_id != request.unit_id:
                    raise BadReplyError(f"{request}: the reply is from unit {unit_id}")
                if len(received) > end:
                    raise BadReplyError(f"{request}: the reply has another length than asked for")
                return request.decode(pdu)
            # A second copy, or what a gateway still had for an earlier request: ours may stand behind it.
            received = received[end:]
        return None


def is_mbap(received: bytes) -> bool:
    """Whether bytes, of which pymodbus makes no frame yet, begin with the header of one."""
    return not any(received[2:4]) and int.from_bytes(received[4:6], "big") in _MBAP_LENGTHS


class Rtu:
    """Modbus on a serial line: unit id, data, CRC-16; no start, no end, no transaction."""

    _framer = FramerRTU(REPLIES)

    def encode(self, request: Question[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: Question[Answer], received: bytes) -> Answer | None:
        # The line may carry noise, an echo of the request or another unit's late reply before ours: pymodbus' framer
        # drops all bytes when the first are no frame. Its PDUs say how long the frame at each possible place is.
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
        # As for RTU: each line stands for itself, from its last colon. The LRC makes the sum of all bytes zero.
        for line in received.split(b"\r\n")[:-1]:
            _, colon, digits = line.rpartition(b":")
            frame = _unhex(digits) if colon else b""
            if len(frame) >= 4 and frame[0] == request.unit_id and sum(frame) & 0xFF == 0:
                return request.decode(frame[1:-1])
        return None


def _rtu_size(frame: bytes) -> int:
    """Bytes of the frame that begins here, with its checksum; 0 while they are not known."""
    if len(frame) < FramerRTU.MIN_SIZE or (pdu := REPLIES.lookupPduClass(frame)) is None:
        return 0
    return pdu.calculateRtuFrameSize(frame)


def crc16(frame: bytes) -> bytes:
    """The checksum of RTU, in the order of the wire."""
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
