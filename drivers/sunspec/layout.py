"""Calculates the layout of a SunSpec device from its models: the points to read and the formulas of its readings. Pure.

- A common model begins a new device in the chain.
- The first meter in the chain is used. At SolarEdge this is meter 1, because SolarEdge numbers its meters in the order
  of the chain. The function `meters` returns all meters.
- The first inverter model of a device is used. A further one (113 besides 103) describes the same inverter.
- The powers, currents and energies of several inverters behind one unit id are added. So are those of several
  batteries, and the powers and energies of several DC inputs.

The AC power of a hybrid includes the power of its battery. If a model has the charge power, these rules apply after the
battery charged or discharged for the first time (`SunSpecLayout.hybrid`):

- Solar power is the power of the PV inputs if the device names its battery inputs. Otherwise it is AC power plus charge
  power.
- The other quantities of the inverter model that include the battery are omitted (`MIXED`). For example, its lifetime
  counter counts energy from the battery as production.

If no model has the charge power (model 124 alone has only the state of charge), solar power is the AC power.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from drivers.model import Nature, NodeType, Phase, Quantity, Unit
from drivers.sunspec.formulas import (
    Formula,
    PointAddress,
    cell,
    first,
    total,
    total_count,
    total_of_some,
    weighted_mean,
)
from drivers.sunspec.mapping import (
    BATTERIES,
    CHANNELS,
    COMMON,
    INVERTERS,
    METERS,
    QUIRKS,
    STATUS,
    STORAGE_DETAILS,
    DcInput,
    InputRule,
    Quirk,
    Rule,
)
from drivers.sunspec.models import Model, of
from drivers.sunspec.point_collector import PointCollector

Key = tuple[NodeType, Quantity, Phase | None]
Offer = tuple[Formula, int]
"""A possible formula of a reading, and the index of a cell (`drivers.sunspec.formulas`). The time of this cell becomes
the time of measurement."""

SOLAR, STORAGE = NodeType.SOLAR, NodeType.STORAGE
_Inputs = dict[Key, Offer]
_AC_POWER: Key = (SOLAR, Quantity.ACTIVE_POWER, None)
_CHARGE_POWER: Key = (STORAGE, Quantity.ACTIVE_POWER, None)
MIXED = frozenset({Quantity.ACTIVE_POWER, Quantity.PRODUCED_ENERGY, Quantity.DC_POWER, Quantity.DC_CURRENT})
"""The quantities of an inverter model that include the power or the energy of the battery."""

_ADDITIVE = frozenset({Unit.W, Unit.VAR, Unit.VA, Unit.WH, Unit.A})
"""The units of quantities that are added over several inverters or batteries."""

_HAS_STORAGE = (*BATTERIES, 713, 124)
"""The models that only a device with a battery has."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One reading and its formula. The time of the reading is the time of the cell at `slot`."""

    node: NodeType
    quantity: Quantity
    phase: Phase | None
    formula: Formula
    slot: int


@dataclass(frozen=True, slots=True)
class SunSpecLayout:
    """The points of one device and the formulas of its readings."""

    points: tuple[PointAddress, ...]
    """The point of each cell."""
    models: tuple[Model, ...]
    """The models that are used. Each poll reads their headers to check that their addresses are still valid."""
    recipes: tuple[Recipe, ...]
    """The recipes that are used until the battery charges or discharges for the first time."""
    hybrid: tuple[Recipe, ...]
    """The recipes that are used after the battery charged or discharged for the first time. They are also used at a
    poll that cannot read the charge power, or reads an invalid one."""
    battery: Formula | None
    """The charge power, or None if no model has it."""

    @property
    def nodes(self) -> frozenset[NodeType]:
        return frozenset(recipe.node for recipe in self.recipes)


def build(
    chain: Collection[Model], channels: Mapping[Model, Sequence[DcInput]], manufacturer: str, limit: int
) -> SunSpecLayout:
    """Return the layout of a device with the models `chain`, for requests of at most `limit` registers.

    `channels` are the types of the DC inputs of its models 160 and 714. A point that does not fit into one request
    together with its scale factor is omitted.
    """
    return _LayoutBuilder(chain, limit).build(channels, manufacturer)


def meters(chain: Iterable[Model]) -> tuple[Model, ...]:
    """Return the meters in the order of the `chain`. A meter with an integer and a float model is listed once."""
    found: list[Model] = []
    same: set[int] = set()
    for model in chain:
        if model.id == COMMON:  # the next device begins
            same.clear()
        elif model.id in METERS and model.id not in same:
            found.append(model)
            same.add(model.id + 10 if model.id + 10 in METERS else model.id - 10)
    return tuple(found)


def sections(chain: Iterable[Model]) -> list[tuple[Model, ...]]:
    """Divide a chain into the models of each device.

    The first tuple has the models before the first common model, usually none.
    """
    found: list[list[Model]] = [[]]
    for model in chain:
        if model.id == COMMON:
            found.append([])
        found[-1].append(model)
    return [tuple(models) for models in found]


class _LayoutBuilder:
    def __init__(self, chain: Collection[Model], limit: int) -> None:
        self._chain = chain
        self._cells = PointCollector(limit)
        self._inverters = [each for each in sections(chain) if any(of(each, *INVERTERS))]
        self._hybrids = [model for each in sections(chain) if any(of(each, *_HAS_STORAGE)) for model in each]
        """The models of the devices with a battery."""
        self._offers: dict[Key, list[Offer]] = {}

    def build(self, channels: Mapping[Model, Sequence[DcInput]], manufacturer: str) -> SunSpecLayout:
        self._offer_first(NodeType.GRID, METERS, _quirk(manufacturer))
        self._offer_batteries(self._chain, BATTERIES)
        for model_id, rules in STORAGE_DETAILS.items():
            self._offer_batteries(self._hybrids, {model_id: rules})
        self._offer_inverters(INVERTERS)
        self._offer_inverters(STATUS)
        pv = self._offer_dc_inputs(channels)
        battery = self._offers.get(_CHARGE_POWER)
        charge = first([formula for formula, _ in battery]) if battery else None
        plain = tuple(_recipes(self._idle_offers(pv)))
        hybrid = tuple(_recipes(self._active_offers(charge, pv))) if charge else plain
        return SunSpecLayout(tuple(self._cells.points), tuple(self._cells.models), plain, hybrid, charge)

    def _offer_first(self, node: NodeType, table: Mapping[int, Sequence[Rule]], quirk: Quirk | None = None) -> None:
        """Add the offers of the first model in the chain for which `table` has rules."""
        model = next(of(self._chain, *table), None)
        if model is None:
            return
        for rule, slot in self._cells.add(model, table[model.id], quirk).items():
            self._offer((node, rule.quantity, rule.phase), (cell(slot), slot))

    def _offer_inverters(self, table: Mapping[int, Sequence[Rule]]) -> None:
        """Add the offers of all inverters, by the rules of `table`.

        A quantity that can be added is the sum over the inverters. It is omitted if one of them does not have it. For
        another quantity, such as a voltage, the value of the first inverter is used.
        """
        if len(self._inverters) < 2:
            self._offer_first(SOLAR, table)
            return
        found = [self._of_inverter(each, table) for each in self._inverters]
        for (quantity, phase), slot in found[0].items():
            slots = [each[quantity, phase] for each in found if (quantity, phase) in each]
            if quantity.unit not in _ADDITIVE:
                self._offer((SOLAR, quantity, phase), (cell(slot), slot))
            elif len(slots) == len(found):
                self._offer((SOLAR, quantity, phase), (total([cell(each) for each in slots]), slot))

    def _of_inverter(
        self, inverter: Sequence[Model], table: Mapping[int, Sequence[Rule]]
    ) -> dict[tuple[Quantity, Phase | None], int]:
        """Return the index of the cell of each quantity and phase of one inverter.

        If several rules have the same quantity and phase, such as several temperatures, the first rule is used.
        """
        model = next(of(inverter, *table), None)
        slots = {} if model is None else self._cells.add(model, table[model.id])
        return {(rule.quantity, rule.phase): slot for rule, slot in reversed(slots.items())}

    def _offer(self, key: Key, offer: Offer) -> None:
        offers = self._offers.setdefault(key, [])
        # Two counters of the same energy have different values. A change between them would count as energy.
        if not (offers and key[1].nature is Nature.COUNTER):
            offers.append(offer)

    def _offer_batteries(self, models: Collection[Model], table: Mapping[int, Sequence[Rule]]) -> None:
        """Add the offers of all batteries: the `models` for which `table` has rules.

        - A quantity that can be added is the sum over the batteries.
        - A percentage is the mean, weighted by capacity.
        - For another quantity, such as a voltage, the value of the first battery is used.

        A quantity that one of the batteries does not have is omitted.
        """
        batteries = [self._cells.add(model, table[model.id]) for model in of(models, *table)]
        capacities = [cell(s) for slots in batteries for rule, s in slots.items() if rule.point == "WHRtg"]
        for rule in dict.fromkeys(rule for slots in batteries for rule in slots):
            slots = [found[rule] for found in batteries if rule in found]
            cells = [cell(slot) for slot in slots]
            if len(slots) < len(batteries):
                continue
            if len(cells) == 1:
                formula = cells[0]
            elif rule.quantity.unit is Unit.PERCENT:
                formula = weighted_mean(cells, capacities)
            else:
                formula = total(cells) if rule.quantity.unit in _ADDITIVE else cells[0]
            self._offer((STORAGE, rule.quantity, rule.phase), (formula, slots[0]))

    def _offer_dc_inputs(self, channels: Mapping[Model, Sequence[DcInput]]) -> _Inputs:
        """Use the DC inputs.

        If the device names its battery inputs, add the offers of the storage node, and return those of the PV inputs.
        Otherwise add only the offer of DC power, and return nothing.
        """
        model = next(of(channels, *CHANNELS), None)
        if model is None or len(self._inverters) > 1:
            return {}  # no DC inputs, or they belong to only one of several inverters
        found = channels[model]
        named = not {DcInput.CHARGE, DcInput.DISCHARGE, DcInput.STORAGE}.isdisjoint(found)
        if not named and model.id == 160 and self._hybrids:
            return {}  # one of the inputs may be the battery, but it is not known which
        pv: _Inputs = {}
        for rule in CHANNELS[model.id]:
            offer = self._input(model, rule, [rule.signs.get(channel, 0) for channel in found])
            if offer is None:
                continue
            key = (rule.node, rule.quantity, None)
            if rule.node is STORAGE or (rule.quantity is Quantity.DC_POWER and not named):
                self._offer(key, offer)
            elif named:
                pv[key] = offer
        return pv

    def _input(self, model: Model, rule: InputRule, signs: Sequence[int]) -> Offer | None:
        """Return the sum of a point over the inputs. `signs` has one sign per input; 0 excludes the input.

        Return None if all inputs are excluded, or if the point of one input cannot be read.
        """
        counted = [(index, sign) for index, sign in enumerate(signs) if sign]
        slots = self._cells.add_repeated(model, rule.point, counted)
        known = [slot for slot in slots if slot is not None]
        if not known or len(known) < len(slots):
            return None
        cells = [cell(slot) for slot in known]
        return (total_count(cells) if rule.quantity.nature is Nature.COUNTER else total_of_some(cells)), known[0]

    def _idle_offers(self, pv: _Inputs) -> dict[Key, list[Offer]]:
        """Return the offers for `SunSpecLayout.recipes`. PV inputs come before other offers.

        A counter of the PV inputs replaces the other offers.
        """
        offers = dict(self._offers)
        for key, offer in pv.items():
            others = [] if key[1].nature is Nature.COUNTER else offers.get(key, [])
            offers[key] = [offer, *others]
        return offers

    def _active_offers(self, charge: Formula, pv: _Inputs) -> dict[Key, list[Offer]]:
        """Return the offers for `SunSpecLayout.hybrid`, without the quantities that include the battery.

        The first offer of solar power is the power of the PV inputs, the next one is AC power plus charge power.
        """
        offers = {key: offer for key, offer in self._offers.items() if key[0] is not SOLAR or key[1] not in MIXED}
        offers |= {key: [offer] for key, offer in pv.items()}
        for formula, slot in self._offers.get(_AC_POWER, ()):
            offers.setdefault(_AC_POWER, []).append((total((formula, charge)), slot))
        return offers


def _quirk(manufacturer: str) -> Quirk | None:
    name = manufacturer.lower()
    return next((quirk for start, quirk in QUIRKS.items() if name.startswith(start)), None)


def _recipes(offers: Mapping[Key, Sequence[Offer]]) -> Iterator[Recipe]:
    for (node, quantity, phase), found in offers.items():
        yield Recipe(node, quantity, phase, first([formula for formula, _ in found]), found[0][1])
