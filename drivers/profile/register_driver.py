"""Runs any profile: a poll is the fewest block reads, each decoded as it arrives.

What a device refuses costs only what cannot be read otherwise (see `refusals`): the reading is missing, and the
refusal stands in the errors of every scan. A busy device is asked once more, a little later. Silence, a lost link, a
dead gateway or a reply that is not ours end the poll at once, and nothing of it is used: a device that falls silent
half-way is polled again as a whole, so that all of a scan is from one moment.

A family with variants, or with blocks that repeat, has several layouts. What tells them apart is asked before the first
poll, after each that failed, and every minute: firmware and settings change while the agent runs, and values that are
read by the wrong layout are wrong. A device that starts says nonsense for a moment: it is another variant once two
polls say so, and has no values until then.

The site's `ReadOptions` win over the profile's defaults, which win over those of the transport. A word order of the
site is that of every point, since it is a setting of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from drivers.driver import LinkDefaults, Reader, ReadOptions
from drivers.errors import IllegalFunctionError, IllegalRangeError, RefusedError
from drivers.model import Kind, NodeType, Quality, Quantity, Resolution, Scan
from drivers.profile.evaluation import Evaluation, Known
from drivers.profile.layout import Answers, Layout, Words
from drivers.profile.loader import Profile
from drivers.profile.mark import Mark
from drivers.profile.point import Point
from drivers.profile.repeat import Repeat
from drivers.protocol import MAX_REGISTERS
from drivers.registers import RECHECK_MAX_S, Block, Limits, PollSession, Span, SplitReader, decoder, resolutions

log = structlog.get_logger(__name__)

FACTS_S = 60.0
"""So long what chooses the layout is believed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What chooses the layout."""

    variant: int | None = None
    """Index of the first variant whose mark holds."""
    counts: tuple[int, ...] = ()
    """How many blocks of each repetition there are."""


class RegisterDriver:
    """A `drivers.catalogue.Driver` for a profile."""

    def __init__(self, profile: Profile, options: ReadOptions) -> None:
        self.profile = profile
        self._options = options
        self._limits = Limits(
            _first(options.max_registers, profile.max_registers, MAX_REGISTERS),
            _first(options.max_gap, profile.max_gap, options.default_max_gap),
        )
        self._variants = profile.variants
        self._repeats = tuple(dict.fromkeys(self._repeated(profile)))
        self._marks_read: set[Mark] = set()
        self._layouts: dict[_Facts, Layout] = {}
        self._has_facts = bool(self._variants) or any(repeat.span for repeat in self._repeats)
        self._facts = self._facts_of({})
        self._facts_due = 0.0
        self._told = False
        """The device has said which layout it is."""
        self._doubted: _Facts | None = None
        """What the device said for the first time."""
        self._known = Known()
        self._rating_due = 0.0

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
        """The points as this device wants them read; before the first poll, of a device that is no variant."""
        return self._layout(self._facts).points

    @property
    def resolutions(self) -> Mapping[tuple[NodeType | None, Quantity], Resolution]:
        return resolutions([point.key for point in self.points], [point.encoding.resolution for point in self.points])

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The requests of the next poll, as far as is known before it."""
        return self._layout(self._facts).memory.blocks

    @property
    def max_registers(self) -> int:
        """What one request may hold at most."""
        return self._limits.max_registers

    @property
    def variant(self) -> str | None:
        """The variant of the family that the device was last seen to be."""
        return None if self._facts.variant is None else self._variants[self._facts.variant].name

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """See `drivers.catalogue.Driver`. Raises the refusal itself when the device refuses everything."""
        run = PollSession(reader, now)
        if self.profile.rating is not None and run.started >= self._rating_due:
            await self._read_rating(run)
        if self._has_facts and run.started >= self._facts_due:
            await self._read_facts(run)
        layout = self._layout(self._facts)
        if self._doubted is not None:
            return self._scan(run, layout, Answers([None] * len(layout.slots)))
        self._facts_due, due = 0.0, self._facts_due
        answers = await self._read_layout(run, layout)
        self._facts_due = due  # the poll did not fail
        return self._scan(run, layout, answers)

    def _scan(self, run: PollSession, layout: Layout, answers: Answers) -> Scan:
        holes = layout.memory.holes
        lacking = layout.lacking(holes)
        return Scan(
            readings=Evaluation(layout, answers, holes, self._known, run.started).readings(),
            started=run.started,
            finished=run.now(),
            errors=(*(error for span, error in holes.items() if span in lacking), *run.errors),
            requests=run.requests,
        )

    async def _read_layout(self, run: PollSession, layout: Layout) -> Answers:
        answers, memory = Answers([None] * len(layout.slots)), layout.memory

        def use(block: Block, words: Sequence[int]) -> None:
            layout.take(block, words, run.now(), answers)

        memory.begin(run.started)
        try:
            for block in memory.blocks:
                await run.read_block(memory, block, use)
            if not answers.answered and memory.holes:
                error = next(iter(memory.holes.values()))
                memory.forget()  # a device that is starting, or the wrong profile: nothing to learn from
                raise error
        finally:
            memory.end(run.now())
        return answers

    # Which layout.

    def _layout(self, facts: _Facts) -> Layout:
        if facts not in self._layouts:
            points = self.profile.points if facts.variant is None else self._variants[facts.variant].points
            there = dict(zip(self._repeats, facts.counts, strict=True))
            if self._options.word_order is not None:
                points = tuple(point.in_order(self._options.word_order) for point in points)
            points = tuple(point for point in points if self._options.uses(point.node))
            found = [point for point in points if point.repeat is None or point.number <= there[point.repeat]]
            self._layouts[facts] = Layout(found, [point.key for point in points], self.kind, self._limits)
        return self._layouts[facts]

    async def _read_facts(self, run: PollSession) -> None:
        """Ask what chooses the layout."""
        self._facts_due = run.started
        facts = self._facts_of(await self._ask(run), self._facts if self._told else None)
        if not self._told or facts in (self._facts, self._doubted):
            if facts != self._facts:
                log.info("device_variant", driver=self.profile.name, variant=self._variant_name(facts))
                self._known = Known(rated_W=self._known.rated_W)
            self._facts, self._doubted, self._told = facts, None, True
            self._facts_due = run.started + FACTS_S
        else:
            self._doubted = facts

    def _facts_of(self, words: dict[Span, Words], before: _Facts | None = None) -> _Facts:
        """What the words of the device say; what it refuses, though it told it once, stays as it was `before`."""
        states = [self._state(variant.mark, words) for variant in self._variants]
        variant = next((index for index, state in enumerate(states) if state), None)
        read_before = [variant.mark in self._marks_read for variant in self._variants]
        if before is not None and any(
            state is None and known for state, known in zip(states, read_before, strict=True)
        ):
            variant = before.variant
        counts = []
        for index, repeat in enumerate(self._repeats):
            read = None if repeat.span is None else words.get(repeat.span)
            counts.append(before.counts[index] if read is None and before is not None else repeat.count(read))
        return _Facts(variant, tuple(counts))

    def _state(self, mark: Mark, words: dict[Span, Words]) -> bool | None:
        read = [(each, words.get(each.span)) for each in mark.all]
        states = [None if found is None else each.matches(found) for each, found in read]
        if None not in states:
            self._marks_read.add(mark)
        return False if False in states else None if None in states else True

    async def _ask(self, run: PollSession) -> dict[Span, Words]:
        """The words of all marks and counts. A register that the device refuses is left out."""
        spans = dict.fromkeys(span for variant in self._variants for span in variant.mark.spans)
        reader = SplitReader(run, self._limits.max_registers)
        found = {}
        for span in (*spans, *self._count_spans()):
            try:
                found[span] = await reader.read(span.table, span.address, span.count)
            except (IllegalRangeError, IllegalFunctionError):
                continue
        return found

    def _count_spans(self) -> tuple[Span, ...]:
        return tuple(span for repeat in self._repeats if (span := repeat.span) is not None)

    def _variant_name(self, facts: _Facts) -> str:
        return "none" if facts.variant is None else self._variants[facts.variant].name

    @staticmethod
    def _repeated(profile: Profile) -> Iterator[Repeat]:
        for points in (profile.points, *(variant.points for variant in profile.variants)):
            yield from (point.repeat for point in points if point.repeat is not None)

    # How large it is.

    async def _read_rating(self, run: PollSession) -> None:
        """Once, and again for what it may have been while the device started."""
        rating = self.profile.rating
        if rating is None:
            return
        try:
            reader = SplitReader(run, self._limits.max_registers)
            words = await reader.read(rating.table, rating.address, rating.encoding.width)
        except RefusedError:
            self._rating_due = run.started + RECHECK_MAX_S
            return
        self._rating_due = run.started + RECHECK_MAX_S
        value, quality = decoder(rating.encoding)(words)
        if quality is Quality.GOOD and isinstance(value, float) and value > 0:
            self._known.rated_W = value


def _first(*values: T | None) -> T:
    return next(value for value in values if value is not None)
