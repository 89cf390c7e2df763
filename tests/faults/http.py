"""A real HTTP(S) server that misbehaves: each request is handed to a behaviour, which may do anything to the socket.

    async with HttpFaults(answer(503)) as server:
        server.script += [reset_after_body(), answer(200)]     # for the next two requests; then 503 again
        ...
        assert server.accepted[0].headers["webhook-id"] == ...

A behaviour is a coroutine function of one `Exchange`. It sees the head of the request; the body is still on its way
until it calls `accept`. `requests` has every head that arrived, `accepted` those whose body was read to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

MAX_HEAD = 64 * 1024


@dataclass(slots=True)
class Request:
    """What arrived; headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]
    connection: int
    """Counted from 1."""
    body: bytes = b""
    answered: int | None = None
    """The status of the answer that was sent to its end."""


@dataclass(slots=True)
class Exchange:
    """One request and the connection it came by."""

    server: HttpFaults
    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    accepted: bool = False

    async def accept(self) -> None:
        """Read the body; from here on the receiver has the message."""
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
        """A correct answer; header names with `_` for `-`."""
        await self.send(head(status, content_length=str(len(body)), **headers) + body)
        self.request.answered = status

    def reset(self) -> None:
        """An RST instead of a FIN."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


class ClosedError(Exception):
    """A behaviour ends the connection."""


@dataclass(slots=True)
class HttpFaults:
    """Serves on a free port of 127.0.0.1; with a context, TLS. `script` is used up first, then `behaviour` stays."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    port: int = 0
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
        """Listen; again on the same port after `down`."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.tls, limit=MAX_HEAD, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, reset those that are open."""
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
        """Wait for something that requests bring about."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                with contextlib.suppress(TimeoutError):  # what the agent makes of it comes a moment later
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
            pass  # cancelled only by `down`, and a stream's handler must not end so
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
    """Status line and headers."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Take the message and answer it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(status, body, **headers)

    return behave


def redirect(status: int, location: str) -> Behaviour:
    return answer(status, location=location)


def hang_before_headers() -> Behaviour:
    """Take the message and say nothing."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await asyncio.Event().wait()

    return behave


def hang_unread() -> Behaviour:
    """Do not even read the message."""

    async def behave(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    return behave


def hang_in_body(status: int = 200) -> Behaviour:
    """Say the status, promise a body, and stop in the middle of it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(head(status, content_length="1000") + b"x" * 10)
        await asyncio.Event().wait()

    return behave


def reset_before_body() -> Behaviour:
    """Break the connection before the message is read: it is not here."""

    async def behave(exchange: Exchange) -> None:
        exchange.reset()
        raise ClosedError

    return behave


def reset_after_body() -> Behaviour:
    """Take the message and break the connection: the acknowledgement is lost."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        exchange.reset()
        raise ClosedError

    return behave


def close_after_body() -> Behaviour:
    """The same, politely."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        raise ClosedError

    return behave


def reset_in_headers() -> Behaviour:
    """Half a head of an answer, then nothing more."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(b"HTTP/1.1 200 O")
        raise ClosedError

    return behave


def drip(status: int = 200, every_s: float = 0.02, head_first: bool = True) -> Behaviour:
    """An answer without end, byte by byte: each comes within any time-out of a read."""

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
    """A body of `times` chunks, a gigabyte if nobody stops it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(head(status, content_length=str(len(body) * times), **headers))
        for _ in range(times):
            await exchange.send(body)

    return behave


def gzip_bomb(status: int = 200) -> Behaviour:
    """64 KiB on the wire, 64 MiB for who inflates it."""
    return answer(status, gzip.compress(b"\0" * (64 << 20)), content_encoding="gzip", content_type="application/json")


def endless_headers() -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await exchange.send(b"X-More: " + b"x" * 1000 + b"\r\n")

    return behave


def raw(data: bytes) -> Behaviour:
    """Whatever it is, then the end of the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(data)
        raise ClosedError

    return behave


def interim(status: int, final: int = 200) -> Behaviour:
    """1xx before the answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 {status} Interim\r\n\r\n".encode())
        await exchange.accept()
        await exchange.answer(final)

    return behave


def endless_interim(interim_answer: bytes) -> Behaviour:
    """1xx without end, and no answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        while True:
            await exchange.send(interim_answer * 100)

    return behave


def endless_chunks(chunk: bytes, status: int = 200) -> Behaviour:
    """A chunked body without end."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(head(status, transfer_encoding="chunked"))
        while True:
            await exchange.send(chunk * 100)

    return behave


def answer_unread(status: int) -> Behaviour:
    """The verdict before the body, and the connection closed on it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.answer(status, connection="close")
        raise ClosedError

    return behave


def answer_then_close(status: int = 200) -> Behaviour:
    """Promise to keep the connection alive, and close it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(status)
        raise ClosedError

    return behave


class Mute:
    """Accepts connections and never says a word: a hanging TLS handshake."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
