"""The facts of the Modbus protocol: function codes, limits, exception codes, transports, texts of addresses. Pure.

Sources: Modbus Application Protocol Specification V1.1b3, Modbus Messaging on TCP/IP Implementation Guide V1.0b,
Modbus over Serial Line V1.02, Modbus/TCP Security.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

from drivers.model import Table

FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
"""Table → function code of a read."""
TABLES = {function: table for table, function in FUNCTIONS.items()}
IDENTIFICATION = 43
"""Function code of a device identification (MEI type 14)."""
EXCEPTION = 0x80
"""A reply with this bit in its function code is an exception."""

BITS = frozenset({Table.COIL, Table.DISCRETE})
"""The tables of single bits."""
MAX_BITS = 2000
MAX_REGISTERS = 125
ADDRESSES = 0x1_0000
"""Number of addresses in a table: 0..65535."""
MAX_WORD = 0xFFFF
MAX_UNIT_ID = 255
LAST_SERIAL_UNIT_ID = 247
"""Unit ids on a serial line are 1..247. Unit id 0 is the broadcast address; 248..255 are reserved."""
MAX_PDU = 253
"""Maximum bytes of a request or reply from the function code on, without a checksum."""


class ExceptionCode(IntEnum):
    """The exception codes (Application Protocol Specification, section 7)."""

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
    """Return the largest number of registers or bits that one request can read."""
    return MAX_BITS if table in BITS else MAX_REGISTERS


USUAL_PORTS = (502, 1502)
"""TCP ports of Modbus devices: the registered port, and the port of SolarEdge and KOSTAL inverters."""
Parity = Literal["N", "E", "O"]
PARITIES: tuple[Parity, ...] = get_args(Parity)
"""The parities of a serial line: none, even, odd."""
MIN_BAUDRATE = 300

TransportName = Literal["tcp", "udp", "tls", "rtu", "ascii", "rtu_over_tcp", "ascii_over_tcp"]


@dataclass(frozen=True, slots=True)
class TransportKind:
    """The medium and the framing of requests and replies."""

    medium: Literal["tcp", "udp", "tls", "serial"]
    framing: Literal["mbap", "rtu", "ascii"]
    port: int = USUAL_PORTS[0]
    """The default port, for media with ports."""

    @property
    def serial(self) -> bool:
        return self.medium == "serial"

    @property
    def numbered(self) -> bool:
        """Whether a reply contains the transaction number of its request. A frame with this number has no checksum."""
        return self.framing == "mbap"

    @property
    def max_gap(self) -> int:
        """The default of `max_gap`: the maximum number of unused registers in one request between two used ones.

        Reading these registers takes less time than one more request.
        """
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


# Addresses as text: of a link (host and port, or serial port), and of a unit on a link (`192.168.1.20:502 unit 1`).
MAX_PORT = 65_535

_LINK_LOCAL = re.compile(r"fe[89ab][0-9a-f]:", re.IGNORECASE)
_UNIT = " unit "


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`; an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unit_address(link_address: str, unit_id: int) -> str:
    """Return the address of a unit on the link with the address `link_address`."""
    return f"{link_address}{_UNIT}{unit_id}"


def link_address(address: str) -> str:
    """Return the address of the link from `address`, the result of `unit_address`. Empty if `address` has no unit."""
    return address.rpartition(_UNIT)[0]


def is_ip_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, without brackets and port."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def zone_mistake(host: str) -> str | None:
    """Return the rule that a link-local IPv6 address without a zone breaks; None for all other hosts.

    The zone names a network interface. It is needed, because the same address can exist on each interface.
    """
    if _LINK_LOCAL.match(host) and "%" not in host:
        return f"must have a zone (its interface), such as {host}%eth0, because it is a link-local address"
    return None
