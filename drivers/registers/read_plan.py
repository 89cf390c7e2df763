"""Points → the fewest block reads, then the fewest registers. Pure.

Reading through a hole costs less than another request while it is at most `max_gap` wide and nothing forbids it: a
barrier before a span, or an address that the device was seen to refuse. A span is never split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from drivers.model import Table
from drivers.protocol import BITS, MAX_BITS, MAX_REGISTERS, TRANSPORTS, max_count


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

    def lies_in(self, other: Span) -> bool:
        return self.table is other.table and other.address <= self.address and self.end <= other.end


@dataclass(frozen=True, slots=True)
class Block:
    """One request."""

    table: Table
    address: int
    count: int

    @property
    def end(self) -> int:
        return self.address + self.count

    def holds(self, span: Span) -> bool:
        """Whether all of `span` is read by this request."""
        return self.table is span.table and self.address <= span.address and span.end <= self.end

    def is_all_of(self, span: Span) -> bool:
        """Whether this request reads `span` and nothing else."""
        return (self.table, self.address, self.count) == (span.table, span.address, span.count)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be."""

    max_registers: int = MAX_REGISTERS
    max_gap: int = TRANSPORTS["tcp"].max_gap
    """In registers; bits that take as many bytes count as much."""
    holes: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that must not be read through."""
    max_bits: int = MAX_BITS
    cuts: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that no request may reach across, like a barrier."""

    def most(self, table: Table) -> int:
        return min(self.max_bits if table in BITS else self.max_registers, max_count(table))

    def reaches(self, left: Span, right: Span) -> bool:
        """Whether a request may go on from `left` to `right` and read what lies between."""
        gap = right.address - left.end
        if self.cut_at(right) or gap > self.max_gap * (16 if left.table in BITS else 1):
            return False
        return not self.hole_within(left.table, left.end, right.address)

    def cut_at(self, span: Span) -> bool:
        """Whether no request may reach across the beginning of `span`."""
        return span.barrier or (span.table, span.address) in self.cuts

    def hole_within(self, table: Table, start: int, end: int) -> bool:
        """Whether a known hole lies in start..end-1."""
        return any(start <= address < end and where is table for where, address in self.holes)


def plan(spans: Iterable[Span], limits: Limits) -> tuple[Block, ...]:
    """The blocks that cover all spans, by table and address.

    Raises ValueError when one span is larger than a request can be.
    """
    blocks: list[Block] = []
    kept = outermost(spans)
    for table in Table:
        blocks += _table([span for span in kept if span.table is table], limits)
    return tuple(blocks)


def together(spans: Sequence[Span], limits: Limits) -> list[Span]:
    """Spans that belong together as one span, whatever its gaps; as they are where no request can hold them all."""
    ordered = sorted(spans)
    first, end = ordered[0], max(span.end for span in ordered)
    if (
        any(span.table is not first.table for span in ordered)
        or any(limits.cut_at(span) for span in ordered if span.address > first.address)
        or end - first.address > limits.most(first.table)
        or limits.hole_within(first.table, first.address, end)
    ):
        return ordered
    barrier = any(span.barrier for span in ordered if span.address == first.address)
    return [Span(first.table, first.address, end - first.address, barrier)]


def outermost(spans: Iterable[Span]) -> list[Span]:
    """By table and address, without spans that lie within another: beginnings and ends both rise."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.table, span.address, -span.end)):
        if not kept or span.table is not kept[-1].table or span.end > kept[-1].end:
            kept.append(span)
        elif span.barrier and span.address == kept[-1].address:
            kept[-1] = replace(kept[-1], barrier=True)
    return kept


def _table(spans: Sequence[Span], limits: Limits) -> list[Block]:
    """Cut the spans of one table into runs, a request each; dynamic programming tries every last run.

    Runs are enough: a request that holds a span and the one after next holds all between them.
    """
    # best[i]: (requests, registers, start of the last run) for the first i spans
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for last, span in enumerate(spans):
        most = limits.most(span.table)
        if span.count > most:
            raise ValueError(f"{span.table} {span.address}: {span.count} do not fit a request of {most}")
        choices = []
        for first in range(last, -1, -1):
            count = span.end - spans[first].address
            if count > most:
                break
            requests, registers, _ = best[first]
            choices.append((requests + 1, registers + count, first))
            if first and not limits.reaches(spans[first - 1], spans[first]):
                break
        best.append(min(choices))
    blocks: list[Block] = []
    end = len(spans)
    while end:
        first = best[end][2]
        blocks.append(Block(spans[first].table, spans[first].address, spans[end - 1].end - spans[first].address))
        end = first
    return blocks[::-1]
