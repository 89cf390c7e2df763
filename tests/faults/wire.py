"""Every function code that came over a wire in this run of the tests, whoever sent it.

Devices record what reaches them: the fault server always, the simulator through `tests.conftest`. Tests that send
something else on purpose, to see that it is refused, do so `off_the_record`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

READS = frozenset({"1", "2", "3", "4", "43/14"})
"""Coils, discrete inputs, holding and input registers; device identification."""

_seen: Counter[str] = Counter()


def record(pdu: bytes) -> None:
    """A request arrived."""
    if pdu:
        _seen[f"{pdu[0]}/{pdu[1]}" if pdu[0] == 43 and len(pdu) > 1 else str(pdu[0])] += 1


def seen() -> dict[str, int]:
    """Requests by function code."""
    return dict(_seen)


@contextmanager
def off_the_record() -> Iterator[None]:
    before = _seen.copy()
    try:
        yield
    finally:
        _seen.clear()
        _seen.update(before)
