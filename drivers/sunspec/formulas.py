"""Pure arithmetic on the points of a SunSpec device: where each stands, its number, and sums over several.

A cell is the number of one point, or the reason why there is none, or None when its registers could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.model import Quality
from drivers.sunspec.models import ModelPoint

Cell = float | Quality | None
Formula = Callable[[Sequence[Cell]], Cell]
"""From all cells of a device to one number."""

_NO_FACTOR = -0x8000
_LARGEST_FACTOR = 10


@dataclass(frozen=True, slots=True)
class PointAddress:
    """Where a point and its scale factor stand, and how they make a number."""

    address: int
    point: ModelPoint
    factor_address: int | None
    sign: int = 1
    zero_counts: bool = False
    """A DC input that never produced is an accumulator of 0: a zero in a sum, not a reason to have no sum."""
    folded: bool = False
    """An accumulator that counts down from zero, as a negative number in 32 bits."""

    @property
    def span(self) -> tuple[int, int]:
        """First register, and the first behind, of what must be read in one request: factors change at run time."""
        end = self.address + self.point.size
        if self.factor_address is None:
            return self.address, end
        return min(self.address, self.factor_address), max(end, self.factor_address + 1)

    def decode(self, raw: float, factor: int | None) -> Cell:
        """The number of the raw value, with `factor` the raw scale factor where the point has one."""
        if not self.point.implemented(raw) and not (self.zero_counts and raw == 0):
            return Quality.MISSING
        if self.folded and raw >= 0x8000_0000:
            raw = 0x1_0000_0000 - raw
        if factor == _NO_FACTOR:
            if not self.point.unscaled:
                return Quality.MISSING
            factor = 0
        if factor is None or factor == 0:
            return float(raw * self.sign)
        if abs(factor) > _LARGEST_FACTOR:
            return Quality.INVALID
        # Dividing by a whole power of ten gives 230.4 where multiplying by 0.1 gives 230.40000000000003.
        return self.sign * (raw * 10.0**factor if factor > 0 else raw / 10.0**-factor)


def cell(slot: int) -> Formula:
    """The cell at `slot`."""
    return lambda cells: cells[slot]


def total(parts: Sequence[Formula]) -> Formula:
    """The sum; without one of its parts there is none."""

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [part(cells) for part in parts]
        return _obstacle(numbers) if _obstacle(numbers) is not Quality.GOOD else sum(_numbers(numbers))

    return formula


def total_of_some(parts: Sequence[Formula]) -> Formula:
    """The sum of what is implemented: inputs that are not connected say nothing."""

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [part(cells) for part in parts]
        found = _numbers(numbers)
        if None in numbers or Quality.INVALID in numbers or not found:
            return _obstacle(numbers)
        return sum(found)

    return formula


def total_count(parts: Sequence[Formula]) -> Formula:
    """The sum of lifetime counters; all at zero cannot be told from none at all, as with a single one."""
    summed = total(parts)

    def formula(cells: Sequence[Cell]) -> Cell:
        number = summed(cells)
        return Quality.MISSING if number == 0 else number

    return formula


def weighted_mean(values: Sequence[Formula], weights: Sequence[Formula]) -> Formula:
    """Mean of the values by their weights; the plain mean where a weight is missing."""

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [value(cells) for value in values]
        if _obstacle(numbers) is not Quality.GOOD:
            return _obstacle(numbers)
        found = _numbers(numbers)
        by = _numbers([weight(cells) for weight in weights])
        if len(by) < len(found) or sum(by) <= 0:
            by = [1.0] * len(found)
        return sum(value * weight for value, weight in zip(found, by, strict=True)) / sum(by)

    return formula


def first(alternatives: Sequence[Formula]) -> Formula:
    """The first alternative that has a number."""
    if len(alternatives) == 1:
        return alternatives[0]

    def formula(cells: Sequence[Cell]) -> Cell:
        numbers = [alternative(cells) for alternative in alternatives]
        return next(iter(_numbers(numbers)), None) if _numbers(numbers) else _obstacle(numbers)

    return formula


def _numbers(cells: Sequence[Cell]) -> list[float]:
    return [cell for cell in cells if isinstance(cell, float)]


def _obstacle(cells: Sequence[Cell]) -> Quality | None:
    """Why there is no number for all of `cells`: not read, invalid, missing; GOOD if there is one."""
    if None in cells:
        return None
    return next((reason for reason in (Quality.INVALID, Quality.MISSING) if reason in cells), Quality.GOOD)
