"""The `time` and the compression of a message. It works on bytes and knows no field of a device. Pure.

Delivery uses no other module of the contract, because it stores and sends every message in the same way.
"""

from __future__ import annotations

import gzip
import re

GZIP_MAGIC = b"\x1f\x8b"
"""Stored bytes that begin with this need `Content-Encoding: gzip`."""
_TIME = re.compile(rb'^\{"time":("?)-?\d+"?')


def with_time(body: bytes, time: int) -> bytes:
    """Return the message with another `time`, in Unix seconds.

    A number stays a number, and a string stays a string. `body` must not be compressed.
    """
    return _TIME.sub(lambda found: b'{"time":%b%d%b' % (found[1], time, found[1]), body, count=1)


def encoded(body: bytes) -> bytes:
    """Return the compressed body. Equal bodies give equal bytes."""
    return gzip.compress(body, mtime=0)


def decoded(body: bytes) -> bytes:
    """Return the JSON of a stored body."""
    return gzip.decompress(body) if body.startswith(GZIP_MAGIC) else body
