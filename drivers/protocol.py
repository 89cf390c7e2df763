"""The protocol's facts, each in one place: function codes, limits, exception codes, transports. Pure.

Source: Modbus Application Protocol Specification V1.1b3, Modbus Messaging on TCP/IP Implementation Guide V1.0b,
Modbus over Serial Line V1.02, Modbus/TCP Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from drivers.model import Table

FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
"""Table → function code of a read."""
TABLES = {function: table for table, function in FUNCTIONS.items()}
IDENTIFICATION = 43
"""Function code of a device identification (MEI type 14)."""
EXCEPTION = 0x80
"""This bit in the function code of a reply says that the request is refused."""

BITS = frozenset({Table.COIL, Table.DISCRETE})
"""The tables of single bits; the other two have registers."""
MAX_BITS = 2000
MAX_REGISTERS = 125
ADDRESSES = 0x1_0000
"""Addresses of a table: 0..65535."""
MAX_WORD = 0xFFFF
MAX_UNIT_ID = 255
LAST_SERIAL_UNIT_ID = 247
"""Units on a serial line are 1..247; 0 is the broadcast, the rest is reserved."""
MAX_PDU = 253
"""Bytes of a request or reply without its frame."""


class ExceptionCode(IntEnum):
    """Why a device refuses a request (section 7)."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND = 11


def max_count(table: Table) -> int:
    """The largest count that one request can have."""
    return MAX_BITS if table in BITS else MAX_REGISTERS


TransportName = Literal["tcp", "udp", "tls", "rtu", "ascii", "rtu_over_tcp", "ascii_over_tcp"]


@dataclass(frozen=True, slots=True)
class TransportKind:
    """How requests and replies travel."""

    medium: Literal["tcp", "udp", "tls", "serial"]
    framing: Literal["mbap", "rtu", "ascii"]
    port: int = 502
    """The usual port, where the medium has ports."""

    @property
    def serial(self) -> bool:
        """There is a serial port instead of a host."""
        return self.medium == "serial"

    @property
    def numbered(self) -> bool:
        """Replies carry the transaction of their request, and frames no checksum."""
        return self.framing == "mbap"

    @property
    def max_gap(self) -> int:
        """So many unused registers cost less than another request, with its frame and its turnaround."""
        return 31 if self.framing == "mbap" else 7


TRANSPORTS: dict[TransportName, TransportKind] = {
    "tcp": TransportKind("tcp", "mbap"),
    "udp": TransportKind("udp", "mbap"),
    "tls": TransportKind("tls", "mbap", port=802),
    "rtu": TransportKind("serial", "rtu"),
    "ascii": TransportKind("serial", "ascii"),
    "rtu_over_tcp": TransportKind("tcp", "rtu"),
    "ascii_over_tcp": TransportKind("tcp", "ascii"),
}
