"""Modbus links: one connection and one lock per endpoint, reads only.

A `Link` connects on its first read and keeps its connection. What it guarantees:

- One request at a time, one connection at a time: the old one is closed before the next is opened.
- A reply can only answer its own request. After a time-out, a bad reply or a cancelled read a connection is closed
  before the next request (a serial port stays open). Where frames carry no transaction, RTU and ASCII, the next request
  to the same unit also waits until a reply that is up to one timeout late has passed by.
- A request ends within its timeout, a lost connection ends it at once, a cancelled read leaves the link usable.
- A device that closed a connection between two requests is reconnected once, silently.
- Unit id 0 is an address like any other; on a serial line it is the broadcast address that nobody answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import unpack

from drivers.base import Reader
from drivers.bus_channel import Channel, DroppedError
from drivers.bus_frames import Request
from drivers.errors import ExceptionReply, LinkError
from drivers.model import Table


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where a link leads and how patient it is."""

    transport: str = "tcp"
    """tcp, udp, tls, rtu, ascii, rtu_over_tcp or ascii_over_tcp."""
    host: str | None = None
    port: int = 502
    serial_port: str | None = None
    baudrate: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    timeout_s: float = 1.0
    """For one reply, and for opening the connection."""
    connect_delay_s: float = 0.0
    """Silence after a connect, for devices that swallow what comes too early."""
    request_gap_s: float = 0.0
    """Silence between a reply and the next request."""
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None

    @property
    def serial(self) -> bool:
        return self.transport in ("rtu", "ascii")

    @property
    def address(self) -> str:
        """Host and port, or the serial port, as messages name it."""
        if self.serial:
            return str(self.serial_port)
        return f"[{self.host}]:{self.port}" if ":" in str(self.host) else f"{self.host}:{self.port}"


class Link:
    """A connection shared by the units behind it."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._numbered = settings.transport in ("tcp", "udp", "tls")
        self._gap_s = max(settings.request_gap_s, _line_silence_s(settings))
        self._lock = asyncio.Lock()
        self._channel: Channel | None = None
        self._closed = False
        self._transaction = 0
        self._not_before = 0.0
        """End of the connect delay, in the loop's time."""
        self._last_end = 0.0
        self._late_until: dict[int, float] = {}
        """Until when a late reply of a unit may still come, where nothing tells it from a timely one."""

    def unit(self, unit_id: int, *, timeout_s: float | None = None, request_gap_s: float | None = None) -> Reader:
        """A reader of one unit; None takes timeout and gap from the link."""
        return _Unit(self, unit_id, timeout_s, request_gap_s)

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
        """`count` registers (0..65535) or bits (0 or 1) from a zero-based protocol address.

        Raises a DriverError, ValueError for a read that Modbus cannot express.
        """
        timeout_s = self._settings.timeout_s if timeout_s is None else timeout_s
        gap_s = self._gap_s if request_gap_s is None else max(request_gap_s, _line_silence_s(self._settings))
        async with self._lock:
            self._transaction = self._transaction % 0xFFFF + 1
            request = Request(unit_id, table, address, count, self._transaction)
            data = await self._ask(request, timeout_s, gap_s)
        if request.function >= 3:
            return unpack(f">{count}H", data)
        bits = int.from_bytes(data, "little")
        return tuple(bits >> position & 1 for position in range(count))

    async def close(self) -> None:
        """Close for good: a read that is waiting fails at once, later ones fail too."""
        self._closed = True
        if self._channel is not None:
            self._channel.abort()
        async with self._lock:
            await self._disconnect()

    async def _ask(self, request: Request, timeout_s: float, gap_s: float) -> bytes:
        if self._channel is not None and self._channel.usable:
            try:
                return await self._exchange(self._channel, request, timeout_s, gap_s)
            except DroppedError:
                pass  # closed while idle, as many devices do: worth one fresh connection
        return await self._exchange(await self._connect(), request, timeout_s, gap_s)

    async def _exchange(self, channel: Channel, request: Request, timeout_s: float, gap_s: float) -> bytes:
        await self._pause(request.unit_id, gap_s)
        loop = asyncio.get_running_loop()
        sent = loop.time()
        try:
            return await channel.exchange(request, timeout_s)
        except (ExceptionReply, LinkError):
            raise
        except BaseException:
            if not self._settings.serial:
                channel.abort()
            if not self._numbered:
                self._late_until[request.unit_id] = sent + 2 * timeout_s
            raise
        finally:
            self._last_end = loop.time()

    async def _pause(self, unit_id: int, gap_s: float) -> None:
        until = max(self._not_before, self._last_end + gap_s, self._late_until.get(unit_id, 0.0))
        wait_s = until - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _connect(self) -> Channel:
        from drivers.bus_connect import connect  # TLS and serial lines only load when something is to be read

        await self._disconnect()
        if not self._closed:
            self._channel = await connect(self._settings)
            self._not_before = asyncio.get_running_loop().time() + self._settings.connect_delay_s
        if self._closed or self._channel is None:
            raise LinkError(f"{self._settings.address}: the link is closed")
        return self._channel

    async def _disconnect(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None


class _Unit:
    """One unit id on a link."""

    def __init__(self, link: Link, unit_id: int, timeout_s: float | None, request_gap_s: float | None) -> None:
        self._link = link
        self._unit_id = unit_id
        self._timeout_s = timeout_s
        self._request_gap_s = request_gap_s

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        return await self._link.read(
            self._unit_id, table, address, count, timeout_s=self._timeout_s, request_gap_s=self._request_gap_s
        )


def _line_silence_s(settings: LinkSettings) -> float:
    """Frames on an RTU line are told apart by silence: 3.5 characters, 1.75 ms from 19200 baud up."""
    return max(3.5 * 11 / settings.baudrate, 0.00175) if settings.transport == "rtu" else 0.0
