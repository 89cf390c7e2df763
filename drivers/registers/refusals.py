"""What a device teaches by refusing requests, and the requests that follow from it. Pure.

- A request refused with exception 2 is read in parts. A value that is refused alone is a hole: it is not asked again,
  and nothing is read through it. Where all parts are answered, what lies between them is at fault: a cut, across which
  no request reaches.
- A request refused with exception 3 halves the largest request, as far as a value still fits. Devices that answer so
  for a missing address are found out when a single value is refused: the limits learned on the way are forgotten.

All of it is believed for `RECHECK_FIRST_S`, then put to the test; each time that it proves true, twice as long, up to
`RECHECK_MAX_S`. So a device that refuses a register only while it starts is soon read in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from drivers.errors import IllegalRangeError, IllegalValueError
from drivers.protocol import BITS
from drivers.registers.read_plan import Block, Limits, Span, outermost, plan, together

RECHECK_FIRST_S = 300.0
RECHECK_MAX_S = 6 * 3600.0


class Recheck:
    """How long to believe what was learned: `RECHECK_FIRST_S`, and each time that it proves true twice as long."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._wait_s = RECHECK_FIRST_S

    @property
    def started(self) -> bool:
        """Something is known."""
        return self._since is not None

    def start(self, now: float) -> None:
        """Something was learned at monotonic `now`."""
        self._since = now

    def believes(self, now: float) -> bool:
        """Whether something was learned that need not be tested yet."""
        return self._since is not None and now - self._since < self._wait_s

    def due(self, now: float) -> bool:
        """Whether it is time to test what was learned."""
        return self._since is not None and not self.believes(now)

    def lengthen(self) -> None:
        """It proved true."""
        self._wait_s = min(2 * self._wait_s, RECHECK_MAX_S)

    def forget(self) -> None:
        """Nothing is known any more."""
        self._since = None

    def reset(self) -> None:
        """Begin with the shortest time: nothing was left to learn, or the device is another one."""
        self._wait_s = RECHECK_FIRST_S


class RefusalMemory:
    """What is known of one device; `groups` are the spans of its points, those that belong together in one group."""

    def __init__(self, groups: Iterable[Sequence[Span]], limits: Limits) -> None:
        """A limit smaller than a single value is raised to that: a value is never split."""
        self._groups = [tuple(dict.fromkeys(group)) for group in groups]
        self._given = replace(
            limits,
            max_registers=max(limits.max_registers, self._widest(bits=False)),
            max_bits=max(limits.max_bits, self._widest(bits=True)),
        )
        self._limits = self._given
        self.holes: dict[Span, IllegalRangeError] = {}
        """Values that the device refuses, and how it said so."""
        self._changed = False
        self._recheck = Recheck()
        self.blocks = self._plan()
        """The requests of one poll."""

    @property
    def changed(self) -> bool:
        """The poll that goes on taught something."""
        return self._changed

    def begin(self, now: float) -> None:
        """A poll begins at monotonic `now`: forget what has been believed for long enough."""
        if self._recheck.due(now):
            self._recheck.lengthen()
            self.forget()

    def end(self, now: float) -> None:
        """A poll has ended, well or not: plan the next by what it taught."""
        if self._changed:
            self._changed = False
            self._recheck.start(now)
            self.blocks = self._plan()
        elif not self._recheck.started:
            self._recheck.reset()

    def forget(self) -> None:
        """Begin again with what the profile and the site say."""
        self.holes.clear()
        self._limits = self._given
        self._changed = False
        self._recheck.forget()
        self.blocks = self._plan()

    def allows(self, block: Block) -> bool:
        """Whether the device takes requests of that size, as far as is known."""
        return block.count <= self._limits.most(block.table)

    def parts(self, block: Block) -> tuple[Block, ...]:
        """The requests for what `block` holds, by what is known now."""
        return plan(self._inside(block), self._limits)

    def divide(self, block: Block, error: IllegalRangeError) -> tuple[Block, ...]:
        """What to ask instead of a refused `block`: smaller requests. A single value is a hole from now on."""
        self._changed = True
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
        """All `parts` of a refused `block` were answered: they must not be asked as one again."""
        if not self.allows(block):
            return  # it was too large, which is known already
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
        """Halve the largest request, unless a value would not fit any more."""
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
        """What `block` was to read: groups where it holds them, single values of those it holds in part."""
        groups = [span for span in self._spans() if block.holds(span)]
        return sorted({*groups, *(span for span in self._members(block) if not any(map(span.lies_in, groups)))})

    def _members(self, block: Block) -> list[Span]:
        """The single values in `block`."""
        members = {span for group in self._groups for span in group if block.holds(span)}
        return sorted(members - self.holes.keys())

    def _widest(self, *, bits: bool) -> int:
        counts = (span.count for group in self._groups for span in group if (span.table in BITS) == bits)
        return max(counts, default=1)
