"""Links: one connection, one lock, nothing but reads. The only module that knows pymodbus' client.

What the library leaves to its caller is done here: a reply must have the function code and the count that were asked
for; after a time-out or a strange reply the connection is closed, so that a late reply never answers the next request;
a connection that the device closed while idle is opened again once, silently.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymodbus import FramerType, ModbusException
from pymodbus.client import (
    AsyncModbusSerialClient,
    AsyncModbusTcpClient,
    AsyncModbusTlsClient,
    AsyncModbusUdpClient,
)
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ConnectionException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import BadReplyError, LinkError, SilentError, exception_reply
from drivers.model import Table

# The whole vocabulary of this program: function codes 1 to 4.
_REQUESTS: dict[Table, type[ModbusPDU]] = {
    Table.COIL: ReadCoilsRequest,
    Table.DISCRETE: ReadDiscreteInputsRequest,
    Table.HOLDING: ReadHoldingRegistersRequest,
    Table.INPUT: ReadInputRegistersRequest,
}


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where a link leads and how it wants to be treated; times in seconds."""

    transport: str = "tcp"
    """tcp | udp | tls | rtu | ascii | rtu_over_tcp | ascii_over_tcp"""
    host: str | None = None
    port: int = 502
    serial_port: str | None = None
    baudrate: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    timeout_s: float = 1.0
    connect_delay_s: float = 0.0
    request_gap_s: float = 0.0
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None

    @property
    def address(self) -> str:
        """For messages: `192.168.1.20:502` or `/dev/ttyUSB0`."""
        return self.serial_port if self.serial_port is not None else f"{self.host}:{self.port}"


class Link:
    """One connection to one endpoint, shared by every device behind it. Connects on the first read."""

    def __init__(self, settings: LinkSettings) -> None:
        self.settings = settings
        self._lock = asyncio.Lock()
        self._client: ModbusBaseClient | None = None
        self._quiet_until = 0.0

    def unit(self, unit_id: int, *, timeout_s: float | None = None, request_gap_s: float | None = None) -> LinkUnit:
        """One unit id on this link, as a driver sees it."""
        return LinkUnit(self, unit_id, timeout_s, request_gap_s)

    async def read(
        self,
        unit_id: int,
        table: Table,
        address: int,
        count: int,
        *,
        timeout_s: float | None = None,
        request_gap_s: float | None = None,
    ) -> Sequence[int]:
        """`count` registers (0..65535) or bits (0 or 1). Raises a DriverError whose type says what to do."""
        timeout = self.settings.timeout_s if timeout_s is None else timeout_s
        gap = self.settings.request_gap_s if request_gap_s is None else request_gap_s
        async with self._lock:
            reused = self._client is not None
            try:
                return await self._ask(unit_id, table, address, count, timeout)
            except LinkError:
                if not reused:
                    raise
                # Many devices close idle sockets; that is no fault unless it happens again at once.
                return await self._ask(unit_id, table, address, count, timeout)
            finally:
                self._quiet_until = time.monotonic() + gap

    async def close(self) -> None:
        """Close the connection; the next read opens it again."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            await asyncio.sleep(0)  # lets the transport close its socket

    async def _ask(self, unit_id: int, table: Table, address: int, count: int, timeout: float) -> Sequence[int]:
        what = f"{self.settings.address} unit {unit_id}: {table} {address}..{address + count - 1}"
        client = self._client or await self._connect()
        if (pause := self._quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        request = _REQUESTS[table](address=address, count=count, dev_id=unit_id)
        answered = False
        try:
            async with asyncio.timeout(timeout):
                reply = await client.ctx.execute(False, request)
            answered = True
        except TimeoutError:
            raise SilentError(f"{what}: no answer within {timeout:g} s") from None
        except ConnectionException:
            raise LinkError(f"{self.settings.address}: the device closed the connection") from None
        except (ModbusException, ValueError, IndexError) as error:
            raise BadReplyError(f"{what}: {error}") from None
        finally:
            if not answered:
                await self.close()
        if reply.isError():
            raise exception_reply(reply.exception_code, what)
        values: Sequence[int] = reply.bits if table in (Table.COIL, Table.DISCRETE) else reply.registers
        if reply.function_code != request.function_code or not count <= len(values) <= _most(table, count):
            await self.close()
            raise BadReplyError(f"{what}: the reply holds function {reply.function_code} and {len(values)} values")
        return [int(bit) for bit in values[:count]] if table in (Table.COIL, Table.DISCRETE) else values

    async def _connect(self) -> ModbusBaseClient:
        client = self._make_client()
        try:
            async with asyncio.timeout(self._connect_timeout):
                transport, _ = await client.ctx.call_create()
        except TimeoutError:
            client.close()
            raise LinkError(f"{self.settings.address}: no connection within {self._connect_timeout:g} s") from None
        except (OSError, ssl.SSLError) as error:
            client.close()
            raise LinkError(f"{self.settings.address}: {_in_words(error)}") from None
        client.ctx.transport = transport
        self._client = client
        if self.settings.connect_delay_s:
            await asyncio.sleep(self.settings.connect_delay_s)
        return client

    @property
    def _connect_timeout(self) -> float:
        return max(3.0, self.settings.timeout_s)

    def _lost(self, connected: bool) -> None:
        """pymodbus lets a request that waits on a lost connection wait on until its time-out."""
        client = self._client
        if connected or client is None:
            return
        self._client = None
        waiting = client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(ConnectionException("connection lost"))
            waiting.exception()  # somebody may wait for it, nobody has to

    def _make_client(self) -> ModbusBaseClient:
        settings = self.settings
        common: dict[str, Any] = {
            "timeout": 3600.0,  # ours is the only clock
            "retries": 0,
            "reconnect_delay": 0,
            "trace_connect": self._lost,
            "name": settings.address,
        }
        match settings.transport:
            case "rtu" | "ascii":
                return AsyncModbusSerialClient(
                    settings.serial_port or "",
                    framer=FramerType(settings.transport),
                    baudrate=settings.baudrate,
                    parity=settings.parity,
                    stopbits=settings.stop_bits,
                    bytesize=7 if settings.transport == "ascii" else 8,
                    **common,
                )
            case "udp":
                return AsyncModbusUdpClient(settings.host or "", port=settings.port, **common)
            case "tls":
                return AsyncModbusTlsClient(settings.host or "", port=settings.port, sslctx=_tls(settings), **common)
            case transport:
                framer = FramerType.SOCKET if transport == "tcp" else FramerType(transport.removesuffix("_over_tcp"))
                return AsyncModbusTcpClient(settings.host or "", port=settings.port, framer=framer, **common)


@dataclass(frozen=True, slots=True)
class LinkUnit:
    """`drivers.base.Reader` for one unit id."""

    link: Link
    unit_id: int
    timeout_s: float | None = None
    request_gap_s: float | None = None

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        return await self.link.read(
            self.unit_id, table, address, count, timeout_s=self.timeout_s, request_gap_s=self.request_gap_s
        )


def _most(table: Table, count: int) -> int:
    """Bits come in whole bytes; registers are counted exactly."""
    return (count + 7) // 8 * 8 if table in (Table.COIL, Table.DISCRETE) else count


def _tls(settings: LinkSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert_file is not None:
        context.load_cert_chain(settings.client_cert_file, settings.client_key_file)
    return context


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return error.strerror or str(error) or type(error).__name__
