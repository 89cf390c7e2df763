"""Modbus frames: a read request to bytes, and what came back to data or an error. Pure.

Only the function codes of reads and of device identification exist here, so that nothing above can send a write.

A framing's `accept` sees all bytes received since the request was sent and gives the data of its reply, or None while
the reply is not complete. It raises `RefusedError` or `GatewayError` for an exception, and `BadReplyError` when what
came cannot become the reply. A reply counts only when transaction, unit id, function code, byte count, length and
checksum, as far as the framing has them, are exactly what the request asks for.
"""

from __future__ import annotations

from binascii import unhexlify
from struct import Struct
from typing import Protocol

from drivers.errors import BadReplyError, exception_reply
from drivers.model import Table
from drivers.protocol import (
    ADDRESSES,
    BITS,
    EXCEPTION,
    FUNCTIONS,
    IDENTIFICATION,
    MAX_PDU,
    MAX_UNIT_ID,
    max_count,
)

_EXCEPTION_LENGTH = 2
_READ_IDENTIFICATION, _BASIC = 14, 1
_OBJECTS = 7
"""Where the objects of an identification begin, behind their count."""

_REQUEST = Struct(">BHH")  # function code, address, count
_MBAP = Struct(">HHHB")  # transaction, protocol (always 0), bytes that follow, unit id
_MBAP_LENGTHS = range(3, MAX_PDU + 2)


class ReadRequest:
    """One read. Raises ValueError for what the protocol cannot express."""

    __slots__ = ("address", "count", "function", "size", "table", "transaction", "unit_id")

    def __init__(self, unit_id: int, table: Table, address: int, count: int, transaction: int = 0) -> None:
        bits = table in BITS
        if not (0 <= unit_id <= MAX_UNIT_ID and 1 <= count <= max_count(table) and 0 <= address <= ADDRESSES - count):
            raise ValueError(f"no Modbus request can read {count} of {table} from address {address} of unit {unit_id}")
        self.unit_id = unit_id
        self.table = table
        self.function = FUNCTIONS[table]
        self.address = address
        self.count = count
        self.transaction = transaction
        self.size = (count + 7) // 8 if bits else 2 * count
        """Bytes of data in the reply."""

    def __str__(self) -> str:
        return f"unit {self.unit_id}, {self.table} {self.address}-{self.address + self.count - 1}"

    def encode(self) -> bytes:
        """The protocol data unit, without any framing."""
        return _REQUEST.pack(self.function, self.address, self.count)

    def fits(self, length: int) -> bool:
        """Whether a reply's protocol data unit can have `length` bytes."""
        return length == self.size + 2 or length == _EXCEPTION_LENGTH

    def length(self, pdu: bytes) -> int:
        """How long the reply's protocol data unit that begins with `pdu` is, as far as it shows."""
        return 2 + (pdu[1] if pdu[0] == self.function and len(pdu) > 1 else 0)

    def data(self, pdu: bytes) -> bytes:
        """The data of a reply's protocol data unit that is known to be complete and from this unit."""
        if pdu[0] == self.function | EXCEPTION and len(pdu) == 2:
            raise exception_reply(pdu[1], str(self))
        if pdu[0] != self.function:
            raise BadReplyError(f"{self}: the reply is for another function code")
        if len(pdu) != self.size + 2 or pdu[1] != self.size:
            raise BadReplyError(f"{self}: the reply has another number of values than asked for")
        return pdu[2:]


class Identification:
    """Asks a device what it calls itself: function 43, MEI type 14, the basic objects."""

    function = IDENTIFICATION

    def __init__(self, unit_id: int, transaction: int = 0) -> None:
        self.unit_id = unit_id
        self.transaction = transaction

    def __str__(self) -> str:
        return f"unit {self.unit_id}, identification"

    def encode(self) -> bytes:
        return bytes((self.function, _READ_IDENTIFICATION, _BASIC, 0))

    def fits(self, length: int) -> bool:
        return length == _EXCEPTION_LENGTH or length >= _OBJECTS

    def length(self, pdu: bytes) -> int:
        """See `ReadRequest.length`: a count of objects, each with its id, its length and its text."""
        if pdu[0] != self.function or len(pdu) < _OBJECTS:
            return _OBJECTS if pdu[0] == self.function else _EXCEPTION_LENGTH
        end = _OBJECTS
        for _ in range(pdu[_OBJECTS - 1]):
            end += 2 + (pdu[end + 1] if end + 1 < len(pdu) else 0)
        return end

    def data(self, pdu: bytes) -> bytes:
        """The objects. Raises RefusedError where the device has no identification."""
        if pdu[0] == self.function | EXCEPTION and len(pdu) == _EXCEPTION_LENGTH:
            raise exception_reply(pdu[1], str(self))
        if pdu[:2] != bytes((self.function, _READ_IDENTIFICATION)) or len(pdu) != self.length(pdu):
            raise BadReplyError(f"{self}: the reply is no identification")
        return pdu[_OBJECTS:]


def texts(objects: bytes) -> tuple[str, ...]:
    """The texts of `Identification.data`: vendor, product, revision."""
    found = []
    while len(objects) >= 2:
        end = 2 + objects[1]
        found.append(objects[2:end].decode("utf-8", "replace").strip("\0 "))
        objects = objects[end:]
    return tuple(found)


Question = ReadRequest | Identification


class Framing(Protocol):
    """How a request and its reply travel."""

    @property
    def numbered(self) -> bool:
        """Replies carry the transaction of their request."""
        ...

    def encode(self, request: Question) -> bytes: ...

    def accept(self, request: Question, received: bytes) -> bytes | None: ...


class Mbap:
    """Modbus over TCP, TLS and UDP: a header with transaction and length, no checksum."""

    numbered = True

    def encode(self, request: Question) -> bytes:
        pdu = request.encode()
        return _MBAP.pack(request.transaction, 0, len(pdu) + 1, request.unit_id) + pdu

    def accept(self, request: Question, received: bytes) -> bytes | None:
        while len(received) >= _MBAP.size:
            transaction, protocol, length, unit_id = _MBAP.unpack_from(received)
            end = 6 + length
            if protocol != 0 or length not in _MBAP_LENGTHS:
                raise BadReplyError(f"{request}: what came is not Modbus")
            if transaction == request.transaction:
                if unit_id != request.unit_id:
                    raise BadReplyError(f"{request}: the reply is from unit {unit_id}")
                if len(received) > end or not request.fits(length - 1):
                    raise BadReplyError(f"{request}: the reply has another length than asked for")
                return request.data(received[_MBAP.size :]) if len(received) == end else None
            if len(received) < end:
                return None
            # A second copy, or what a gateway still had for an earlier request: ours may stand behind it.
            received = received[end:]
        return None


class Rtu:
    """Modbus on a serial line: unit id, data, CRC-16; no start, no end, no transaction."""

    numbered = False

    def encode(self, request: Question) -> bytes:
        frame = bytes((request.unit_id,)) + request.encode()
        return frame + crc16(frame)

    def accept(self, request: Question, received: bytes) -> bytes | None:
        # The line may carry noise, an echo of the request or another unit's late reply before ours.
        for function in (request.function, request.function | EXCEPTION):
            start = received.find(head := bytes((request.unit_id, function)))
            while start >= 0:
                end = start + 3 + request.length(received[start + 1 :])
                if end <= len(received) and crc16(received[start : end - 2]) == received[end - 2 : end]:
                    return request.data(received[start + 1 : end - 2])
                start = received.find(head, start + 1)
        return None


class Ascii:
    """Modbus on a serial line in hexadecimal: colon, unit id, data, LRC, carriage return, line feed."""

    numbered = False

    def encode(self, request: Question) -> bytes:
        frame = bytes((request.unit_id,)) + request.encode()
        return b":" + (frame + lrc(frame)).hex().upper().encode() + b"\r\n"

    def accept(self, request: Question, received: bytes) -> bytes | None:
        for line in received.split(b"\r\n")[:-1]:
            _, colon, digits = line.rpartition(b":")
            frame = _unhex(digits) if colon else b""
            if len(frame) >= 4 and frame[0] == request.unit_id and lrc(frame[:-1]) == frame[-1:]:
                return request.data(frame[1:-1])
        return None


def crc16(frame: bytes) -> bytes:
    """The checksum of RTU, in the order of the wire."""
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def lrc(frame: bytes) -> bytes:
    """The checksum of ASCII: what makes the sum of all bytes zero."""
    return bytes((-sum(frame) & 0xFF,))


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(map(_crc_of_byte, range(256)))


def _unhex(digits: bytes) -> bytes:
    try:
        return unhexlify(digits)
    except ValueError:
        return b""
