"""Encodes and decodes frames with pymodbus' framers, and checks that a frame is the reply to a request.

`accept` receives all bytes that arrived since the request was sent. It returns the values of the reply, or None while
the reply is incomplete. It raises `RefusedError` or `GatewayError` for an exception reply, and `BadReplyError` if the
bytes cannot become the reply. A reply is accepted only if transaction, unit id, function code, byte count, length and
checksum match the request, as far as the framing has them.

Some gateways send a reply twice. On Modbus TCP the second copy is dropped by its transaction, otherwise by its content
(`drivers.modbus.copies`).
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Protocol, TypeVar

from pymodbus.framer import FramerAscii, FramerRTU, FramerSocket

from drivers.errors import BadReplyError, RtuFrameError, WrongTransactionError
from drivers.modbus.copies import Frame
from drivers.modbus.pdu import REPLIES, RequestPdu
from drivers.protocol import EXCEPTION, IDENTIFICATION, MAX_PDU, TABLES

Answer = TypeVar("Answer")

_MBAP = Struct(">HHHB")
"""Transaction, protocol, length of the rest from the unit id on, unit id."""
_MBAP_LENGTHS = range(2, MAX_PDU + 2)
"""Valid values of the length field: at least unit id and function code."""


class Framing(Protocol):
    """Encodes requests and recognises their replies."""

    def encode(self, request: RequestPdu[object]) -> bytes: ...

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None: ...

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        """Return the error for bytes that did not become the reply within the timeout."""
        ...


class LineFraming(Framing, Protocol):
    """The framing of a line. Frames have a checksum, but no transaction number."""

    def frames(self, request: RequestPdu[object], received: bytes) -> Iterator[Frame]:
        """Yield the complete frames that have the unit id and the function code of the reply."""
        ...


class Mbap:
    """Modbus over TCP, TLS and UDP: a header with transaction and length, no checksum."""

    _framer = FramerSocket(REPLIES)

    def encode(self, request: RequestPdu[object]) -> bytes:
        return request.transaction.to_bytes(2, "big") + _numberless(request.unit_id, request.pdu)

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        if len(received) >= _HEAD:
            transaction, protocol, length, unit_id = _MBAP.unpack_from(received)
            is_reply = transaction == request.transaction and unit_id == request.unit_id and not protocol
            if is_reply and length + _COUNTED_FROM == len(received):
                return request.decode(received[_MBAP.size :])  # nearly always: one complete frame
        return self._accept(request, received)

    def _accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        """Handle bytes that are not exactly one frame with the reply."""
        while len(received) >= self._framer.MIN_SIZE:
            end, unit_id, transaction, pdu = self._framer.decode(received)
            if not pdu:
                self._require_modbus(request, received)
                return None
            if transaction == request.transaction:
                if unit_id != request.unit_id:
                    raise BadReplyError(f"{request}: the reply is from unit {unit_id}")
                return request.decode(pdu) if self._copies(request, received[:end], received[end:]) else None
            # The frame is a duplicate, or a gateway's reply to an earlier request. The reply may follow it.
            received = received[end:]
        return None

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        if has_rtu_frame(received):
            return RtuFrameError(f"{request}: {_RTU_FRAMES}")
        _, unit_id, transaction, pdu = self._framer.decode(received)
        same_request = unit_id == request.unit_id and pdu[:1] and pdu[0] & ~EXCEPTION == request.function
        if same_request and transaction != request.transaction:
            return WrongTransactionError(f"{request}: the reply has the transaction number of another request")
        return _no_reply(request, timeout_s)

    @staticmethod
    def _require_modbus(request: RequestPdu[object], received: bytes) -> None:
        """Raise an error if the bytes cannot become a frame."""
        if is_mbap(received):
            return
        if has_rtu_frame(received):
            raise RtuFrameError(f"{request}: {_RTU_FRAMES}")
        if received[1] & ~EXCEPTION not in _FUNCTIONS or _rtu_size(received) <= len(received):
            # It is not the beginning of an RTU frame either.
            raise BadReplyError(f"{request}: the received bytes are not Modbus")

    @staticmethod
    def _copies(request: RequestPdu[object], frame: bytes, rest: bytes) -> bool:
        """Whether `rest` is empty or consists of copies of the frame. False if the last copy is incomplete.

        A gateway that reads the device twice may send different values. So only the header, the function code and the
        byte count of a copy are compared.
        """
        while rest:
            head = min(len(rest), _HEAD, len(frame))
            if rest[:head] != frame[:head]:
                raise BadReplyError(f"{request}: the reply has a wrong length")
            if len(rest) < len(frame):
                return False
            rest = rest[len(frame) :]
        return True


def is_mbap(received: bytes) -> bool:
    """Whether the bytes begin with an MBAP header. They need not be a complete frame."""
    return not any(received[2:4]) and int.from_bytes(received[4:6], "big") in _MBAP_LENGTHS


@lru_cache(maxsize=1024)
def _numberless(unit_id: int, pdu: bytes) -> bytes:
    """Return the frame of a request without its transaction. Cached, because each poll sends the same requests."""
    return FramerSocket(REPLIES).encode(pdu, unit_id, 0)[2:]


_COUNTED_FROM = 6
"""Number of bytes before those that the length field counts."""
_HEAD = 9
"""Number of bytes of transaction, protocol, length, unit id, function code and byte count."""
_RTU_FRAMES = "the replies are RTU frames, not Modbus TCP"
_FUNCTIONS = frozenset({*TABLES, IDENTIFICATION})


class Rtu:
    """Modbus on a serial line: unit id, data, CRC-16. There is no start mark, end mark or transaction."""

    _framer = FramerRTU(REPLIES)

    def encode(self, request: RequestPdu[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        return next((request.decode(frame.pdu) for frame in self.frames(request, received)), None)

    def frames(self, request: RequestPdu[object], received: bytes) -> Iterator[Frame]:
        # Noise, an echo of the request or a late reply of another unit may precede the reply. pymodbus' framer would
        # then discard all bytes. So every possible start is tried. pymodbus' PDU classes give the length of a frame.
        for function in (request.function, request.function | EXCEPTION):
            start = received.find(head := bytes((request.unit_id, function)))
            while start >= 0:
                frame = received[start:]
                size = _rtu_size(frame)
                valid = 0 < size <= len(frame) and crc16(frame[: size - 2]) == frame[size - 2 : size]
                if valid:
                    yield Frame(frame[:size], frame[1 : size - 2])
                start = received.find(head, start + (size if valid else 1))

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        return _no_reply(request, timeout_s)


class Ascii:
    """Modbus on a serial line in hexadecimal: colon, unit id, data, LRC, carriage return, line feed."""

    _framer = FramerAscii(REPLIES)

    def encode(self, request: RequestPdu[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        return next((request.decode(frame.pdu) for frame in self.frames(request, received)), None)

    def frames(self, request: RequestPdu[object], received: bytes) -> Iterator[Frame]:
        # Other bytes may precede the reply, as for RTU. A frame begins at the last colon of its line. The sum of all
        # bytes with the LRC is zero.
        for line in received.split(b"\r\n")[:-1]:
            _, colon, digits = line.rpartition(b":")
            frame = _unhex(digits) if colon else b""
            if len(frame) >= 4 and frame[0] == request.unit_id and sum(frame) & 0xFF == 0:
                yield Frame(colon + digits + b"\r\n", frame[1:-1])

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        return _no_reply(request, timeout_s)


def _rtu_size(frame: bytes) -> int:
    """Return the length in bytes of the frame that begins here, with its checksum; 0 while it is unknown."""
    if len(frame) < FramerRTU.MIN_SIZE or (pdu := REPLIES.lookupPduClass(frame)) is None:
        return 0
    return pdu.calculateRtuFrameSize(frame)


def _no_reply(request: RequestPdu[object], timeout_s: float) -> BadReplyError:
    return BadReplyError(f"{request}: no valid reply within {timeout_s:g} s, only other bytes")


_RTU_REQUEST = 8
"""Bytes of a read request with its checksum."""


def has_rtu_frame(received: bytes) -> bool:
    """Whether the bytes contain a complete RTU frame of a read: a reply, or a request of another client."""
    for start in range(len(received) - FramerRTU.MIN_SIZE + 1):
        frame = received[start:]
        if frame[1] & ~EXCEPTION in _FUNCTIONS:
            for size in (_rtu_size(frame), _RTU_REQUEST):
                if 0 < size <= len(frame) and crc16(frame[: size - 2]) == frame[size - 2 : size]:
                    return True
    return False


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
