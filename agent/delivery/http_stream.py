"""Bounds what one answer may cost, below httpcore: interim answers, bytes of heads, bytes of the whole.

httpcore reads interim answers (1xx) without end, and h11 bounds only a single head. An endless stream of them takes a
whole core. httpx has no hook for them, so the bytes are counted before h11 parses them.
"""

from __future__ import annotations

import re
import ssl
from typing import Any

import httpcore

MAX_INTERIM = 16
"""Interim answers before the answer."""
MAX_INTERIM_BYTES = 16 * 1024
"""Bytes of all interim answers; h11 bounds the head of the answer itself."""
MAX_ANSWER_BYTES = 256 * 1024
"""Bytes of everything in answer to one request. More than the head and the part of the body that is read."""

IS_TLS = "the answer is TLS"

_READ_BYTES = 16 * 1024
"""A read returns no more at once: h11 parses all of it before the event loop gets its turn."""
# As h11 has it. 101 is no interim answer: httpcore ends the reading of heads there.
_INTERIM = re.compile(rb"HTTP/[0-9]\.[0-9] (?!101)[01][0-9]{2}")
_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = len(b"HTTP/1.1 100")
# ContentType and ProtocolVersion of a record (RFC 8446, 5.1).
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that raises httpcore.RemoteProtocolError if an answer exceeds a bound, or is TLS."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._begin()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._bytes += len(data)
        if self._bytes > MAX_ANSWER_BYTES:
            raise httpcore.RemoteProtocolError("the answer is too long")
        if self._before_answer:
            self._check_heads(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._begin()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _begin(self) -> None:
        """What is read from now on answers another request."""
        self._bytes = 0
        self._interim = 0
        self._interim_bytes = 0
        self._before_answer = True
        self._head = b""

    def _check_heads(self, data: bytes) -> None:
        self._head += data
        if _TLS_RECORD.match(self._head):
            raise httpcore.RemoteProtocolError(IS_TLS)
        while _INTERIM.match(self._head) and (end := _HEAD_END.search(self._head)):
            self._interim += 1
            self._interim_bytes += end.end()
            self._head = self._head[end.end() :]
            if self._interim > MAX_INTERIM:
                raise httpcore.RemoteProtocolError("too many interim answers")
        if _INTERIM.match(self._head):
            if self._interim_bytes + len(self._head) > MAX_INTERIM_BYTES:
                raise httpcore.RemoteProtocolError("the interim answers are too long")
        elif len(self._head) >= _STATUS_LINE:
            self._before_answer = False
            self._head = b""
