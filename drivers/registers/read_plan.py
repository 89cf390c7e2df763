"""Plans the requests for the points of a device: the fewest requests, then the fewest registers. Pure.

A request may include at most `max_gap` unused registers between two spans. It must not include an address that the
device refuses, or registers on both sides of a barrier (`Span.barrier`) or of a cut (`Limits.cuts`). These limits apply
only between spans. A span is never split, even if it includes barriers, cuts or refused addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from drivers.model import Table
from drivers.protocol import BITS, MAX_BITS, MAX_REGISTERS, TRANSPORTS, max_count


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Registers or bits that must be read in one request."""

    table: Table
    address: int
    count: int
    barrier: bool = False
    """A request that reads this span must begin at `address`, unless the span lies inside another span."""

    @property
    def end(self) -> int:
        return self.address + self.count

    def lies_in(self, other: Span) -> bool:
        return self.table is other.table and other.address <= self.address and self.end <= other.end


class Block(NamedTuple):
    """One request. It is a NamedTuple, because each poll looks up blocks in dicts, and the hash of a tuple is fast."""

    table: Table
    address: int
    count: int  # type: ignore[assignment]  # hides `tuple.count`

    @property
    def end(self) -> int:
        return self.address + self.count

    def holds(self, span: Span) -> bool:
        """Whether this request reads all of `span`."""
        return self.table is span.table and self.address <= span.address and span.end <= self.end

    def is_all_of(self, span: Span) -> bool:
        """Whether this request reads exactly `span`."""
        return self == (span.table, span.address, span.count)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a request."""

    max_registers: int = MAX_REGISTERS
    max_gap: int = TRANSPORTS["tcp"].max_gap
    """Maximum number of unused registers between two spans. For coils and discrete inputs, 16 bits count as one."""
    holes: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that no request may include between two spans, because the device refuses them."""
    max_bits: int = MAX_BITS
    cuts: frozenset[tuple[Table, int]] = frozenset()
    """Addresses, learned from the device. A request that reads a span at one of them must begin there."""

    def most(self, table: Table) -> int:
        """Return the largest number of registers or bits of one request."""
        return min(self.max_bits if table in BITS else self.max_registers, max_count(table))

    def can_join(self, left: Span, right: Span) -> bool:
        """Whether one request may read `left`, `right` and the registers between them. The size is not checked."""
        gap = right.address - left.end
        if self.cut_at(right) or gap > self.max_gap * (16 if left.table in BITS else 1):
            return False
        return not self.hole_within(left.table, left.end, right.address)

    def cut_at(self, span: Span) -> bool:
        """Whether there is a barrier or a cut before `span`."""
        return span.barrier or (span.table, span.address) in self.cuts

    def hole_within(self, table: Table, start: int, end: int) -> bool:
        """Whether one of the addresses start..end-1 is in `holes`."""
        return any(start <= address < end and where is table for where, address in self.holes)


def plan(spans: Iterable[Span], limits: Limits) -> tuple[Block, ...]:
    """Return the blocks that cover all spans, sorted by table and address.

    Raises ValueError if a span is larger than the largest request that `limits` allow.
    """
    blocks: list[Block] = []
    kept = outermost(spans)
    for table in Table:
        blocks += _plan_table([span for span in kept if span.table is table], limits)
    return tuple(blocks)


def together(spans: Sequence[Span], limits: Limits) -> list[Span]:
    """Return one span with all `spans` and the gaps between them, which may be larger than `max_gap`.

    If one request cannot read this span, return `spans`, sorted.
    """
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
    """Sort by table and address, and remove each span that lies inside another. In the result, the ends also increase.

    If a removed span has a barrier and the same address as the other span, the other span gets the barrier. At another
    address, the barrier has no effect.
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.table, span.address, -span.end)):
        if not kept or span.table is not kept[-1].table or span.end > kept[-1].end:
            kept.append(span)
        elif span.barrier and span.address == kept[-1].address:
            kept[-1] = replace(kept[-1], barrier=True)
    return kept


def _plan_table(spans: Sequence[Span], limits: Limits) -> list[Block]:
    """Return the requests for the sorted `spans` of one table.

    One request reads a run: spans that follow each other. Dynamic programming finds the best division into runs.
    """
    # best[i]: (requests, registers, index of the first span of the last run) for the first i spans
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
            if first and not limits.can_join(spans[first - 1], spans[first]):
                break
        best.append(min(choices))
    blocks: list[Block] = []
    end = len(spans)
    while end:
        first = best[end][2]
        blocks.append(Block(spans[first].table, spans[first].address, spans[end - 1].end - spans[first].address))
        end = first
    return blocks[::-1]
