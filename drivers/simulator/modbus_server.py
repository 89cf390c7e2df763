"""A Modbus TCP server: one port with its units. It answers the function codes 1 to 4, which are reads.

pymodbus encodes and decodes the frames and the protocol data units. The server of pymodbus is not used, for two reasons
(docs/decisions/0001-pymodbus.md): it loses the second of two requests that arrive together, and it does not close a
connection after bytes that are not Modbus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsResponse, ReadDiscreteInputsResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from drivers.modbus import is_mbap
from drivers.model import Table
from drivers.protocol import BITS, MAX_REGISTERS, TABLES, ExceptionCode

Image = Mapping[Table, Mapping[int, int]]
"""The registers and bits of a device: table → zero-based address → word (0..65535) or bit (0 or 1)."""

_REQUESTS = DecodePDU(is_server=True)
_REPLIES: dict[Table, type[ModbusPDU]] = {
    Table.COIL: ReadCoilsResponse,
    Table.DISCRETE: ReadDiscreteInputsResponse,
    Table.HOLDING: ReadHoldingRegistersResponse,
    Table.INPUT: ReadInputRegistersResponse,
}
_REQUEST_LENGTH = 5
"""Bytes of a read request without its frame: function code, address, count."""


@dataclass(slots=True, eq=False)
class SimulatedUnit:
    """A device. `image` is called once per request, so that all words of a reply are of the same moment."""

    unit_id: int
    image: Callable[[], Image]
    max_registers: int = MAX_REGISTERS
    online: bool = True
    """If False, the unit does not respond."""

    def answer(self, pdu: bytes) -> bytes:
        """Return the reply to a request: data, or an exception.

        The exceptions are 1 (the function code is not 1 to 4), 2 (no such address) and 3 (wrong length of the request,
        or a count outside the limits of the protocol or of the unit).
        """
        reply = self._reply(pdu)
        return bytes((reply.function_code,)) + reply.encode()

    def _reply(self, pdu: bytes) -> ModbusPDU:
        function = pdu[0]
        if (table := TABLES.get(function)) is None:
            return ExceptionResponse(function, ExceptionCode.ILLEGAL_FUNCTION)
        # `decode` returns None for a count outside the limits of the protocol.
        request = _REQUESTS.decode(pdu) if len(pdu) == _REQUEST_LENGTH else None
        if request is None or (table not in BITS and request.count > self.max_registers):
            return ExceptionResponse(function, ExceptionCode.ILLEGAL_DATA_VALUE)
        words = self.image().get(table, {})
        try:
            found = [words[address] for address in range(request.address, request.address + request.count)]
        except KeyError:
            return ExceptionResponse(function, ExceptionCode.ILLEGAL_DATA_ADDRESS)
        if table in BITS:
            return _REPLIES[table](bits=[bool(bit) for bit in found])
        return _REPLIES[table](registers=found)


class ModbusServer:
    """Serves units on one port.

    It does not reply to a request for an unknown unit id. With `answers_for_absent`, it replies with exception 11.
    Gateways do one or the other.
    """

    def __init__(
        self, units: Sequence[SimulatedUnit], host: str, port: int = 0, *, answers_for_absent: bool = False
    ) -> None:
        self.units = {unit.unit_id: unit for unit in units}
        if len(self.units) != len(units):
            raise ValueError(f"unit ids on one port must differ (found {[unit.unit_id for unit in units]})")
        self.answers_for_absent = answers_for_absent
        self.host = host
        self.port = port
        """If it is 0, `start` sets it to a free port."""
        self.connections: set[asyncio.Transport] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections. A start after `stop` uses the same port. Raises OSError if the port is in use."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(lambda: _ClientConnection(self), self.host, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Disconnect all clients and refuse new connections."""
        if self._listener is not None:
            self._listener.close()
            for connection in self.connections:
                connection.abort()
            await self._listener.wait_closed()
            self._listener = None


class _ClientConnection(asyncio.Protocol):
    """One client. Divides the received bytes into requests, and answers them in order."""

    _transport: asyncio.Transport
    _framer = FramerSocket(_REQUESTS)

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
        while len(self._received) >= self._framer.MIN_SIZE:
            end, unit_id, transaction, pdu = self._framer.decode(self._received)
            if not pdu:
                if not is_mbap(self._received):
                    self._transport.abort()  # the bytes do not begin with a frame
                return
            self._received = self._received[end:]
            unit = self._server.units.get(unit_id)
            if unit is not None and unit.online:
                self._transport.write(self._framer.encode(unit.answer(pdu), unit_id, transaction))
            elif unit is None and self._server.answers_for_absent:
                absent = bytes((pdu[0] | 0x80, ExceptionCode.GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND))
                self._transport.write(self._framer.encode(absent, unit_id, transaction))
