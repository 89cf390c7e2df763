"""The layout of one device: the registers to read for its points, and how to decode the words. Pure.

The candidates for a value are the point itself and its fallbacks. A slot is the index of a candidate in `Layout.slots`.
Some values need the words of marks, or words at separate addresses. Such words are captured: they are kept without
decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from drivers.model import Key, Kind, Nature, NodeType, Quality, Quantity, Reading, Value, new_reading
from drivers.profile.point import Point
from drivers.protocol import BITS
from drivers.registers import (
    Block,
    Cell,
    Fill,
    Limits,
    RefusalMemory,
    Span,
    block_decoder,
    by_key,
    combiner,
    is_direct,
)

Words = Sequence[int]

NEVER_BOTH_ZERO = frozenset({Quantity.VOLTAGE, Quantity.FREQUENCY})
"""A device that works never reports 0 for both."""

_MIN_EQUAL_WORDS = 4
"""A reply with fewer words never counts as "not available": its equal words may be a number."""
_NOT_AVAILABLE = frozenset({0xFFFF, 0x8000})
"""A device that reboots or sleeps may reply with one of these in every word."""


class Decoder(NamedTuple):
    """How to decode the words of one request."""

    fill: Fill | None
    """Decodes the values; None if the request contains only words to capture."""
    captures: tuple[Span, ...]
    """The spans whose words are captured."""
    nothing: frozenset[int]
    """If each word of a reply is the same number, and this number is in the set, the reply means "not available". The
    reply must have at least `_MIN_EQUAL_WORDS` words."""
    slots: tuple[int, ...]
    """The slots of the values."""


class Layout:
    """The registers that are read from a device with these points."""

    def __init__(self, points: Sequence[Point], keys: Iterable[Key], kind: Kind, limits: Limits) -> None:
        """`keys`: the keys of all readings of the device, also of readings without a point in this layout."""
        self.points = tuple(points)
        self.slots = tuple(candidate for point in points for candidate in point.candidates)
        self.slot_keys = tuple(candidate.key for candidate in self.slots)
        """The key of each slot."""
        self.keys = tuple(point.key for point in points)
        """The key of each point."""
        self.combine = combiner(self.keys)
        self.unread = tuple(key for key in dict.fromkeys(keys) if key not in self.keys)
        """Keys of the device without a point in this layout. Their readings are missing."""
        self.optional = _optional(points)
        """Gauges that have no reading until the device has a value for them."""
        quantities = {quantity for _, quantity, _ in self.keys}
        self.never_all_zero = quantities >= NEVER_BOTH_ZERO
        """Whether the device has voltage and frequency. Such a device does not work while all its values are 0."""
        self.kind = kind
        self.captures = frozenset(_captured(self.slots))
        self.batteries = frozenset(point.node for point in points if _of_battery(kind, point))
        """The nodes whose power is that of a battery."""
        self.plain = not self.batteries and not any(_needs_more(point) for point in points)
        """Whether each value depends only on the words at its address. False if a point is optional, is the power of a
        battery, or has a mark, a fallback or separate addresses."""
        self.direct = self.plain and not self.unread and is_direct(self.keys)
        """Whether the reading of each point is a reading of the device, because nothing is added up."""
        self.memory = RefusalMemory(_groups(self.points), limits)
        self.decoders: dict[Block, Decoder] = {}

    def lacking(self, refused: Collection[Span], captured: Mapping[Span, tuple[Words, float]]) -> set[Span]:
        """Return the refused registers of the points that are not optional and have no candidate that can be read.

        The registers of marks are included. `captured`: as `Answers.captured`.
        """
        found: set[Span] = set()
        for point in self.points:
            holes = [[span for span in _needed(each, captured) if span in refused] for each in point.candidates]
            if not point.optional and all(holes):
                found |= {span for spans in holes for span in spans}
        return found

    def decoder(self, block: Block) -> Decoder:
        """Return how to decode the words of `block`, and store it in `decoders`."""
        if block not in self.decoders:
            inside = [
                (slot, candidate)
                for slot, candidate in enumerate(self.slots)
                if not candidate.addresses and block.holds(candidate.spans[0])
            ]
            cells = tuple(
                Cell(candidate.address - block.address, candidate.encoding, slot) for slot, candidate in inside
            )
            captures = tuple(span for span in self.captures if block.holds(span))
            known = {
                word
                for _, candidate in inside
                if candidate.encoding.on_invalid == "zero"
                for pattern in candidate.encoding.invalid
                for word in _words_of(pattern)
            }
            self.decoders[block] = Decoder(
                block_decoder(cells, block.count) if cells else None,
                captures,
                frozenset() if block.table in BITS else _NOT_AVAILABLE - known,
                tuple(cell.slot for cell in cells),
            )
        return self.decoders[block]


class Answers:
    """The results of one poll so far."""

    __slots__ = ("answered", "captured", "layout", "qualities", "times", "values")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        slots = len(layout.slots)
        self.values: list[Value | None] = [None] * slots
        self.qualities = [Quality.GOOD] * slots
        """Slot → quality of the value. Only meaningful if the value was read."""
        self.times: list[float | None] = [None] * slots
        """Slot → monotonic second. None if the value was not read, or its words are at separate addresses."""
        self.captured: dict[Span, tuple[Words, float]] = {}
        """Span → its words, and the time at which they arrived."""
        self.answered = False
        """Whether the device answered a request of this poll with data. A refusal does not count."""

    def reading(self, slot: int) -> Reading | None:
        """Return the reading of a slot. None if the value was not read, or its words are at separate addresses."""
        at = self.times[slot]
        if at is None:
            return None
        node, quantity, phase = self.layout.slot_keys[slot]
        return new_reading((quantity, phase, self.values[slot], self.qualities[slot], at, node))

    def take(self, block: Block, words: Words, at: float) -> None:
        """Decode and capture the words of `block`, which arrived at monotonic `at`.

        If all words mean "not available", skip the reply: its values then count as not read.
        """
        fill, captures, nothing, slots = self.layout.decoders.get(block) or self.layout.decoder(block)
        self.answered = True
        if len(words) >= _MIN_EQUAL_WORDS and words[0] in nothing and len(set(words)) == 1:
            return
        if fill is not None:
            fill(words, self.values, self.qualities)
            if len(slots) == len(self.times):  # one request reads all values
                self.times = [at] * len(slots)
            else:
                for slot in slots:
                    self.times[slot] = at
        for span in captures:
            start = span.address - block.address
            self.captured[span] = words[start : start + span.count], at


def _needed(candidate: Point, captured: Mapping[Span, tuple[Words, float]]) -> Iterator[Span]:
    """Yield the registers of a candidate and its marks.

    If a register in `captured` shows that a mark does not hold, the other registers of the mark are not needed.
    """
    yield from candidate.spans
    for mark in candidate.marks:
        if all(each.matches(captured[each.span][0]) for each in mark.all if each.span in captured):
            yield from mark.spans


def _optional(points: Sequence[Point]) -> frozenset[Key]:
    # A node needs a reading of its active power, at least one with the quality MISSING.
    gauges = {p.key for p in points if p.quantity.nature is Nature.GAUGE and p.quantity is not Quantity.ACTIVE_POWER}
    return frozenset(gauges - {point.key for point in points if not point.optional})


def _words_of(pattern: int) -> Iterator[int]:
    """Yield the 16-bit words of an `invalid` pattern, the lowest first."""
    while pattern:
        yield pattern & 0xFFFF
        pattern >>= 16


def _of_battery(kind: Kind, point: Point) -> bool:
    owner = point.node or (NodeType.STORAGE if kind is Kind.BATTERY else None)
    return owner is NodeType.STORAGE and point.quantity is Quantity.ACTIVE_POWER


def _needs_more(point: Point) -> bool:
    return bool(point.optional or point.fallback or point.addresses or point.marks)


def _captured(slots: Iterable[Point]) -> Iterator[Span]:
    for candidate in slots:
        yield from (span for mark in candidate.marks for span in mark.spans)
        if candidate.addresses:
            yield from candidate.spans


def _groups(points: Sequence[Point]) -> Iterator[list[Span]]:
    """Yield groups of spans that should be read together: the parts of a sum, and a power with its direction.

    Each fallback and each `valid` mark is a group of its own.
    """
    keys: list[Key] = [point.key for point in points]
    for slots in by_key(keys).values():
        yield [span for slot in slots for span in _of_one_moment(points[slot])]
        for slot in slots:
            yield from (list(_of_one_moment(other)) for other in points[slot].fallback)
            yield from (list(candidate.valid.spans) for candidate in points[slot].candidates if candidate.valid)


def _of_one_moment(candidate: Point) -> Iterator[Span]:
    yield from candidate.spans
    yield from (span for mark in (candidate.negative, candidate.positive) if mark is not None for span in mark.spans)
