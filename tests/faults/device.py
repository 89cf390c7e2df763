"""What a device answers, and what can be wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drivers.model import Table
from tests.faults.framing import Query

TABLES = {1: Table.COIL, 2: Table.DISCRETE, 3: Table.HOLDING, 4: Table.INPUT}

Registers = dict[tuple[int, Table], dict[int, int]]
"""(unit id, table) -> address -> word or bit."""


@dataclass(slots=True)
class Faults:
    """What is wrong with a device; nothing, to begin with."""

    silent: bool = False
    latency_s: float = 0.0
    """Before each reply; longer than the client's timeout, it makes every reply late."""
    reset_mid_frame: bool = False
    """Half a reply, then the connection is reset."""
    close_instead: bool = False
    """The connection is closed instead of a reply."""
    dribble_s: float | None = None
    """One byte at a time, with this pause after each, until healed."""
    garbage: bytes | None = None
    """Instead of the reply."""
    noise: bytes = b""
    """Before the reply."""
    trailing: bytes = b""
    """After the reply, in the same segment or datagram."""
    duplicate: bool = False
    """The reply comes twice, in one segment or two datagrams."""
    stale: bool = False
    """The reply to the request before comes first."""
    transaction_offset: int = 0
    first_transaction_offset: int = 0
    """Only for the first reply of each connection."""
    protocol: int = 0
    unit_offset: int = 0
    function_offset: int = 0
    fewer: int = 0
    """Registers (or bytes of bits) missing at the end of a well-formed reply."""
    more: int = 0
    """Registers (or bytes of bits) too many in a well-formed reply."""
    exception: int | None = None
    max_registers: int | None = None
    """Exception 3 for more than these."""
    labels: tuple[bytes, ...] = ()
    """What it calls itself when it is asked by function 43; exception 1 without any."""
    slow_after_connect_s: float = 0.0
    """Swallows what comes so soon after a connect."""


def registers_from(start: int, words: Iterable[int]) -> dict[int, int]:
    """Consecutive registers."""
    return dict(enumerate(words, start))


def answer(query: Query, registers: Registers, faults: Faults) -> bytes | None:
    """The reply's protocol data unit; None where a device stays silent."""
    function = query.pdu[0]
    address, count = int.from_bytes(query.pdu[1:3], "big"), int.from_bytes(query.pdu[3:5], "big")
    if faults.exception is not None:
        return bytes((function | 0x80, faults.exception))
    if not any(unit_id == query.unit_id for unit_id, _ in registers):
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
