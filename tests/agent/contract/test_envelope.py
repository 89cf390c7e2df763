from __future__ import annotations

import gzip

from agent.contract.envelope import compressed


def test_a_compressed_body_tells_no_time() -> None:
    """0 in these four bytes of the header means that no time is known (RFC 1952)."""
    body = compressed(b'{"time":1}')
    assert (body[4:8], gzip.decompress(body)) == (bytes(4), b'{"time":1}')
