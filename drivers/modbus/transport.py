"""One open connection. Sends a request and waits for its reply until the timeout.

After a failed request, the caller must not send another request on this connection while a late reply can arrive
(`Transport.expects_late_reply`).

The module uses asyncio's protocol interface instead of pymodbus' client. That client accepts replies with too few
registers, notices a lost connection only at the timeout, and needs more time per request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

from drivers.errors import (
    BadReplyError,
    DriverError,
    DroppedError,
    GatewayError,
    LinkError,
    RefusedError,
    RepeatedReplyError,
    SilentError,
    WrongTransactionError,
)
from drivers.modbus.copies import Copies
from drivers.modbus.framer import Framing, LineFraming, Mbap
from drivers.modbus.os_errors import in_words
from drivers.modbus.pdu import RequestPdu

# Maximum bytes after one request: nearly four times the longest frame (ASCII, 513 bytes). A peer that sends more does
# not use Modbus.
_MAX_RECEIVED = 2048
_BUFFER_BYTES = 528
"""Maximum bytes that are received at once. The longest frame fits."""


Answer = TypeVar("Answer")


class Transport(asyncio.BufferedProtocol, asyncio.DatagramProtocol):
    """A stream, a connected datagram socket or a serial line.

    For a stream, `get_buffer` gives asyncio a small buffer. Without it, asyncio would allocate 256 KiB for each
    receive, and the C library would get this memory from the system and return it each time.
    """

    def __init__(self, framing: Framing | LineFraming, address: str, *, datagrams: bool = False) -> None:
        self._framing = framing
        self._line = None if isinstance(framing, Mbap) else cast("LineFraming", framing)
        """The framing if its replies have no transaction number (RTU and ASCII), otherwise None."""
        self._accept = framing.accept if self._line is None else self._accept_on_line
        self.copies = Copies()
        """Recognises copies of replies. `Link` replaces this object with its own `Copies`, which is the same object for
        all connections of the link."""
        self._address = address
        self._datagrams = datagrams
        self._transport: Any = None
        self._send: Callable[[bytes], object]
        self._loop: asyncio.AbstractEventLoop
        self._closed = asyncio.Event()
        self._request: RequestPdu[Any] | None = None
        self._reply: asyncio.Future[Any] | None = None
        self._timeout_s: float
        self._received = b""
        # A view, because asyncio's TLS writes each further record into a slice, and a slice of a bytearray is a copy.
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._first = True
        """Whether the current or next request is the first on this connection."""
        self.sent_at: float
        """When the last request was sent, in the loop's time."""
        self.expects_late_reply: bool
        """Whether the reply to the last request may still arrive."""

    @property
    def numbered(self) -> bool:
        """Whether a reply contains the transaction number of its request."""
        return self._line is None

    @property
    def usable(self) -> bool:
        """Whether the connection is open."""
        return not self._transport.is_closing()

    async def exchange(self, request: RequestPdu[Answer], timeout_s: float) -> Answer:
        """Send the request and return its decoded reply.

        Raises a DriverError, at the latest `timeout_s` after the call.
        """
        self.expects_late_reply = False
        if not self.usable:
            raise DroppedError(f"{self._address}: the device closes the connection at once")
        loop = self._loop
        reply = self._reply = loop.create_future()
        self._request, self._timeout_s = request, timeout_s
        self._received = b""
        self.expects_late_reply = True
        if self._line:
            self.copies.begin(request)
        timer = loop.call_later(timeout_s, self._expire, timeout_s)
        try:
            self._send(self._framing.encode(request))
            self.sent_at = loop.time()
            outcome: Answer | DriverError = await reply
        finally:
            timer.cancel()
            self._reply = None
            first, self._first = self._first, False
        if isinstance(outcome, DriverError):
            # After a SilentError or a BadReplyError, the reply may still arrive. There are two exceptions:
            # - The first reply of the connection has a wrong transaction number, as from some gateways. There was no
            #   earlier request on this connection, so this reply belongs to this request.
            # - After a RepeatedReplyError, the link itself waits until no copy can arrive.
            wrong_first = first and isinstance(outcome, WrongTransactionError)
            answered = wrong_first or isinstance(outcome, RepeatedReplyError)
            self.expects_late_reply = isinstance(outcome, (SilentError, BadReplyError)) and not answered
            raise outcome
        self.expects_late_reply = False
        return outcome

    def abort(self) -> None:
        """Close at once. Bytes that arrive later are ignored."""
        self._transport.abort()

    async def close(self) -> None:
        """Close, and wait until the connection is closed."""
        self.abort()
        await self._closed.wait()

    def _finish(self, outcome: object) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(outcome)

    def _expire(self, timeout_s: float) -> None:
        if self._received and (request := self._request) is not None:
            copy = self.copies.rejected(request, self._line.frames(request, self._received)) if self._line else None
            self._finish(copy or self._framing.rejected(request, self._received, timeout_s))
        else:
            self._finish(SilentError(f"{self._request}: no answer within {timeout_s:g} s"))

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._send = self._transport.sendto if self._datagrams else self._transport.write

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        reply, request = self._reply, self._request
        if reply is None or request is None or reply.done():
            self._unsolicited(data)
            return
        self._received = received = self._received + data
        try:
            outcome: object = self._accept(request, received)
        except DriverError as error:
            outcome = error
        if outcome is None and len(received) > _MAX_RECEIVED:
            outcome = BadReplyError(f"{request}: the received bytes are not Modbus")
        if outcome is not None:
            reply.set_result(outcome)

    def _accept_on_line(self, request: RequestPdu[Answer], received: bytes) -> Answer | None:
        line = cast("LineFraming", self._line)
        at = self._loop.time()
        frames = line.frames(request, received)
        frame = self.copies.reply(request, frames, received, at, at + self._timeout_s)
        return None if frame is None else request.decode(frame.pdu)

    def _unsolicited(self, data: bytes) -> None:
        """Handle bytes that arrived while no request waited for a reply."""
        if not self.numbered:
            self.copies.unsolicited(data)
        elif not self._datagrams and not self._is_copy(data):
            self.abort()  # MBAP frames have no checksum, so the beginning of the next frame cannot be found

    def _is_copy(self, data: bytes) -> bool:
        """Whether the bytes are a second reply to the last request."""
        try:
            return self._request is not None and self._framing.accept(self._request, data) is not None
        except (RefusedError, GatewayError):
            return True
        except BadReplyError:
            return False

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._received = b""  # a frame is in one datagram
        self.data_received(data)

    def error_received(self, exc: Exception) -> None:
        self._finish(LinkError(f"{self._address}: {in_words(exc)}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        why = f" ({in_words(exc)})" if exc else ""
        if self._received:
            self._finish(LinkError(f"{self._address}: the connection was lost in the middle of a reply{why}"))
        else:
            self._finish(DroppedError(f"{self._address}: the connection was closed instead of a reply{why}"))
