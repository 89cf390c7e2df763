"""Modbus TCP from the side of the device: one port, the units behind it, function codes 1 to 4.

An own server rather than that of pymodbus 3.16.1, whose `SimDevice` was tried: it loses the second of two requests that
arrive together, cannot stay silent for one unit, answers exception 4 for a unit that it does not have, rounds the
number of coils up to 16, and answers a count out of range with function code 0.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from drivers.model import Table
from drivers.protocol import BITS, EXCEPTION, MAX_BITS, MAX_PDU, MAX_REGISTERS, TABLES, ExceptionCode

Image = Mapping[Table, Mapping[int, int]]
"""The registers and bits of a device: table → zero-based address → word (0..65535) or bit (0 or 1)."""


@dataclass(slots=True, eq=False)
class SimulatedUnit:
    """The device behind one unit id. `image` is asked once per request, so that a reply shows one moment."""

    unit_id: int
    image: Callable[[], Image]
    max_registers: int = MAX_REGISTERS
    online: bool = True
    """Turn off to make it silent."""

    def answer(self, pdu: bytes) -> bytes:
        """The reply to a request: data, or exception 1 (not a read), 2 (no such address) or 3 (bad count)."""
        table = TABLES.get(pdu[0])
        if table is None:
            return _refusal(pdu, ExceptionCode.ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            return _refusal(pdu, ExceptionCode.ILLEGAL_DATA_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= (MAX_BITS if table in BITS else self.max_registers):
            return _refusal(pdu, ExceptionCode.ILLEGAL_DATA_VALUE)
        words = self.image().get(table, {})
        try:
            found = [words[place] for place in range(address, address + count)]
        except KeyError:
            return _refusal(pdu, ExceptionCode.ILLEGAL_DATA_ADDRESS)
        data = _pack_bits(found) if table in BITS else struct.pack(f">{count}H", *found)
        return bytes((pdu[0], len(data))) + data


def _refusal(pdu: bytes, code: int) -> bytes:
    return bytes((pdu[0] | EXCEPTION, code))


def _pack_bits(bits: Sequence[int]) -> bytes:
    packed = sum(bool(bit) << position for position, bit in enumerate(bits))
    return packed.to_bytes((len(bits) + 7) // 8, "little")


class ModbusServer:
    """Serves units on one port; a unit id without a unit is silent, as behind a real gateway."""

    def __init__(self, units: Sequence[SimulatedUnit], host: str, port: int = 0) -> None:
        self.units = {unit.unit_id: unit for unit in units}
        if len(self.units) != len(units):
            raise ValueError(f"unit ids on one port must differ (found {[unit.unit_id for unit in units]})")
        self.host = host
        self.port = port
        """0 until `start` has found a free one."""
        self.connections: set[asyncio.Transport] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Take connections (again, on the same port). Raises OSError when the port is taken."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(lambda: _ClientConnection(self), self.host, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every client and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
            for connection in self.connections:
                connection.abort()
            await self._listener.wait_closed()
            self._listener = None


class _ClientConnection(asyncio.Protocol):
    """One client: cuts what arrives into requests, and answers them in order."""

    _transport: asyncio.Transport

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 8:
            transaction, protocol, length, unit_id = struct.unpack_from(">HHHB", self._received)
            end = 6 + length
            if protocol != 0 or not 8 <= end <= 7 + MAX_PDU:
                self._transport.abort()  # not Modbus, or out of step for good
                return
            if len(self._received) < end:
                return
            pdu, self._received = self._received[7:end], self._received[end:]
            unit = self._server.units.get(unit_id)
            if unit is not None and unit.online:
                reply = unit.answer(pdu)
                self._transport.write(struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit_id) + reply)
