"""Encodes and decodes frames with pymodbus' framers, and checks that a frame is the reply to a request.

A reply is accepted only if its unit id, function code, byte count and length match the request. In Modbus TCP, its
transaction number must match too. In RTU and ASCII, its checksum must be right.

Some gateways send a reply twice. In Modbus TCP, the transaction number shows that the second reply is a copy. In RTU
and ASCII, `drivers.modbus.copies` compares the content.
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
"""The header: transaction number, protocol (0), length, unit id."""
_MBAP_LENGTHS = range(2, MAX_PDU + 2)
"""Valid lengths in the header, in bytes: at least a unit id and a function code."""


class Framing(Protocol):
    """Encodes requests and recognises their replies."""

    def encode(self, request: RequestPdu[object]) -> bytes: ...

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        """Return the values of the reply; None while `received` does not contain the complete reply.

        `received` has all bytes that arrived since the request was sent; on UDP, the bytes of one datagram. Raises
        RefusedError or GatewayError for an exception reply, BadReplyError if the bytes cannot become the reply.
        """
        ...

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        """Return the error at the timeout, for received bytes that do not contain the reply."""
        ...


class LineFraming(Framing, Protocol):
    """The framing of a line: RTU or ASCII, on a serial port or over TCP.

    Frames have a checksum, but no transaction number.
    """

    def frames(self, request: RequestPdu[object], received: bytes) -> Iterator[Frame]:
        """Yield the complete frames that have the unit id of the request and a valid checksum.

        `Rtu` yields only replies and exception replies with the function code of the request. `Ascii` does not check
        the function code.
        """
        ...


class Mbap:
    """Modbus over TCP, TLS and UDP: a header with transaction number and length, no checksum."""

    _framer = FramerSocket(REPLIES)

    def encode(self, request: RequestPdu[object]) -> bytes:
        return request.transaction.to_bytes(2, "big") + _without_transaction(request.unit_id, request.pdu)

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        if len(received) >= _HEAD:
            transaction, protocol, length, unit_id = _MBAP.unpack_from(received)
            is_reply = transaction == request.transaction and unit_id == request.unit_id and not protocol
            if is_reply and length + _COUNTED_FROM == len(received):
                return request.decode(received[_MBAP.size :])  # nearly always: one complete frame
        return self._accept(request, received)

    def _accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        """As `accept`, for bytes that are not exactly one frame with the transaction and unit id of the request."""
        while len(received) >= self._framer.MIN_SIZE:
            end, unit_id, transaction, pdu = self._framer.decode(received)
            if not pdu:
                self._require_modbus(request, received)
                return None
            if transaction == request.transaction:
                if unit_id != request.unit_id:
                    raise BadReplyError(f"{request}: the reply is from unit {unit_id}")
                return request.decode(pdu) if self._copies(request, received[:end], received[end:]) else None
            # This frame is a copy of an earlier reply, or a late reply. The reply to this request may follow.
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
        """Raise an error if the bytes do not begin with an MBAP header.

        - RtuFrameError if they contain a complete RTU frame.
        - No error yet if they may be the beginning of an RTU frame: its rest may follow.
        - BadReplyError otherwise.
        """
        if is_mbap(received):
            return
        if has_rtu_frame(received):
            raise RtuFrameError(f"{request}: {_RTU_FRAMES}")
        if received[1] & ~EXCEPTION not in _FUNCTIONS or _rtu_size(received) <= len(received):
            # No RTU frame begins here: its function code would be unknown, or its checksum would be wrong.
            raise BadReplyError(f"{request}: the received bytes are not Modbus")

    @staticmethod
    def _copies(request: RequestPdu[object], frame: bytes, rest: bytes) -> bool:
        """Whether `rest`, the bytes after the frame, is empty or consists of complete copies of the frame.

        False if the last copy is incomplete. Raises BadReplyError for other bytes. Only header, function code and byte
        count are compared, because a gateway may read the device twice and send two replies with different values.
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
    return int.from_bytes(received[2:6], "big") in _MBAP_LENGTHS  # protocol and length; the protocol must be 0


@lru_cache(maxsize=1024)
def _without_transaction(unit_id: int, pdu: bytes) -> bytes:
    """Return the frame of a request without its transaction number. Cached, because polls send the same requests."""
    return FramerSocket(REPLIES).encode(pdu, unit_id, 0)[2:]


_COUNTED_FROM = 6
"""Bytes of the header up to and including the length. The length counts the bytes after them."""
_HEAD = 9
"""Bytes of the header, the function code, and the byte count or exception code."""
_RTU_FRAMES = "the replies are RTU frames, not Modbus TCP"
_FUNCTIONS = frozenset({*TABLES, IDENTIFICATION})


class Rtu:
    """Modbus on a serial line: unit id, function code, data, CRC-16. No start or end byte, no transaction number."""

    _framer = FramerRTU(REPLIES)

    def encode(self, request: RequestPdu[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        return next((request.decode(frame.pdu) for frame in self.frames(request, received)), None)

    def frames(self, request: RequestPdu[object], received: bytes) -> Iterator[Frame]:
        # Noise, an echo of the request or a late reply of another unit may come before the reply. pymodbus' framer
        # would then discard all bytes. So a frame may begin at every place with the unit id and the function code.
        for function in (request.function, request.function | EXCEPTION):
            start = received.find(head := bytes((request.unit_id, function)))
            while start >= 0:
                frame = received[start:]
                size = _rtu_size(frame)
                valid = _is_valid(frame, size)
                if valid:
                    yield Frame(frame[:size], frame[1 : size - 2])
                start = received.find(head, start + (size if valid else 1))

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        return _no_reply(request, timeout_s)


class Ascii:
    """Modbus on a serial line in hexadecimal: colon, unit id, function code, data, LRC, carriage return, line feed."""

    _framer = FramerAscii(REPLIES)

    def encode(self, request: RequestPdu[object]) -> bytes:
        return self._framer.encode(request.pdu, request.unit_id, request.transaction)

    def accept(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        return next((request.decode(frame.pdu) for frame in self.frames(request, received)), None)

    def frames(self, request: RequestPdu[object], received: bytes) -> Iterator[Frame]:
        # Other bytes may come before the reply (see `Rtu.frames`). So a frame begins at the last colon before its end.
        # The LRC makes the sum of all bytes 0, modulo 256.
        for line in received.split(b"\r\n")[:-1]:
            _, colon, digits = line.rpartition(b":")
            frame = _unhex(digits) if colon else b""
            if len(frame) >= 4 and frame[0] == request.unit_id and sum(frame) & 0xFF == 0:
                yield Frame(colon + digits + b"\r\n", frame[1:-1])

    def rejected(self, request: RequestPdu[object], received: bytes, timeout_s: float) -> BadReplyError:
        return _no_reply(request, timeout_s)


def _rtu_size(frame: bytes) -> int:
    """Return the length in bytes of the RTU frame at the start of `frame`, with its checksum.

    The result is 0 if the function code is unknown, or if `frame` is too short to show the length. For an incomplete
    identification, pymodbus can return 998 or 999 instead of 0. No RTU frame is that long.
    """
    if len(frame) < FramerRTU.MIN_SIZE or (pdu := REPLIES.lookupPduClass(frame)) is None:
        return 0
    return pdu.calculateRtuFrameSize(frame)


def _no_reply(request: RequestPdu[object], timeout_s: float) -> BadReplyError:
    return BadReplyError(f"{request}: no valid reply within {timeout_s:g} s, only other bytes")


_RTU_REQUEST = 8
"""Bytes of a read request with its checksum."""


def has_rtu_frame(received: bytes) -> bool:
    """Whether the bytes contain a complete RTU frame: a reply, or a read request of another client."""
    # The shortest frame is an exception reply of 5 bytes. `FramerRTU.MIN_SIZE` is 4.
    for start in range(len(received) - FramerRTU.MIN_SIZE):
        frame = received[start:]
        if frame[1] & ~EXCEPTION in _FUNCTIONS:
            for size in (_rtu_size(frame), _RTU_REQUEST):
                if _is_valid(frame, size):
                    return True
    return False


def _is_valid(frame: bytes, size: int) -> bool:
    """Whether `frame` has `size` bytes that end with their checksum. False if `size` is 0 (unknown)."""
    return size <= len(frame) and crc16(frame[: size - 2]) == frame[size - 2 : size]


def crc16(frame: bytes) -> bytes:
    """Return the RTU checksum, low byte first as on the wire."""
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


_CRC = tuple(FramerRTU.crc16_table)


def _unhex(digits: bytes) -> bytes:
    """Convert hexadecimal digits to bytes. Return no bytes if `digits` are not hexadecimal."""
    try:
        return unhexlify(digits)
    except ValueError:
        return b""
