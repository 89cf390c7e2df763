"""The small HTTP server, over real sockets: what it answers, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.http_server import (
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    BadRequestError,
    HttpRequest,
    HttpResponse,
    HttpServer,
    parse_head,
)

LIMIT_S = 60


async def handler(request: HttpRequest) -> HttpResponse:
    if request.path == "/broken":
        raise RuntimeError("a defect")
    if request.path == "/large":
        return HttpResponse(body=b"x" * 20_000_000)
    return HttpResponse(body=f"{request.method} {request.path} {request.headers.get('host')}".encode())


@contextlib.asynccontextmanager
async def serving(head_s: float = 5.0, answer_s: float = 5.0) -> AsyncIterator[int]:
    server = HttpServer(handler, head_s=head_s, answer_s=answer_s)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()


async def ask(port: int, sent: bytes) -> bytes:
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
        (b"GET /?token=x HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400 Bad Request"),
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n", b"431 Request Header Fields Too Large"),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"500 Internal Server Error"),
    ],
)
async def test_answers(sent: bytes, status: bytes) -> None:
    async with serving() as port:
        assert (await ask(port, sent)).partition(b"\r\n")[0] == b"HTTP/1.1 " + status


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with serving() as port:
        got = await ask(port, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await ask(port, b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert got.endswith(b"\r\n\r\nGET /x a")
    assert head.endswith(b"\r\n\r\n")
    assert head.replace(b"Content-Length: 9", b"Content-Length: 8") == got.removesuffix(b"GET /x a")
    assert b"\r\nCache-Control: no-store\r\n" in got
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in got


async def test_who_does_not_finish_asking_is_sent_away() -> None:
    async with serving(head_s=0.2) as port:
        assert (await ask(port, b"GET / HTTP/1.1\r\nHost: a\r\n")).startswith(b"HTTP/1.1 408 ")


async def test_who_does_not_read_is_cut_off_and_others_are_served_meanwhile() -> None:
    server = HttpServer(handler, answer_s=0.5)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)  # takes 2 KiB, then nothing more
    writer.write(b"GET /large HTTP/1.1\r\n\r\n")
    assert await reader.readexactly(8) == b"HTTP/1.1"
    slow = set(server._tasks)
    assert len(slow) == 1
    assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await asyncio.wait(slow, timeout=LIMIT_S)
    assert not server._tasks
    got = 0
    with contextlib.suppress(ConnectionResetError):
        while chunk := await reader.read(1 << 20):
            got += len(chunk)
    assert got < 20_000_000
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    await server.stop()


async def test_connections_are_limited_and_freed() -> None:
    """The one that frees a connection is a client that goes; who does not read is cut off in the test before."""
    async with serving(answer_s=LIMIT_S) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port, limit=1024) for _ in range(MAX_CONNECTIONS)]
        for _, writer in idle:
            writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        heads = [await reader.readline() for reader, _ in idle]
        assert set(heads) == {b"HTTP/1.1 200 OK\r\n"}
        assert await ask(port, b"GET / HTTP/1.1\r\n\r\n") == b"", "all are being answered"
        idle[0][1].transport.abort()
        async with asyncio.timeout(LIMIT_S):
            while not await ask(port, b"GET / HTTP/1.1\r\n\r\n"):  # noqa: ASYNC110 - until the server sees that the client has gone
                await asyncio.sleep(0.02)
        for _, writer in idle:
            writer.transport.abort()


async def test_where_no_further_file_can_be_opened_there_is_no_listener_and_an_error_that_says_so() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = HttpServer(handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            await server.start("127.0.0.1", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await server.stop()


async def test_whoever_asks_slowly_keeps_nobody_out() -> None:
    async with serving(head_s=LIMIT_S) as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * MAX_CONNECTIONS)]
        for _ in range(3):
            assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        reader, writer = slow[-1]
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 "), "the youngest still have their time"
        for _, writer in slow:
            writer.transport.abort()


@given(st.binary(max_size=300))
def test_any_head_is_a_request_or_refused(head: bytes) -> None:
    try:
        request = parse_head(head + b"\r\n\r\n")
    except BadRequestError:
        return
    assert request.path.startswith("/")
    assert all(name == name.lower() and "\r" not in value for name, value in request.headers.items())
