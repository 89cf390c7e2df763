"""Evaluates the registers of one poll: marks, directions, fallbacks, optional parts. Pure.

The result is one reading for each node, quantity and phase. A reading may be the sum of several points, its parts. A
point can have no value for three reasons:

- The value was *not read*: no reply has its registers, for example because the device was busy, or all words of the
  reply mean "not available". The point is missing.
- The device *does not have* the value. It shows this in four ways:
  - The device refuses the registers of the value or of its marks.
  - The words of the value mean "not available". The lowest number of the type also means this in the power of a
    battery.
  - The `valid` mark does not hold.
  - The marks give no direction.
- The value *is impossible*: it is outside its range, or the profile has no name for this number of a state.

If the device does not have the value, or the value is impossible, the first fallback with a value is used. If no
fallback has a value, the first of these rules that applies decides:

1. If the point or one of its fallbacks has an impossible value, the point is invalid.
2. If the point is the power of a battery, all its registers mean "not available", and the device reports the state of
   charge, the power is 0 W.
3. An optional point is omitted from its sum. Any other point is missing.

If a sum omits all its parts, it is missing. But a total active power is then the sum of its phases if the device has
them. A missing reading of an optional gauge is left out until the gauge has had a value; an active power is never left
out. `DeviceKnowledge` says what changes for optional points that had a value in an earlier poll.

If a device has voltage and frequency, and all its values are 0, all its readings are missing.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

from drivers.model import Key, Quality, Quantity, Reading, ReadingColumns
from drivers.profile.layout import NEVER_BOTH_ZERO, Answers, Layout
from drivers.profile.mark import Mark
from drivers.profile.point import Point
from drivers.profile.variant import bounded
from drivers.registers import Part, Span, decoder

(_FLOAT_MAX,) = struct.unpack(">f", bytes.fromhex("7F7FFFFF"))


@dataclass(slots=True)
class DeviceKnowledge:
    """What earlier polls have shown about a device. No reading is kept.

    A slot is the index of a point in `Layout.slots`. The slots of its fallbacks follow.
    """

    held: dict[Mark, float] = field(default_factory=dict)
    """Mark → monotonic second of the start of the last poll in which all registers of the mark matched."""
    chosen: dict[int, int] = field(default_factory=dict)
    """Slot of a counter with fallbacks → index of the candidate that had a value first. Later polls use only this
    candidate."""
    seen: set[int] = field(default_factory=set)
    """Slots of optional counters that had a value other than 0. If such a counter has no value later, its sum is
    missing, because without this counter the sum would fall."""
    gauges: set[Key] = field(default_factory=set)
    """Optional gauges that had a value. If such a gauge has no value later, its reading is missing. Without a reading,
    the node would use the last value until it is stale."""
    limit_W: float | None = None
    """The largest possible power in W, from the rated power; None if it is unknown."""


def evaluate(answers: Answers, refused: Collection[Span], known: DeviceKnowledge, at: float) -> Sequence[Reading]:
    """Return one reading for each node, quantity and phase, and for each total of phases. Update `known`.

    An optional gauge that never had a value gets no reading. `refused`: the spans that the device refuses. `at`:
    monotonic second of the start of the poll.
    """
    layout = answers.layout
    if not layout.direct or known.limit_W or None in answers.times:
        return _Evaluation(layout, answers, refused, known, at).readings()
    times = cast("list[float]", answers.times)
    # Most polls of most devices end here, without an `_Evaluation`.
    found = ReadingColumns(layout.keys, answers.values, answers.qualities, times)
    if layout.never_all_zero and not answers.values[0] and _all_zero(found):
        return tuple(map(_missing, found))
    return found


@dataclass(slots=True)
class _Evaluation:
    """Evaluates one poll. The fields are the arguments of `evaluate`."""

    layout: Layout
    answers: Answers
    refused: Collection[Span]
    known: DeviceKnowledge
    at: float

    def readings(self) -> tuple[Reading, ...]:
        found = self.layout.combine(self._parts(), self.at)
        if self.layout.optional:
            found = tuple(reading for reading in found if not self._absent(reading))
        for node, quantity, phase in self.layout.unread:
            found += (Reading(quantity, phase, None, Quality.MISSING, self.at, node),)
        if limit_W := self.known.limit_W:
            found = tuple(bounded(reading, self.layout.kind, limit_W) for reading in found)
        return tuple(map(_missing, found)) if self.layout.never_all_zero and _all_zero(found) else found

    def _absent(self, reading: Reading) -> bool:
        """Whether the reading is left out: it is missing, and it is of an optional gauge that never had a value.

        Update `known.gauges`.
        """
        key = reading.node, reading.quantity, reading.phase
        if key not in self.layout.optional or key in self.known.gauges:
            return False
        if reading.quality is Quality.GOOD:
            self.known.gauges.add(key)
        return reading.quality is Quality.MISSING

    def _parts(self) -> list[Part]:
        if self.layout.plain and None not in self.answers.times:
            return list(map(self.answers.reading, range(len(self.layout.slots))))
        if self.layout.plain:
            return [
                self._read(slot, candidate) or self._unread(candidate)
                for slot, candidate in enumerate(self.layout.slots)
            ]
        parts: list[Part] = []
        slot = 0
        for point in self.layout.points:
            parts.append(self._part(slot, point))
            slot += len(point.candidates)
        return parts

    def _part(self, slot: int, point: Point) -> Part:
        """Return the reading of a point, or None if the sum omits the point.

        The sum omits an optional point that the device does not have, unless the point is in `known.seen`.
        """
        reading = self._first(slot, point)
        if reading is None:
            return self._unread(point)
        if reading.quality is Quality.MISSING and self._battery_sleeps(slot, point):
            return reading._replace(value=0.0, quality=Quality.GOOD)
        if not point.optional:
            return reading
        if reading.value and point.counts:
            self.known.seen.add(slot)
        absent = reading.quality is Quality.MISSING and slot not in self.known.seen
        return None if absent else reading

    def _first(self, slot: int, point: Point) -> Reading | None:
        """Return the reading of the first candidate with a value. For a counter in `chosen`, try only the chosen one.

        Return None if a candidate was not read and no candidate before it has a value. If all were read and none has a
        value, return an invalid reading if there is one, otherwise a missing reading.
        """
        chosen = self.known.chosen.get(slot)
        worst: Reading | None = None
        for index, candidate in enumerate(point.candidates):
            if chosen is not None and index != chosen:
                continue
            reading = self._value(slot + index, candidate)
            if reading is None:
                return None
            if reading.quality is Quality.GOOD:
                if point.counts and point.fallback:
                    self.known.chosen[slot] = index
                return reading
            worst = reading if worst is None or worst.quality is Quality.MISSING else worst
        return worst

    def _value(self, slot: int, candidate: Point) -> Reading | None:
        """Return the reading of one candidate. Return None if its registers or its marks were not read."""
        reading = self._at_separate_addresses(candidate) if candidate.addresses else self._read(slot, candidate)
        if reading is None:
            return None
        if candidate.valid is not None:
            holds = self._holds(candidate.valid)
            if holds is None and not self._is_refused(candidate.valid.spans):
                return None
            if not holds:
                return _missing(reading)
        return reading if candidate.negative is None else self._directed(reading, candidate, candidate.negative)

    def _read(self, slot: int, candidate: Point) -> Reading | None:
        """Return the reading of a slot, or None if it was not read. It is missing if the device refuses the registers.

        The power of a battery is also missing if its value is the lowest number of its type.
        """
        reading = self.answers.reading(slot)
        if reading is None:
            return self._unread(candidate) if self._is_refused(candidate.spans) else None
        return _missing(reading) if self._is_battery(candidate) and _is_lowest(reading, candidate) else reading

    def _is_battery(self, point: Point) -> bool:
        return point.quantity is Quantity.ACTIVE_POWER and point.node in self.layout.batteries

    def _battery_sleeps(self, slot: int, point: Point) -> bool:
        """Whether a battery reports its state of charge, but replies "not available" for its power. The power is
        then 0 W."""
        if not self._is_battery(point):
            return False
        if not all(self._not_available(slot + index, each) for index, each in enumerate(point.candidates)):
            return False
        return any(
            each is not None and each.quantity is Quantity.SOC and each.node is point.node and each.value is not None
            for each in map(self.answers.reading, range(len(self.layout.slots)))
        )

    def _not_available(self, slot: int, candidate: Point) -> bool:
        """Whether the device answered "not available" for the registers of a candidate, and did not refuse them."""
        if candidate.addresses:
            reading, refused = self._at_separate_addresses(candidate), self._is_refused(candidate.spans)
        else:
            reading, refused = self._read(slot, candidate), self.answers.times[slot] is None
        return reading is not None and reading.quality is Quality.MISSING and not refused

    def _at_separate_addresses(self, candidate: Point) -> Reading | None:
        """Return the reading of a value whose words are at separate addresses.

        It is missing if the device refuses one of the words. Return None if a word was not read for another reason.
        """
        words = [self.answers.captured.get(span) for span in candidate.spans]
        if self._is_refused(candidate.spans):
            return self._unread(candidate)
        known = [each for each in words if each is not None]
        if len(known) < len(words):
            return None
        value, quality = decoder(candidate.encoding)([word for (word,), _ in known])
        return Reading(candidate.quantity, candidate.phase, value, quality, min(at for _, at in known), candidate.node)

    def _directed(self, reading: Reading, candidate: Point, negative: Mark) -> Reading | None:
        """Return the magnitude in `reading` with the sign that the marks give.

        If a mark was not read, return None. But if the device refuses the registers of a mark, return a missing
        reading. If there are two marks, and both hold or neither holds, a magnitude other than 0 gives a missing
        reading.
        """
        if not isinstance(reading.value, float):
            return reading
        marks = [mark for mark in (negative, candidate.positive) if mark is not None]
        states = [self._holds(mark) for mark in marks]
        magnitude = abs(reading.value)
        if None in states:
            refused = any(self._is_refused(mark.spans) for mark in marks)
            return _missing(reading) if refused else None
        if len(states) == 2 and states[0] == states[1]:
            return reading._replace(value=0.0) if magnitude == 0 else _missing(reading)
        return reading._replace(value=0.0 - magnitude if states[0] else magnitude)  # 0.0 - 0.0 is 0.0, not -0.0

    def _holds(self, mark: Mark) -> bool | None:
        """Whether the mark holds: all its registers match, or all matched in a poll at most `grace_s` seconds ago.

        None if this is not known: registers were not read, and those that were read match.
        """
        states = []
        for each in mark.all:
            words = self.answers.captured.get(each.span)
            states.append(None if words is None else each.matches(words[0]))
        if None in states and False not in states:
            return None
        if all(states):
            self.known.held[mark] = self.at
            return True
        last = self.known.held.get(mark)
        return last is not None and self.at - last <= mark.grace_s

    def _is_refused(self, spans: Collection[Span]) -> bool:
        return any(span in self.refused for span in spans)

    def _unread(self, point: Point) -> Reading:
        return Reading(point.quantity, point.phase, None, Quality.MISSING, self.at, point.node)


def _is_lowest(reading: Reading, candidate: Point) -> bool:
    """Whether the value is the lowest number of its signed or float type. No measurement has this value."""
    encoding = candidate.encoding
    if encoding.is_float:
        raw = -_FLOAT_MAX
    elif encoding.type.startswith("int"):
        raw = -float(1 << 16 * encoding.width - 1)
    else:
        return False
    lowest: float = (abs(raw) if encoding.magnitude else raw) * encoding.scale + encoding.offset
    return reading.value == lowest


def _missing(reading: Reading) -> Reading:
    return reading._replace(value=None, quality=Quality.MISSING)


def _all_zero(readings: Collection[Reading]) -> bool:
    """Whether all values that were read are 0, with voltage and frequency among them.

    The device is then starting, or it is not connected.
    """
    for reading in readings:
        if reading.value:
            return False
    return {reading.quantity for reading in readings if reading.value == 0} >= NEVER_BOTH_ZERO
