"""Points → the fewest block reads, then the fewest registers. Pure.

Reading through a hole costs less than another request while it is at most `max_gap` wide and nothing forbids it: a
barrier before a span, or an address that the device was seen to refuse. A span is never split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drivers.model import Table

MAX_REGISTERS = 125  # Modbus Application Protocol V1.1b3, 6.3 and 6.4
MAX_BITS = 2000  # 6.1 and 6.2


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Registers or bits that one request must hold together."""

    table: Table
    address: int
    count: int
    barrier: bool = False
    """No request may reach across the beginning of this span."""

    @property
    def end(self) -> int:
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class Block:
    """One request."""

    table: Table
    address: int
    count: int

    @property
    def end(self) -> int:
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be."""

    max_registers: int = MAX_REGISTERS
    max_gap: int = 31
    holes: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that must not be read through."""

    def most(self, table: Table) -> int:
        return MAX_BITS if table in (Table.COIL, Table.DISCRETE) else min(self.max_registers, MAX_REGISTERS)


def plan(spans: Iterable[Span], limits: Limits) -> tuple[Block, ...]:
    """The blocks that cover all spans. Raises ValueError when one span is larger than a request can be.

    Spans sorted by address are cut into runs: taking each run as far as it goes gives the fewest requests, and trying
    every last cut by dynamic programming the fewest registers among those.
    """
    blocks: list[Block] = []
    ordered = sorted(set(spans), key=lambda span: (span.table, span.address, span.end))
    for table in Table:
        blocks += _table(_merged([span for span in ordered if span.table is table]), limits)
    return tuple(blocks)


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Overlapping spans become one, since both must be whole and one request can hold both."""
    merged: list[Span] = []
    for span in spans:
        if merged and span.address < merged[-1].end:
            last = merged[-1]
            merged[-1] = Span(last.table, last.address, max(last.end, span.end) - last.address, last.barrier)
        else:
            merged.append(span)
    return merged


def _table(spans: Sequence[Span], limits: Limits) -> list[Block]:
    # best[i]: (requests, registers, start of the last run) for the first i spans
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for last, span in enumerate(spans):
        most = limits.most(span.table)
        if span.count > most:
            raise ValueError(f"{span.table} {span.address}: {span.count} do not fit a request of {most}")
        choices = []
        for first in range(last, -1, -1):
            if span.end - spans[first].address > most:
                break
            requests, registers, _ = best[first]
            choices.append((requests + 1, registers + span.end - spans[first].address, first))
            if first and not _joined(spans[first - 1], spans[first], limits):
                break
        best.append(min(choices))
    blocks: list[Block] = []
    end = len(spans)
    while end:
        first = best[end][2]
        blocks.append(Block(spans[first].table, spans[first].address, spans[end - 1].end - spans[first].address))
        end = first
    return blocks[::-1]


def _joined(left: Span, right: Span, limits: Limits) -> bool:
    gap = right.address - left.end
    if right.barrier or gap > limits.max_gap:
        return False
    return not any((left.table, address) in limits.holes for address in range(left.end, right.address))
