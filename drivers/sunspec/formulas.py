"""Calculates numbers from the points of a SunSpec device. Pure.

A cell is the number of one point. If the point has no number, the cell is the reason: a Quality, or None if the
registers could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.model import Quality
from drivers.sunspec.models import ModelPoint

Cell = float | Quality | None
Formula = Callable[[Sequence[Cell]], Cell]
"""Calculates one number, or the reason why there is none, from all cells of a device."""

_NO_FACTOR = -0x8000
"""The raw scale factor that means "not implemented"."""
_LARGEST_FACTOR = 10
"""Scale factors are exponents of ten. The specification has -10 to 10."""


@dataclass(frozen=True, slots=True)
class PointAddress:
    """The addresses of a point and its scale factor, and how to calculate the number."""

    address: int
    point: ModelPoint
    factor_address: int | None
    sign: int = 1
    zero_counts: bool = False
    """Whether 0 is a value. For a counter, the standard defines 0 as "not implemented", but an input that never
    produced also has 0."""
    folded: bool = False
    """Whether the counter counts down from 0, so that it is a negative number of 32 bits. Its value is this number
    without the sign: 0xFFFF_FFFF means -1, so the value is 1."""

    @property
    def span(self) -> tuple[int, int]:
        """First address, and the address after the last one, of the point and its factor.

        Both are read together, because the factor can change at any time.
        """
        end = self.address + self.point.size
        if self.factor_address is None:
            return self.address, end
        return min(self.address, self.factor_address), max(end, self.factor_address + 1)

    def decode(self, raw: float, factor: int | None) -> Cell:
        """Return the number of the raw value, or MISSING or INVALID.

        `factor` is the raw scale factor; None if the point has no factor.
        """
        if not self.point.implemented(raw) and not (self.zero_counts and raw == 0):
            return Quality.MISSING
        if self.folded and raw >= 0x8000_0000:
            raw = 0x1_0000_0000 - raw
        if factor == _NO_FACTOR:
            if not self.point.unscaled:
                return Quality.MISSING
            factor = 0
        number = raw * self.sign + 0.0  # the addition converts -0.0 to 0.0
        if factor is None or factor == 0:
            return number
        if abs(factor) > _LARGEST_FACTOR:
            return Quality.INVALID
        # 2301 / 10 is 230.1, but 2301 * 0.1 is 230.10000000000002.
        return number * 10.0**factor if factor > 0 else number / 10.0**-factor


def cell(slot: int) -> Formula:
    """The cell at `slot`."""
    return lambda cells: cells[slot]


def total(parts: Sequence[Formula]) -> Formula:
    """The sum. If a part has no number, the sum has no number."""

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [part(cells) for part in parts]
        return _reason(numbers) if _reason(numbers) is not Quality.GOOD else sum(_numbers(numbers))

    return formula


def total_of_some(parts: Sequence[Formula]) -> Formula:
    """The sum of the implemented parts. A DC input to which nothing is connected has the value for "not implemented".

    The sum has no number if a part was not read or is invalid, or if no part is implemented.
    """

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [part(cells) for part in parts]
        found = _numbers(numbers)
        if None in numbers or Quality.INVALID in numbers or not found:
            return _reason(numbers)
        return sum(found)

    return formula


def total_count(parts: Sequence[Formula]) -> Formula:
    """The sum of lifetime counters. A sum of 0 is missing, because 0 may mean "not implemented"."""
    summed = total(parts)

    def formula(cells: Sequence[Cell]) -> Cell:
        number = summed(cells)
        return Quality.MISSING if number == 0 else number

    return formula


def weighted_mean(values: Sequence[Formula], weights: Sequence[Formula]) -> Formula:
    """The weighted mean of the values. If a value has no number, the mean has no number.

    If a weight has no number, or the sum of the weights is not positive, the mean is the arithmetic mean.
    """

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [value(cells) for value in values]
        if _reason(numbers) is not Quality.GOOD:
            return _reason(numbers)
        found = _numbers(numbers)
        by = _numbers([weight(cells) for weight in weights])
        if len(by) < len(found) or sum(by) <= 0:
            by = [1.0] * len(found)
        return sum(value * weight for value, weight in zip(found, by, strict=True)) / sum(by)

    return formula


def first(alternatives: Sequence[Formula]) -> Formula:
    """The first alternative that has a number. If no alternative has a number, the result has no number."""
    if len(alternatives) == 1:
        return alternatives[0]

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [alternative(cells) for alternative in alternatives]
        return next(iter(_numbers(numbers)), None) if _numbers(numbers) else _reason(numbers)

    return formula


def _numbers(cells: Sequence[Cell]) -> list[float]:
    return [cell for cell in cells if isinstance(cell, float)]


def _reason(cells: Sequence[Cell]) -> Quality | None:
    """Return GOOD if all `cells` have a number. Otherwise return a reason: None (not read), INVALID or MISSING."""
    if None in cells:
        return None
    return next((reason for reason in (Quality.INVALID, Quality.MISSING) if reason in cells), Quality.GOOD)
