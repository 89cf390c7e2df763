"""Builds requests and checks their replies, with the protocol data units (PDU) of pymodbus.

There are only requests to read and to identify the device, so that no caller can send a write.

A reply is accepted only if its function code, byte count and length match the request. pymodbus would also accept a
reply with fewer registers than requested. Registers are unpacked here, all at once, because pymodbus unpacks them one
by one (docs/decisions/0001-pymodbus.md).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Protocol, TypeVar

from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import BadReplyError, DriverError, exception_reply
from drivers.model import Table
from drivers.protocol import ADDRESSES, BITS, EXCEPTION, MAX_BITS, MAX_REGISTERS, MAX_UNIT_ID

# pymodbus logs each frame that it cannot decode. The link already raises an error for such a frame.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

REPLIES = DecodePDU(is_server=False)

_REQUESTS: dict[Table, type[ModbusPDU]] = {
    Table.COIL: ReadCoilsRequest,
    Table.DISCRETE: ReadDiscreteInputsRequest,
    Table.HOLDING: ReadHoldingRegistersRequest,
    Table.INPUT: ReadInputRegistersRequest,
}
_EXCEPTION_LENGTH = 2
"""Bytes of an exception reply: function code and exception code."""


class ReadRequest:
    """The request to read registers or bits. Raises ValueError for a read that is impossible in Modbus."""

    __slots__ = ("_size", "_words", "address", "count", "function", "pdu", "table", "transaction", "unit_id")

    def __init__(self, unit_id: int, table: Table, address: int, count: int, transaction: int = 0) -> None:
        bits = table in BITS
        most = MAX_BITS if bits else MAX_REGISTERS
        if not (0 <= unit_id <= MAX_UNIT_ID and 1 <= count <= most and 0 <= address <= ADDRESSES - count):
            raise ValueError(f"no Modbus request can read {count} of {table} from address {address} of unit {unit_id}")
        self.pdu = _read(table, address, count)
        self.function = self.pdu[0]
        self.unit_id = unit_id
        self.transaction = transaction
        self.table = table
        self.address = address
        self.count = count
        self._size = (count + 7) // 8 if bits else 2 * count
        self._words = None if bits else Struct(f">2x{count}H")
        """Unpacks the registers of the reply."""

    def __str__(self) -> str:
        return f"unit {self.unit_id}, {self.table} {self.address}-{self.address + self.count - 1}"

    def decode(self, pdu: bytes) -> Sequence[int]:
        """Return the registers (0..65535) or bits (0 or 1) of a reply. `pdu` is its function code and its data.

        Raises RefusedError or GatewayError for an exception reply, BadReplyError for any other wrong reply.
        """
        if pdu[0] != self.function:
            raise _not_the_reply(self, pdu)
        if len(pdu) != self._size + 2 or pdu[1] != self._size:
            raise BadReplyError(f"{self}: the reply has a wrong length")
        if self._words is not None:
            return self._words.unpack(pdu)
        if (reply := REPLIES.decode(pdu)) is None:
            raise BadReplyError(f"{self}: the reply has no bits")
        return tuple(map(int, reply.bits[: self.count]))


class Identification:
    """The request for the device identification: function 43, MEI type 14, basic objects."""

    def __init__(self, unit_id: int, transaction: int = 0) -> None:
        self.pdu = _encoded(ReadDeviceInformationRequest())
        self.function = self.pdu[0]
        self.unit_id = unit_id
        self.transaction = transaction

    def __str__(self) -> str:
        return f"unit {self.unit_id}, identification"

    def decode(self, pdu: bytes) -> tuple[str, ...]:
        """Return the texts of the objects: vendor, product, revision.

        Raises RefusedError if the device has no identification, and the other errors of `ReadRequest.decode`.
        """
        if pdu[0] != self.function:
            raise _not_the_reply(self, pdu)
        # pymodbus can calculate the length of this reply only from an RTU frame. So `frame` has the form of an RTU
        # frame: unit id, PDU, and two zeros in place of the checksum.
        frame = bytes((self.unit_id, *pdu, 0, 0))
        complete = len(frame) == ReadDeviceInformationResponse.calculateRtuFrameSize(frame)
        reply = REPLIES.decode(pdu) if complete else None
        if not isinstance(reply, ReadDeviceInformationResponse):
            raise BadReplyError(f"{self}: the reply is not an identification")
        return tuple(_texts(reply))


Answer_co = TypeVar("Answer_co", covariant=True)


class RequestPdu(Protocol[Answer_co]):
    """The interface of `ReadRequest` and `Identification`."""

    transaction: int

    @property
    def pdu(self) -> bytes: ...

    @property
    def unit_id(self) -> int: ...

    @property
    def function(self) -> int: ...

    def decode(self, pdu: bytes) -> Answer_co: ...


def _encoded(pdu: ModbusPDU) -> bytes:
    return bytes((pdu.function_code,)) + pdu.encode()


@lru_cache(maxsize=1024)
def _read(table: Table, address: int, count: int) -> bytes:
    """Return function code and data of a request. Cached, because all devices of a family get the same requests."""
    return _encoded(_REQUESTS[table](address=address, count=count))


def _not_the_reply(request: RequestPdu[object], pdu: bytes) -> DriverError:
    """Return the error for a reply whose function code is not that of the request."""
    if pdu[0] == request.function | EXCEPTION and len(pdu) == _EXCEPTION_LENGTH:
        return exception_reply(pdu[1], str(request))
    return BadReplyError(f"{request}: the reply is for another function code")


def _texts(reply: ReadDeviceInformationResponse) -> list[str]:
    """Return the texts of the objects in their order.

    If several objects have the same id, pymodbus returns a list as the value of this id.
    """
    objects = [each for value in reply.information.values() for each in (value if isinstance(value, list) else [value])]
    return [each.decode("utf-8", "replace").strip("\0 ") for each in objects]
