"""The replies of a simulated device, and its faults. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from drivers.model import Table
from tests.faults.framing import Query

TABLES = {1: Table.COIL, 2: Table.DISCRETE, 3: Table.HOLDING, 4: Table.INPUT}

Registers = dict[tuple[int, Table], dict[int, int]]
"""(unit id, table) -> address -> word or bit."""


@dataclass(slots=True)
class Faults:
    """The faults of a device. By default it has no fault."""

    silent: bool = False
    lost: dict[tuple[int, int], int] = field(default_factory=dict)
    """(address, count) → how many replies to such requests are lost."""
    silent_at: frozenset[int] = frozenset()
    """The device does not reply to requests that begin at these addresses."""
    latency_s: float = 0.0
    """Delay before each reply. If it is longer than the timeout of the client, every reply is late."""
    reset_mid_frame: bool = False
    """The device sends half a reply and resets the connection."""
    close_instead: bool = False
    """The device closes the connection instead of a reply."""
    dribble_s: float | None = None
    """The device sends single bytes with this pause after each byte, until `FaultServer.heal`."""
    garbage: bytes | None = None
    """Sent instead of the reply."""
    noise: bytes = b""
    """Sent before the reply."""
    trailing: bytes = b""
    """Sent after the reply, in the same segment or datagram."""
    duplicate: bool = False
    """The reply is sent twice, in one segment or two datagrams."""
    copy_after_s: float | None = None
    """The reply is sent again after this time. The device may handle the next request meanwhile."""
    stale: bool = False
    """The reply to the previous request is sent first."""
    transaction_offset: int = 0
    first_transaction_offset: int = 0
    """The fault applies only to the first reply of each connection."""
    protocol: int = 0
    unit_offset: int = 0
    function_offset: int = 0
    fewer: int = 0
    """Number of registers (or bytes of bits) that are missing at the end of a well-formed reply."""
    more: int = 0
    """Number of additional registers (or bytes of bits) in a well-formed reply."""
    exception: int | None = None
    exception_at: dict[int, int] = field(default_factory=dict)
    """Address → the exception to requests that begin there."""
    max_registers: int | None = None
    """The device replies exception 3 to a request for more registers."""
    labels: tuple[bytes, ...] = ()
    """The texts of the device identification (function 43). Without texts, the device replies exception 1."""
    slow_after_connect_s: float = 0.0
    """The device ignores requests during this time after a connect."""


def registers_from(start: int, words: Iterable[int]) -> dict[int, int]:
    """Return consecutive registers: address → word."""
    return dict(enumerate(words, start))


def answer(query: Query, registers: Registers, faults: Faults) -> bytes | None:
    """Return the protocol data unit of the reply. Return None if the device does not reply."""
    function = query.pdu[0]
    address, count = int.from_bytes(query.pdu[1:3], "big"), int.from_bytes(query.pdu[3:5], "big")
    exception = faults.exception_at.get(address, faults.exception)
    if exception is not None:
        return bytes((function | 0x80, exception))
    if not any(unit_id == query.unit_id for unit_id, _ in registers) or address in faults.silent_at:
        return None
    if query.pdu[:3] == b"\x2b\x0e\x01" and faults.labels:
        objects = b"".join(bytes((number, len(text))) + text for number, text in enumerate(faults.labels))
        return b"\x2b\x0e\x01\x01\x00\x00" + bytes((len(faults.labels),)) + objects
    table = registers.get((query.unit_id, TABLES[function])) if function in TABLES else None
    if table is None:
        return bytes((function | 0x80, 1))
    if faults.max_registers is not None and count > faults.max_registers:
        return bytes((function | 0x80, 3))
    if not all(place in table for place in range(address, address + count)):
        return bytes((function | 0x80, 2))
    data = _pack(function, [table[place] for place in range(address, address + count)])
    width = 1 if function < 3 else 2
    data = data[: len(data) - width * faults.fewer] + bytes(width * faults.more)
    return bytes((function + faults.function_offset, len(data) & 0xFF)) + data


def _pack(function: int, values: list[int]) -> bytes:
    if function >= 3:
        return b"".join(value.to_bytes(2, "big") for value in values)
    bits = sum(bool(value) << position for position, value in enumerate(values))
    return bits.to_bytes((len(values) + 7) // 8, "little")
