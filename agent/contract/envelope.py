"""The outside of a message: its `time` and its compression. Handles bytes and knows no field of a device. Pure.

Delivery uses this module and nothing else of the contract: it stores and sends every message the same way.
"""

from __future__ import annotations

import gzip
import re

_GZIP_MAGIC = b"\x1f\x8b"
_TIME = re.compile(rb'^\{"time":("?)-?\d+"?')


def with_time(body: bytes, time: int) -> bytes:
    """Return the message with another `time`, in Unix seconds.

    The form stays as it is, a number or a string. `body` is not compressed.
    """
    return _TIME.sub(lambda found: b'{"time":%b%d%b' % (found[1], time, found[1]), body, count=1)


def encoded(body: bytes, *, compress: bool) -> bytes:
    """Return the bytes that are stored and sent. Equal bodies give equal bytes, so that every retry is the same."""
    return gzip.compress(body, mtime=0) if compress else body


def is_compressed(body: bytes) -> bool:
    """Whether these stored bytes need `Content-Encoding: gzip`."""
    return body.startswith(_GZIP_MAGIC)
