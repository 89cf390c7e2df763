"""The function codes of all requests that a simulated device received in this test run, from any client.

The fault server always records its requests. `tests.conftest` makes the simulator record them. A test that sends other
function codes, to check that they are refused, uses `off_the_record`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

READS = frozenset({"1", "2", "3", "4", "43/14"})
"""Coils, discrete inputs, holding and input registers; device identification."""

_seen: Counter[str] = Counter()


def record(pdu: bytes) -> None:
    """Count a received request."""
    if pdu:
        _seen[f"{pdu[0]}/{pdu[1]}" if pdu[0] == 43 and len(pdu) > 1 else str(pdu[0])] += 1


def seen() -> dict[str, int]:
    """Return the number of requests by function code."""
    return dict(_seen)


@contextmanager
def off_the_record() -> Iterator[None]:
    """Do not count the requests of this block."""
    before = _seen.copy()
    try:
        yield
    finally:
        _seen.clear()
        _seen.update(before)
