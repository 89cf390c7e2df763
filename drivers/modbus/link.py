"""Modbus links: one connection and one lock for each host and port, or for each serial port. A link never writes.

A `Link` connects at its first request and keeps its connection. Its guarantees:

- It sends one request at a time and has one connection at a time. It closes the old connection before it opens a new
  one.
- A reply is accepted only for its own request. After a time-out, a bad reply or a cancelled read, the connection is
  closed before the next request, with two exceptions: a serial port stays open, and the connection stays open in the
  first two special cases below.
- RTU and ASCII frames have no transaction number. So after such a failed request, the next request to the same unit
  waits until no late reply can arrive any more: until two timeouts after the failed request was sent.
- The wait for a reply ends after the timeout, and at once if the connection is lost.
- If the device closed the connection between two requests, the link connects again once, without an error.

Some devices and gateways need special treatment:

- Some gateways give a wrong transaction number to the first reply of each connection. The link ignores that reply, and
  sends the request once more on the same connection, with a new timeout.
- Some gateways send each reply twice. The link ignores the copy, even if it arrives after the next request. In RTU and
  ASCII, a reply that is equal to an earlier one may be such a copy. The link may then send the request once more, and
  the read takes up to three timeouts. On a link without copies, this usually happens to one read, and to no later one
  (`drivers.modbus.copies`).
- Unit id 0 is a normal address, except on a serial line: there it is the broadcast address, and no unit responds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from math import inf
from typing import Any, TypeVar

from drivers.driver import Reader
from drivers.errors import DroppedError, LinkError, RepeatedReplyError, WrongTransactionError
from drivers.modbus.connect import connect
from drivers.modbus.copies import Copies
from drivers.modbus.pdu import Identification, ReadRequest, RequestPdu
from drivers.modbus.settings import LinkSettings
from drivers.modbus.transport import Transport
from drivers.model import Table

__all__ = ["Link", "LinkSettings"]

Answer = TypeVar("Answer")


class Link:
    """One connection that several units share."""

    def __init__(self, settings: LinkSettings) -> None:
        self.settings = settings
        self._silence_s = settings.line_silence_s
        self._gap_s = max(settings.request_gap_s, self._silence_s)
        self._lock = asyncio.Lock()
        self._channel: Transport | None = None
        self._copies = Copies()
        self._closed = False
        self._transaction = 0
        self._not_before = 0.0
        """Loop time at which the connect delay ends. No request is sent before."""
        self._last_end = -inf
        """Loop time at which the last request ended. The first value is -inf, because loop time may begin at 0."""
        self.wrong_transactions = 0
        """Number of connections whose first reply had a wrong transaction number."""
        self._late_until: dict[int, float] = {}
        """Unit id → loop time until which its late reply may arrive. Only for RTU and ASCII."""

    def unit(self, unit_id: int, *, timeout_s: float | None = None, request_gap_s: float | None = None) -> Reader:
        """Return a reader of one unit. None means the value of the link."""
        timeout_s = self.settings.timeout_s if timeout_s is None else timeout_s
        gap_s = self._gap_s if request_gap_s is None else max(request_gap_s, self._silence_s)
        return _Unit(self, unit_id, timeout_s, gap_s)

    def read(
        self,
        unit_id: int,
        table: Table,
        address: int,
        count: int,
        *,
        timeout_s: float | None = None,
        request_gap_s: float | None = None,
    ) -> Coroutine[Any, Any, Sequence[int]]:
        """Read from one unit; see `unit` and `drivers.driver.Reader`."""
        return self.unit(unit_id, timeout_s=timeout_s, request_gap_s=request_gap_s).read(table, address, count)

    async def identification(self, unit_id: int, timeout_s: float) -> tuple[str, ...]:
        """Read vendor, product and revision from the device. Most devices refuse this. Raises a DriverError."""
        return await self.ask(Identification(unit_id), timeout_s, self._gap_s)

    async def close(self) -> None:
        """Close the link permanently. A read that waits for its reply fails at once; all later reads fail."""
        self._closed = True
        if self._channel is not None:
            self._channel.abort()
        async with self._lock:
            await self._disconnect()

    async def ask(self, request: RequestPdu[Answer], timeout_s: float, gap_s: float) -> Answer:
        """Send the request on the open connection, or on a new one, and return the decoded reply.

        The request is sent at least `gap_s` seconds after the end of the previous one. Raises a DriverError.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            channel = self._channel if self._channel is not None and self._channel.usable else None
            reused, again = channel is not None, False
            while True:
                channel = channel or await self._connect()
                if self._late_until or max(self._not_before, self._last_end + gap_s) > loop.time():
                    await self._pause(request.unit_id, gap_s)
                self._transaction = request.transaction = self._transaction % 0xFFFF + 1
                try:
                    return await channel.exchange(request, timeout_s)
                except DroppedError:
                    if not reused:
                        raise
                    channel, reused = None, False  # many devices close an idle connection
                except WrongTransactionError:
                    if reused or again:
                        raise
                    again = True  # some gateways number the first reply of a connection wrongly
                    self.wrong_transactions += 1
                except RepeatedReplyError:
                    # This happens only once per request: `Copies` has now forgotten the earlier replies.
                    reused = True
                    self._late_until[request.unit_id] = loop.time() + timeout_s  # no copy can arrive after this time
                finally:
                    self._last_end = loop.time()
                    if channel is not None and channel.expects_late_reply:
                        self._expect_late_reply(channel, request.unit_id, timeout_s)

    def _expect_late_reply(self, channel: Transport, unit_id: int, timeout_s: float) -> None:
        """Make sure that a late reply to this request is not used as the reply to a later request."""
        if not self.settings.serial:
            channel.abort()
        if not channel.numbered:
            self._late_until[unit_id] = channel.sent_at + 2 * timeout_s

    async def _pause(self, unit_id: int, gap_s: float) -> None:
        until = max(self._not_before, self._last_end + gap_s, self._late_until.get(unit_id, 0.0))
        await asyncio.sleep(until - asyncio.get_running_loop().time())
        if unit_id in self._late_until:
            # If the event loop was blocked, the late reply may have arrived but not be read yet. `sleep(0)` lets the
            # event loop read it first.
            await asyncio.sleep(0)
            del self._late_until[unit_id]
        self._require_open()

    async def _connect(self) -> Transport:
        self._require_open()
        await self._disconnect()
        self._channel = await connect(self.settings)
        self._channel.copies = self._copies
        self._copies.connected()
        self._not_before = asyncio.get_running_loop().time() + self.settings.connect_delay_s
        self._require_open()
        return self._channel

    def _require_open(self) -> None:
        if self._closed:
            raise LinkError(f"{self.settings.address}: the link is closed")

    async def _disconnect(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None


class _Unit:
    """One unit id on a link."""

    def __init__(self, link: Link, unit_id: int, timeout_s: float, gap_s: float) -> None:
        self._link = link
        self._unit_id = unit_id
        self._timeout_s = timeout_s
        self._gap_s = gap_s
        self._requests: dict[tuple[Table, int, int], ReadRequest] = {}
        """The requests so far, kept because each poll sends the same ones."""

    def read(self, table: Table, address: int, count: int) -> Coroutine[Any, Any, Sequence[int]]:
        """See `drivers.driver.Reader`. Raises ValueError for a read that is impossible in Modbus."""
        request = self._requests.get((table, address, count))
        if request is None:
            request = self._requests[table, address, count] = ReadRequest(self._unit_id, table, address, count)
        return self._link.ask(request, self._timeout_s, self._gap_s)
