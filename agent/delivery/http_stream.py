"""Limits what httpcore reads as the answer to one request: number and bytes of interim answers, and bytes in total.

Without these limits, an endless stream of interim answers (1xx) would use a whole CPU core: httpcore reads any number
of them, and h11 limits only the bytes of each one. httpx has no hook for interim answers, so this module counts the
bytes before h11 parses them.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Any

import httpcore

MAX_INTERIM = 16
"""Maximum number of interim answers before the final answer."""
MAX_INTERIM_BYTES = 16 * 1024
"""Maximum bytes of all interim answers. h11 limits the head of the final answer."""
MAX_ANSWER_BYTES = 256 * 1024
"""Maximum bytes of the answer to one request. More than the sum of the other limits: 16 KiB of interim answers, 100 KiB
of head (httpcore), 64 KiB of body (`http_client`)."""

IS_TLS = "the answer is TLS"
"""The text of the error if a port answers plain HTTP with TLS."""

_READ_BYTES = 16 * 1024
"""Maximum bytes of one read. h11 parses them all before the event loop can run other tasks."""
# h11's pattern for the first line of an interim answer, without 101: after 101, httpcore reads no further head.
_INTERIM = re.compile(rb"HTTP/[0-9]\.[0-9] (?!101)[01][0-9]{2}")
_HEAD_END = re.compile(rb"\n\r?\n")
# Number of bytes that are enough to decide whether an answer is an interim answer.
_STATUS_LINE = len(b"HTTP/1.1 100")
# ContentType and ProtocolVersion of a TLS record (RFC 8446, 5.1).
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")


@dataclass(slots=True)
class _Answer:
    """What was read so far of the answer to one request."""

    size: int = 0
    interim: int = 0
    interim_size: int = 0
    head: bytes = b""
    """The incomplete head of an interim answer, or the first bytes of an answer that may be interim or final."""
    final: bool = False
    """Whether the final answer has begun."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that raises httpcore.RemoteProtocolError if an answer exceeds a limit, or is TLS."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._answer = _Answer()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._answer.size += len(data)
        if self._answer.size > MAX_ANSWER_BYTES:
            raise httpcore.RemoteProtocolError("the answer is too long")
        if not self._answer.final:
            _check_heads(self._answer, data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._answer = _Answer()  # the next bytes that are read belong to the answer to this request
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except asyncio.CancelledError:
            # httpcore closes the connection after an Exception, but not after a CancelledError.
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _check_heads(answer: _Answer, data: bytes) -> None:
    """Add `data` to the heads of the answer.

    Raises httpcore.RemoteProtocolError if the heads exceed a limit, or if the answer is TLS.
    """
    answer.head += data
    if _TLS_RECORD.match(answer.head):
        raise httpcore.RemoteProtocolError(IS_TLS)
    while _INTERIM.match(answer.head) and (end := _HEAD_END.search(answer.head)):
        answer.interim += 1
        answer.interim_size += end.end()
        answer.head = answer.head[end.end() :]
    incomplete = len(answer.head) if _INTERIM.match(answer.head) else 0
    if answer.interim > MAX_INTERIM:
        raise httpcore.RemoteProtocolError("too many interim answers")
    if answer.interim_size + incomplete > MAX_INTERIM_BYTES:
        raise httpcore.RemoteProtocolError("the interim answers are too long")
    if not incomplete and len(answer.head) >= _STATUS_LINE:
        answer.final, answer.head = True, b""
