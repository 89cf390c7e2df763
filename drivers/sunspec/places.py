"""Which registers of a SunSpec device are read: a cell for each point that it has and that can be used. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from drivers.model import Quantity
from drivers.sunspec.formulas import PointAddress
from drivers.sunspec.mapping import Quirk, Rule
from drivers.sunspec.models import Definition, Model, load


class Places:
    """What fills each cell, in the order in which they were asked for."""

    def __init__(self, limit: int) -> None:
        """A point that does not fit into `limit` registers together with its scale factor is left out."""
        self.places: list[PointAddress] = []
        self.models: dict[Model, None] = {}
        """The models that are used."""
        self._limit = limit

    def of(self, model: Model, rules: Sequence[Rule], quirk: Quirk | None = None) -> dict[Rule, int]:
        """A cell for each rule whose point this model has."""
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

    def repeated(self, model: Model, name: str, signs: Iterable[tuple[int, int]]) -> list[int | None]:
        """Cells for a point of its repeated blocks; `signs` are the wanted blocks, counted from 0, with their sign."""
        definition = load(model.id, frozenset({name}))
        return [self._add(model, definition, name, sign, index) for index, sign in signs]

    def _add(
        self,
        model: Model,
        definition: Definition,
        name: str,
        sign: int = 1,
        index: int | None = None,
        *,
        folded: bool = False,
    ) -> int | None:
        """A cell for a point; None where the device leaves it out or it cannot be read together with its factor."""
        point = definition.points[name] if index is None else definition.repeated[name]
        start = 0 if index is None else definition.fixed_size + index * definition.repeated_size
        factor = definition.points[point.factor] if point.factor else None
        if not model.holds(start + point.offset, point) or (factor and not model.holds(factor.offset, factor)):
            return None
        place = PointAddress(
            model.address + start + point.offset,
            point,
            model.address + factor.offset if factor else None,
            sign,
            zero_counts=index is not None,
            folded=folded,
        )
        low, high = place.span
        if high - low > self._limit:
            return None
        self.models[model] = None
        self.places.append(place)
        return len(self.places) - 1
