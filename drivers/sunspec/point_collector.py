"""Collects the points to read from a SunSpec device, with one cell (`drivers.sunspec.formulas`) for each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from drivers.model import Quantity
from drivers.sunspec.formulas import PointAddress
from drivers.sunspec.mapping import Quirk, Rule
from drivers.sunspec.models import Definition, Model, load


class PointCollector:
    """`points[i]` is the point of cell i."""

    def __init__(self, limit: int) -> None:
        """A point is omitted if one request of `limit` registers cannot read the point and its scale factor."""
        self.points: list[PointAddress] = []
        self.models: dict[Model, None] = {}
        """The models that are used, each once, in order of use."""
        self._limit = limit

    def add(self, model: Model, rules: Sequence[Rule], quirk: Quirk | None = None) -> dict[Rule, int]:
        """Add a cell for each rule whose point can be read. Returns the index of the cell by rule."""
        definition = load(model.id, frozenset(rule.point for rule in rules))
        slots = {}
        for rule in rules:
            turned = quirk is Quirk.EXPORT_POSITIVE and rule.quantity is Quantity.ACTIVE_POWER
            folded = quirk is Quirk.NEGATIVE_EXPORT and rule.quantity is Quantity.EXPORTED_ENERGY
            sign = -rule.sign if turned else rule.sign
            slot = self._add(model, definition, rule.point, sign, folded=folded)
            if slot is not None:
                slots[rule] = slot
        return slots

    def add_repeated(self, model: Model, name: str, signs: Iterable[tuple[int, int]]) -> list[int | None]:
        """Add cells for a point of the repeating group. `signs` has the repetition (from 0) and the sign of each cell.

        Returns the index of each cell; None for a point that cannot be read.
        """
        definition = load(model.id, frozenset({name}))
        return [self._add(model, definition, name, sign, index) for index, sign in signs]

    def _add(
        self,
        model: Model,
        definition: Definition,
        name: str,
        sign: int,
        index: int | None = None,
        *,
        folded: bool = False,
    ) -> int | None:
        """Add a cell. Returns its index.

        Returns None if the model lacks the point or its factor, or if one request cannot read both.
        """
        point = definition.points[name] if index is None else definition.repeated[name]
        start = 0 if index is None else definition.fixed_size + index * definition.repeated_size
        factor = definition.points[point.factor] if point.factor else None
        if not model.holds(start + point.offset, point) or (factor and not model.holds(factor.offset, factor)):
            return None
        address = PointAddress(
            model.address + start + point.offset,
            point,
            model.address + factor.offset if factor else None,
            sign,
            zero_counts=index is not None,
            folded=folded,
        )
        low, high = address.span
        if high - low > self._limit:
            return None
        self.models[model] = None
        self.points.append(address)
        return len(self.points) - 1
