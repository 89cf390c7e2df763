"""Changes the `time` and the compression of a message. Works on bytes and knows no field of a device. Pure."""

from __future__ import annotations

import gzip
import re

GZIP_MAGIC = b"\x1f\x8b"
"""A stored body that begins with these bytes is sent with `Content-Encoding: gzip`."""
_TIME = re.compile(rb'^\{"time":("?)-?\d+"?')


def with_time(body: bytes, time: int) -> bytes:
    """Return the message with another `time`, in Unix seconds.

    A number stays a number, a string stays a string. `body` must not be compressed.
    """
    return _TIME.sub(lambda found: b'{"time":%b%d%b' % (found[1], time, found[1]), body)


def compressed(body: bytes) -> bytes:
    """Return the body as gzip. Equal bodies give equal bytes."""
    return gzip.compress(body, mtime=0)


def decompressed(body: bytes) -> bytes:
    """Return the JSON of a stored body, which may be gzip."""
    return gzip.decompress(body) if body.startswith(GZIP_MAGIC) else body
