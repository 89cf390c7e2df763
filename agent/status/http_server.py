"""A small HTTP/1.1 server that answers GET and HEAD. Each connection has one request.

- The head of a request must arrive within 5 s. Otherwise the answer is 408.
- The head must have at most 8 KiB. Otherwise the answer is 431.
- The client must accept the answer within 10 s. Otherwise the connection is closed.
- There are at most 16 connections. A further connection replaces the oldest one that has not sent its whole request,
  so that slow clients cannot block the server. If all have sent their request, the further connection is closed.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 16
HEAD_S = 5.0
ANSWER_S = 10.0

# Headers of every answer.
_ALWAYS = {
    "Connection": "close",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `path` is as sent, without the query. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer to one request."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class BadRequestError(Exception):
    """The request is not valid. The answer has `status`."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class HttpServer:
    """Answers requests with the result of `handler`."""

    def __init__(self, handler: Handler, *, head_s: float = HEAD_S, answer_s: float = ANSWER_S) -> None:
        self._handler = handler
        self._head_s = head_s
        self._answer_s = answer_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        """Connections without a complete request, the oldest first."""
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen on `host` and `port`; 0 lets the system choose the port. Return the port. Raises OSError."""
        # asyncio ignores each socket that it cannot create. If it has created no socket at all, Python 3.13 and later
        # raise an error without errno, and earlier versions raise nothing. This function raises EMFILE in both cases.
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            if error.errno is not None:
                raise
        if self._server is None or not self._server.sockets:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, and close every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or (len(self._tasks) >= MAX_CONNECTIONS and not self._close_oldest_waiting()):
            writer.transport.abort()
            return
        self._tasks.add(task)
        self._waiting[writer] = None
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError) as error:
            log.debug("status_client_gone", reason=type(error).__name__)
        finally:
            self._tasks.discard(task)
            self._waiting.pop(writer, None)
            writer.transport.abort()  # does nothing if the connection is closed

    def _close_oldest_waiting(self) -> bool:
        """Close the oldest connection without a complete request. Return False if there is none."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        del self._waiting[oldest]
        oldest.transport.abort()
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            async with asyncio.timeout(self._head_s):
                head = await _head(reader)
            self._waiting.pop(writer, None)
            request = parse_head(head)
            method = request.method
            response = await self._answer(request)
        except TimeoutError:
            response = _plain(HTTPStatus.REQUEST_TIMEOUT)
        except BadRequestError as error:
            response = _plain(error.status)
        async with asyncio.timeout(self._answer_s):
            writer.write(render(response, with_body=method != "HEAD"))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            response = _plain(HTTPStatus.METHOD_NOT_ALLOWED)
            return HttpResponse(response.status, response.body, headers={"Allow": "GET, HEAD"})
        try:
            return await self._handler(request)
        except Exception:  # a bug in the handler; the client must get an answer
            log.exception("status_defect", path=request.path)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise ConnectionResetError("closed without a request") from None
        raise BadRequestError(HTTPStatus.BAD_REQUEST) from None


def parse_head(head: bytes) -> HttpRequest:
    """Parse the request line and the headers. If a header occurs several times, its first value is used.

    Raises BadRequestError if the head is not valid HTTP/1, or if the path does not begin with a slash.
    """
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(HTTPStatus.BAD_REQUEST)
        headers.setdefault(name.lower(), value.strip())
    return HttpRequest(words[0], words[1].partition("?")[0], headers)


def render(response: HttpResponse, *, with_body: bool = True) -> bytes:
    """Return the bytes of the answer."""
    headers = {
        **_ALWAYS,
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        **response.headers,
    }
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + response.body if with_body else head


def _plain(status: HTTPStatus) -> HttpResponse:
    return HttpResponse(status, f"{status.phrase}\n".encode())
