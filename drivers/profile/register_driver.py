"""Reads devices by a profile, with the fewest requests per poll.

- If the device refuses some registers, only the readings that need them are missing, and `Scan.errors` has the refusal.
  `Scan.errors` omits exceptions 2 and 3 if every point that needs the registers is optional or can be read without
  them.
- If the device cannot be reached or a reply is wrong (`UnreachableError`), the poll ends at once, without readings. So
  all readings of a scan have about the same time. The request for the rated power comes last, and its failure is
  ignored.

A family has several layouts if it has variants, or repeated blocks whose number is read from the device. Some registers
select the layout. The driver reads them at the start of the first poll, of each poll after a failed one, and every
minute, because firmware and settings may change.

The first poll uses the layout that it selects. If a later poll selects another layout, its readings are missing, and
`Scan.errors` has the reason. If the next poll selects the same layout again, this layout is used. A single poll does
not decide, because the registers may be wrong for a moment while a device starts.

A device may refuse a register that selects the layout, and accept the request some polls later. This is a passing
refusal (`drivers.registers.lasting_refusals`). The layout of the previous poll then remains in use, and the next poll
reads the registers again. The poll fails instead if there was no previous poll, if the previous poll failed, or if the
previous poll selected another layout for the first time.

The site's `ReadOptions` override the profile's defaults, and these override the transport's. A word order of the site
applies to all points, because it is a setting of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TypeVar

import structlog

from drivers.driver import LinkDefaults, Reader, ReadOptions
from drivers.errors import DriverError, IllegalRangeError, RefusedError, UnreachableError
from drivers.model import Kind, NodeType, Quantity, Resolution, Scan, WordOrder
from drivers.profile.evaluation import DeviceKnowledge, evaluate
from drivers.profile.layout import Answers, Layout, Words
from drivers.profile.loader import Profile
from drivers.profile.mark import Mark
from drivers.profile.point import Point
from drivers.profile.repeat import Repeat
from drivers.profile.selection import SelectionReader
from drivers.profile.variant import Rating
from drivers.protocol import MAX_REGISTERS
from drivers.registers import (
    Block,
    Limits,
    PollSession,
    Recheck,
    RefusalMemory,
    Span,
    SplitReader,
    resolutions,
)

log = structlog.get_logger(__name__)

SELECT_EVERY_S = 60.0
"""Seconds after which the registers that select the layout are read again."""

_UNCONFIRMED = "the device seems to be another variant or to have another number of blocks; the next poll decides"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _LayoutKey:
    """What selects the layout."""

    variant: int | None = None
    """Index of the first variant whose mark holds; None if no mark holds."""
    counts: tuple[int, ...] = ()
    """Number of blocks of each repetition."""


class RegisterDriver:
    """A `drivers.driver.Driver` for a profile."""

    def __init__(self, profile: Profile, options: ReadOptions) -> None:
        self.profile = profile
        self._options = options
        limits = profile.options(options)
        self._limits = Limits(
            _first(limits.max_registers, MAX_REGISTERS), _first(limits.max_gap, limits.default_max_gap)
        )
        self._variants = profile.variants
        self._repeats = tuple(dict.fromkeys(self._repeated(profile)))
        self._marks_read: set[Mark] = set()
        self._layouts: dict[_LayoutKey, Layout] = {}
        self._has_layouts = bool(self._variants) or any(repeat.has_count for repeat in self._repeats)
        self._key = self._key_of({})
        self._current = self._layout(self._key)
        self._selection = SelectionReader()
        self._selection_due = -inf
        """Monotonic second at which the layout is selected again. Minus infinity before the first poll, during a poll,
        and after a failed poll."""
        self._key_read = False
        """Whether the registers that select the layout were read at least once."""
        self._unconfirmed: _LayoutKey | None = None
        """A new layout that only one poll has selected."""
        self._known = DeviceKnowledge()
        self._rating_checked = Recheck()

    @property
    def kind(self) -> Kind:
        return self.profile.kind

    @property
    def nodes(self) -> frozenset[NodeType]:
        return self.profile.nodes

    @property
    def defaults(self) -> LinkDefaults:
        return self.profile.link

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of the current layout. Before the first poll, the points of a device without a variant."""
        return self._current.points

    @property
    def resolutions(self) -> Mapping[tuple[NodeType | None, Quantity], Resolution]:
        return resolutions([point.key for point in self.points], [point.encoding.resolution for point in self.points])

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The requests of the next poll, as far as known."""
        return self._current.memory.blocks

    @property
    def max_registers(self) -> int:
        return self._limits.max_registers

    def in_order(self, order: WordOrder) -> RegisterDriver:
        """Return a driver for the same device with another word order."""
        return RegisterDriver(self.profile, replace(self._options, word_order=order))

    @property
    def variant(self) -> str | None:
        """The name of the device's variant; None if no mark of a variant holds."""
        return None if self._key.variant is None else self._variants[self._key.variant].name

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """See `drivers.driver.Driver`.

        Raises the first refusal if the device refuses all registers with exception 2 or 3. If it refuses all registers,
        but some with another exception, the readings are missing instead. Raises a passing refusal of a register that
        selects the layout, unless the layout of the previous poll remains in use.
        """
        run = PollSession(reader, now)
        due, self._selection_due = self._selection_due, -inf  # if this poll fails, the next one selects the layout
        if self._has_layouts and run.started >= due:
            due = await self._select_layout(run, due)
        layout, memory = self._current, self._current.memory
        answers = Answers(layout)
        if self._unconfirmed is None:
            if learned := memory.learned:
                memory.begin(run.started)
            try:
                await run.read_blocks(memory, memory.blocks, answers.take)
                if memory.holes and not answers.answered and not run.errors:
                    raise _all_refused(memory)
            finally:
                if learned or memory.changed:
                    memory.end(run.now())
            if self.profile.rating is not None and not self._rating_checked.is_valid(run.started):
                await self._read_rating(run, self.profile.rating)
        self._selection_due = due
        errors: tuple[Exception, ...] = tuple(run.errors)
        if memory.holes:
            lacking = layout.lacking(memory.holes, answers.captured)
            errors = (*(error for span, error in memory.holes.items() if span in lacking), *errors)
        readings = evaluate(answers, memory.holes, self._known, run.started)
        return Scan(readings, run.started, run.now(), errors, run.requests)

    # Selection of the layout.

    def _layout(self, key: _LayoutKey) -> Layout:
        if key not in self._layouts:
            points = self.profile.points if key.variant is None else self._variants[key.variant].points
            there = dict(zip(self._repeats, key.counts, strict=True))
            if self._options.word_order is not None:
                points = tuple(point.in_order(self._options.word_order) for point in points)
            points = tuple(point for point in points if self._options.uses(point.node))
            found = [point for point in points if point.repeat is None or point.number <= there[point.repeat]]
            self._layouts[key] = Layout(found, [point.key for point in points], self.kind, self._limits)
        return self._layouts[key]

    async def _select_layout(self, run: PollSession, due: float) -> float:
        """Read the registers that select the layout. Return the monotonic second at which to read them again.

        `due`: `_selection_due` before this poll. Raises a passing refusal, unless the layout of the previous poll
        remains in use.
        """
        before = self._key if self._key_read else None
        self._selection.begin()
        try:
            key = self._key_of(await self._ask(run), before, await self._present(run, before))
        except RefusedError:
            if due == -inf or self._unconfirmed is not None:
                raise
            return due
        if self._key_read and key not in (self._key, self._unconfirmed):
            self._unconfirmed = key
            run.errors.append(DriverError(_UNCONFIRMED))
            return due
        if key != self._key:
            log.info("device_variant", driver=self.profile.name, variant=self._variant_name(key))
            self._known = DeviceKnowledge(limit_W=self._known.limit_W)
        self._key, self._unconfirmed, self._key_read = key, None, True
        self._current = self._layout(key)
        return run.started if self._selection.failing else run.started + SELECT_EVERY_S

    def _key_of(
        self, words: dict[Span, Words], before: _LayoutKey | None = None, present: Mapping[Repeat, int] | None = None
    ) -> _LayoutKey:
        """Return the key of the layout that `words` select. `present`: repetition with a mark → number of its blocks.

        If a register was read earlier and is refused now, the choice in `before` is kept.
        """
        states = [self._state(variant.mark, words) for variant in self._variants]
        variant = next((index for index, state in enumerate(states) if state), None)
        read_before = [variant.mark in self._marks_read for variant in self._variants]
        if before is not None and any(
            state is None and known for state, known in zip(states, read_before, strict=True)
        ):
            variant = before.variant
        counts = []
        for index, repeat in enumerate(self._repeats):
            if present is not None and repeat in present:
                counts.append(present[repeat])
                continue
            read = None if repeat.span is None else words.get(repeat.span)
            counts.append(before.counts[index] if read is None and before is not None else repeat.count(read))
        return _LayoutKey(variant, tuple(counts))

    def _state(self, mark: Mark, words: dict[Span, Words]) -> bool | None:
        """Whether the mark holds; None if the device refuses the registers that would decide this."""
        read = [(each, words.get(each.span)) for each in mark.all]
        states = [None if found is None else each.matches(found) for each, found in read]
        if None not in states:
            self._marks_read.add(mark)
        return False if False in states else None if None in states else True

    async def _ask(self, run: PollSession) -> dict[Span, Words]:
        """Return the words of the marks of all variants, and of the registers with the number of blocks.

        The result lacks the registers that the device does not have. Raises a passing refusal.
        """
        spans = dict.fromkeys(span for variant in self._variants for span in variant.mark.spans)
        reader = SplitReader(run, self._limits.max_registers)
        return await self._selection.words(reader, (*spans, *self._count_spans()))

    async def _present(self, run: PollSession, before: _LayoutKey | None) -> dict[Repeat, int]:
        """Return the number of blocks of each repetition with a mark. No number is smaller than that in `before`.

        Raises a passing refusal.
        """
        reader = SplitReader(run, self._limits.max_registers)
        found: dict[Repeat, int] = {}
        for index, repeat in enumerate(self._repeats):
            if repeat.present is not None:
                least = before.counts[index] if before is not None else 0
                found[repeat] = await self._selection.blocks(reader, repeat, repeat.present, least)
        return found

    def _count_spans(self) -> tuple[Span, ...]:
        return tuple(span for repeat in self._repeats if (span := repeat.span) is not None)

    def _variant_name(self, key: _LayoutKey) -> str:
        return "none" if key.variant is None else self._variants[key.variant].name

    @staticmethod
    def _repeated(profile: Profile) -> Iterator[Repeat]:
        for points in (profile.points, *(variant.points for variant in profile.variants)):
            yield from (point.repeat for point in points if point.repeat is not None)

    # Rated power.

    async def _read_rating(self, run: PollSession, rating: Rating) -> None:
        """Read the rated power. It is read again later, because it may be wrong while the device starts.

        Call this after the values are read, because a device without this register may not reply to the request.
        """
        if self._rating_checked.started:
            self._rating_checked.lengthen()
        self._rating_checked.start(run.started)
        try:
            reader = SplitReader(run, self._limits.max_registers)
            words = await reader.read(rating.table, rating.address, rating.encoding.width)
        except (RefusedError, UnreachableError):
            return
        self._known.limit_W = rating.largest(words) or self._known.limit_W


def _all_refused(memory: RefusalMemory) -> IllegalRangeError:
    """Return the first refusal in `memory`, and forget all refusals, because the device may be starting."""
    error = next(iter(memory.holes.values()))
    memory.forget()
    return error


def _first(*values: T | None) -> T:
    return next(value for value in values if value is not None)
