"""A real HTTP(S) server with faults. A behaviour handles each request and can do anything with the socket.

    async with HttpFaults(answer(503)) as server:
        server.script += [reset_after_body(), answer(200)]     # for the next two requests; later ones get 503
        ...
        assert server.accepted[0].headers["webhook-id"] == ...

A behaviour is a coroutine function with one argument, an `Exchange`. It has the head of the request, and `accept` reads
the body. `requests` has all requests whose head arrived. `accepted` has all requests whose body was read completely.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Self

from tests.support.ports import free_port

MAX_HEAD = 64 * 1024


@dataclass(slots=True)
class Request:
    """A received request. Headers have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    connection: int
    """Number of the connection, from 1."""
    body: bytes = b""
    answered: int | None = None
    """The status of the answer, if it was sent completely."""


@dataclass(slots=True)
class Exchange:
    """One request and its connection."""

    server: HttpFaults
    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    accepted: bool = False

    async def accept(self) -> None:
        """Read the body. The receiver then has the message."""
        if self.accepted:
            return
        length = int(self.request.headers.get("content-length", "0"))
        self.request.body = await self.reader.readexactly(length)
        self.accepted = True
        self.server.accepted.append(self.request)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.server.sent_bytes += len(data)

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a correct answer. Header names have `_` instead of `-`."""
        await self.send(head(status, content_length=str(len(body)), **headers) + body)
        self.request.answered = status

    def reset(self) -> None:
        """Close the connection with RST instead of FIN."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


class ClosedError(Exception):
    """A behaviour raises it to end the connection."""


@dataclass(slots=True)
class HttpFaults:
    """Serves on a free port of 127.0.0.1, with TLS if `tls` is set.

    The first requests use the behaviours of `script`, one each. Later requests use `behaviour`.
    """

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    script: deque[Behaviour] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    accepted: list[Request] = field(default_factory=list)
    connections: int = 0
    sent_bytes: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen. After `down`, listen on the same port again."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.tls, limit=MAX_HEAD, reuse_address=True
        )

    async def down(self) -> None:
        """Refuse new connections and reset open connections."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until `condition` is true. Checks it after each request and every 10 ms."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                with contextlib.suppress(TimeoutError):  # the agent handles the answer a moment later
                    await asyncio.wait_for(self._news.wait(), 0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        number = self.connections
        try:
            while True:
                await self._one(reader, writer, number)
        except (OSError, EOFError, ClosedError, asyncio.CancelledError):
            pass  # only `down` cancels, and the handler of a stream must not raise CancelledError
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        fields = (line.partition(":") for line in lines[1:] if line)
        request = Request(method, path, {name.lower(): value.strip() for name, _, value in fields}, number)
        self.requests.append(request)
        behaviour = self.script.popleft() if self.script else self.behaviour
        try:
            await behaviour(Exchange(self, request, reader, writer))
        finally:
            self._news.set()


def head(status: int, **headers: str) -> bytes:
    """Return the status line and the headers."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Read the message and answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(status, body, **headers)

    return behave


def redirect(status: int, location: str) -> Behaviour:
    return answer(status, location=location)


def hang_before_headers() -> Behaviour:
    """Read the message and never answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await asyncio.Event().wait()

    return behave


def hang_unread() -> Behaviour:
    """Neither read the message nor answer."""

    async def behave(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    return behave


def hang_in_body(status: int = 200) -> Behaviour:
    """Send the head and the beginning of the body, and stop there."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(head(status, content_length="1000") + b"x" * 10)
        await asyncio.Event().wait()

    return behave


def reset_before_body() -> Behaviour:
    """Reset the connection before the message is read. The receiver does not have the message."""

    async def behave(exchange: Exchange) -> None:
        exchange.reset()
        raise ClosedError

    return behave


def reset_after_body() -> Behaviour:
    """Read the message and reset the connection, so that the acknowledgement is lost."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        exchange.reset()
        raise ClosedError

    return behave


def close_after_body() -> Behaviour:
    """Read the message and close the connection with FIN."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        raise ClosedError

    return behave


def reset_in_headers() -> Behaviour:
    """Send a part of the status line and close the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(b"HTTP/1.1 200 O")
        raise ClosedError

    return behave


def drip(status: int = 200, every_s: float = 0.02, head_first: bool = True) -> Behaviour:
    """Send an endless answer byte by byte. Each byte arrives before a read time-out."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if head_first:
            await exchange.send(head(status, content_length="1000000"))
        else:
            await exchange.send(f"HTTP/1.1 {status} OK\r\nX-Drip: ".encode())
        while True:
            await exchange.send(b"x")
            await asyncio.sleep(every_s)

    return behave


def huge(status: int = 200, body: bytes = b"x" * 65536, times: int = 16_000, **headers: str) -> Behaviour:
    """Send a body of `times` chunks. The default is a gigabyte."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(head(status, content_length=str(len(body) * times), **headers))
        for _ in range(times):
            await exchange.send(body)

    return behave


@cache
def _bomb() -> bytes:
    """Compressed in parts, because a test measures the memory while its server computes this."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS + 16)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(64)]
    return b"".join((*parts, packer.flush()))


def gzip_bomb(status: int = 200) -> Behaviour:
    """Send a body of 64 KiB that decompresses to 64 MiB."""

    async def behave(exchange: Exchange) -> None:
        await answer(status, _bomb(), content_encoding="gzip", content_type="application/json")(exchange)

    return behave


def endless_headers() -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await exchange.send(b"X-More: " + b"x" * 1000 + b"\r\n")

    return behave


def raw(data: bytes) -> Behaviour:
    """Send `data` as it is and close the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(data)
        raise ClosedError

    return behave


def interim(status: int, final: int = 200) -> Behaviour:
    """Send a 1xx status before the answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 {status} Interim\r\n\r\n".encode())
        await exchange.accept()
        await exchange.answer(final)

    return behave


def endless_interim(interim_answer: bytes) -> Behaviour:
    """Send 1xx statuses without end and no answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        while True:
            await exchange.send(interim_answer * 100)

    return behave


def endless_chunks(chunk: bytes, status: int = 200) -> Behaviour:
    """Send a chunked body without end."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(head(status, transfer_encoding="chunked"))
        while True:
            await exchange.send(chunk * 100)

    return behave


def answer_unread(status: int) -> Behaviour:
    """Answer before the body is read, and close the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.answer(status, connection="close")
        raise ClosedError

    return behave


def answer_then_close(status: int = 200) -> Behaviour:
    """Answer without `Connection: close`, and close the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(status)
        raise ClosedError

    return behave


class Mute:
    """Accepts connections and sends nothing, so that a TLS handshake hangs."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
