"""Learns from the requests that a device refuses, and plans the next requests. Pure.

- Exception 2 (illegal address):
  - If the refused request is a single value, this value is a hole: no later request includes its registers, unless they
    are also part of another value.
  - Otherwise smaller requests, the parts, replace the refused request. A refused part is handled in the same way.
  - If the device answers all parts, each boundary between two parts is a cut: no later request includes registers on
    both sides of a cut.
- Exception 3 (illegal value): the request may be too large. The largest size of a request becomes half of the size of
  the refused request, but never less than the widest value, because a value is never split. If the refused request is
  not larger than the widest value, it is handled as after exception 2.
- If the device refuses a single value with exception 3, the learned sizes are forgotten, because the device sends this
  exception also for an address that does not exist.

Learned facts (holes, cuts, sizes) are valid for `RECHECK_FIRST_S` at first. Then all facts are forgotten, and the next
poll is a test: it reads all registers. Each test doubles the time until the next test, up to `RECHECK_MAX_S`. If the
device refuses nothing in a test, the time is `RECHECK_FIRST_S` again. So a device that refuses registers only while it
starts is soon read in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from drivers.errors import IllegalRangeError, IllegalValueError
from drivers.protocol import BITS
from drivers.registers.read_plan import Block, Limits, Span, outermost, plan, together

RECHECK_FIRST_S = 300.0
"""Seconds from the last learned fact to the first test."""
RECHECK_MAX_S = 6 * 3600.0
"""The longest time from the last learned fact to a test, in seconds."""


class Recheck:
    """The timer of learned facts. They are valid for `RECHECK_FIRST_S` at first."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._wait_s = RECHECK_FIRST_S

    @property
    def started(self) -> bool:
        """Whether a fact is known."""
        return self._since is not None

    def start(self, now: float) -> None:
        """Start the timer at monotonic `now`, because a fact was learned."""
        self._since = now

    def is_valid(self, now: float) -> bool:
        """Whether a fact is known and its test is not due."""
        return self._since is not None and now - self._since < self._wait_s

    def due(self, now: float) -> bool:
        """Whether the known facts must be tested now."""
        return self._since is not None and not self.is_valid(now)

    def lengthen(self) -> None:
        """Double the time for which facts are valid, up to `RECHECK_MAX_S`."""
        self._wait_s = min(2 * self._wait_s, RECHECK_MAX_S)

    def forget(self) -> None:
        """Stop the timer, because no fact is known any more."""
        self._since = None

    def reset(self) -> None:
        """Return to `RECHECK_FIRST_S`, because the device refuses nothing any more, or is another one."""
        self._wait_s = RECHECK_FIRST_S


class RefusalMemory:
    """The refusals of one device, and the requests that follow from them."""

    def __init__(self, groups: Iterable[Sequence[Span]], limits: Limits) -> None:
        """`groups` are the spans of the points; spans of one group are read together where possible.

        A limit below the width of the widest value is raised to this width, because a value is never split.
        """
        self._groups = [tuple(dict.fromkeys(group)) for group in groups]
        self._given = replace(
            limits,
            max_registers=max(limits.max_registers, self._widest(bits=False)),
            max_bits=max(limits.max_bits, self._widest(bits=True)),
        )
        self._limits = self._given
        self.holes: dict[Span, IllegalRangeError] = {}
        """The values that the device refuses, each with the device's reply."""
        self.changed = False
        """Whether the current poll learned a fact."""
        self.learned = False
        """Whether facts are known from earlier polls."""
        self._recheck = Recheck()
        self.blocks = self._plan()
        """The requests of one poll."""

    def begin(self, now: float) -> None:
        """Begin a poll at monotonic `now`. If a test is due, forget all facts."""
        if self._recheck.due(now):
            self._recheck.lengthen()
            self.forget()

    def end(self, now: float) -> None:
        """End a poll, whether it is complete or not. Plan the next poll with the facts that were learned."""
        if self.changed:
            self.changed = False
            self.learned = True
            self._recheck.start(now)
            self.blocks = self._plan()
        elif not self._recheck.started:
            self._recheck.reset()

    def forget(self) -> None:
        """Forget all facts. The limits of the profile and the site remain."""
        self.holes.clear()
        self._limits = self._given
        self.changed = self.learned = False
        self._recheck.forget()
        self.blocks = self._plan()

    def allows(self, block: Block) -> bool:
        """Whether `block` is small enough for the limits, which include the learned sizes."""
        return block.count <= self._limits.most(block.table)

    def parts(self, block: Block) -> tuple[Block, ...]:
        """Return the requests that read the values of `block`, planned with the present facts."""
        return plan(self._inside(block), self._limits)

    def divide(self, block: Block, error: IllegalRangeError) -> tuple[Block, ...]:
        """Return the smaller requests that replace a refused `block`; none if no value remains.

        If `block` is a single value, this value becomes a hole.
        """
        self.changed = True
        if isinstance(error, IllegalValueError) and self._halved(block):
            return self.parts(block)
        spans = self._inside(block)
        if any(block.is_all_of(span) for span in spans):
            spans = self._members(block)
        if refused := [span for span in spans if block.is_all_of(span)]:
            for span in refused:
                self._refused(span, error)
            return plan([span for span in spans if span not in refused], self._limits)
        spans = outermost(spans)
        middle = len(spans) // 2
        return (*plan(spans[:middle], self._limits), *plan(spans[middle:], self._limits))

    def cut(self, block: Block, parts: Sequence[Block]) -> None:
        """Add cuts between the `parts` of a refused `block`, because the device answered all parts."""
        if not self.allows(block):
            return  # the device refused the block because of its size, which is already known
        between = {(right.table, right.address) for left, right in pairwise(parts) if right.address >= left.end}
        self._limits = replace(self._limits, cuts=self._limits.cuts | between)

    def _refused(self, span: Span, error: IllegalRangeError) -> None:
        self.holes[span] = error
        addresses = {(span.table, address) for span in self.holes for address in range(span.address, span.end)}
        self._limits = replace(self._limits, holes=frozenset(addresses))
        if isinstance(error, IllegalValueError):
            given = self._given
            self._limits = replace(self._limits, max_registers=given.max_registers, max_bits=given.max_bits)

    def _halved(self, block: Block) -> bool:
        """Limit requests to half of the size of `block`, or to the widest value if this is larger. Return True.

        If `block` is not larger than this limit, change nothing and return False.
        """
        bits = block.table in BITS
        most = max(block.count // 2, self._widest(bits=bits))
        if most >= block.count:
            return False
        limits = self._limits
        self._limits = replace(limits, max_bits=most) if bits else replace(limits, max_registers=most)
        return True

    def _plan(self) -> tuple[Block, ...]:
        return plan(self._spans(), self._limits)

    def _spans(self) -> list[Span]:
        spans: list[Span] = []
        for group in self._groups:
            known = [span for span in group if span not in self.holes]
            spans += together(known, self._limits) if known else []
        return spans

    def _inside(self, block: Block) -> list[Span]:
        """Return the spans in `block`: whole groups, and single values of groups that are only partly in `block`."""
        groups = [span for span in self._spans() if block.holds(span)]
        return sorted({*groups, *(span for span in self._members(block) if not any(map(span.lies_in, groups)))})

    def _members(self, block: Block) -> list[Span]:
        """Return the values in `block`, without holes."""
        members = {span for group in self._groups for span in group if block.holds(span)}
        return sorted(members - self.holes.keys())

    def _widest(self, *, bits: bool) -> int:
        counts = (span.count for group in self._groups for span in group if (span.table in BITS) == bits)
        return max(counts, default=1)
