"""Calculates the layout of a SunSpec device from its models: the points to read and the formulas of its readings. Pure.

- A common model begins a new device in the chain.
- The first meter in the chain is used. At SolarEdge this is meter 1, because SolarEdge numbers its meters in the order
  of the chain.
- The first inverter model of a device is used. A further one (113 besides 103) describes the same inverter.
- The powers, currents and energies of several inverters behind one unit id are added, and likewise those of several
  batteries. The powers and energies of DC inputs are added, also over several models 160 or 714.

The AC power of a hybrid includes the power of its battery. If a model has the charge power, these rules apply after the
battery charged or discharged for the first time (`SunSpecLayout.hybrid`):

- Solar power is the power of the PV inputs if the device names its battery inputs. Otherwise it is AC power plus charge
  power.
- The other quantities of the inverter model that would count as production are omitted (`MIXED`). For example, its
  lifetime counter counts energy from the battery as production.

Before that, no quantity is omitted. Solar power is then the power of the PV inputs if the device names its battery
inputs, otherwise the AC power. This also applies if no model has the charge power: for example, model 124 has only the
state of charge.
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
    Quirk,
    Rule,
)
from drivers.sunspec.models import Model, of
from drivers.sunspec.point_collector import PointCollector

Key = tuple[NodeType, Quantity, Phase | None]
Offer = tuple[Formula, int]
"""A possible formula of a reading, and the index of the cell (`drivers.sunspec.formulas`) that gives its time."""

SOLAR, STORAGE = NodeType.SOLAR, NodeType.STORAGE
_Offers = dict[Key, Offer]
_Inputs = dict[Model, Sequence[DcInput]]
"""The models with the DC inputs of one inverter, and the types of their inputs."""
_AC_POWER: Key = (SOLAR, Quantity.ACTIVE_POWER, None)
_CHARGE_POWER: Key = (STORAGE, Quantity.ACTIVE_POWER, None)
MIXED = frozenset({Quantity.ACTIVE_POWER, Quantity.PRODUCED_ENERGY, Quantity.DC_POWER, Quantity.DC_CURRENT})
"""The quantities of an inverter model that include the battery, and that would count as production. AC current and
apparent power are sent as measured."""

_ADDITIVE = frozenset({Unit.W, Unit.VAR, Unit.VA, Unit.WH, Unit.A})
"""The units of quantities that are added over several inverters or batteries."""

_INPUT_QUANTITIES = tuple(dict.fromkeys((rule.node, rule.quantity) for rules in CHANNELS.values() for rule in rules))

_HAS_STORAGE = (*BATTERIES, 713, 124)
"""The models that only a device with a battery has."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One reading and its formula. The cell at `slot` gives the time of the reading."""

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
    """The charge power, or None if it is not known for every battery."""
    charges: tuple[int, ...]
    """The indices of the cells with a charge power: one for each battery, and one for each battery input."""

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
        self._charges: list[int] = []

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
        points, models = tuple(self._cells.points), tuple(self._cells.models)
        return SunSpecLayout(points, models, plain, hybrid, charge, tuple(self._charges))

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
            if rule.quantity is Quantity.ACTIVE_POWER:
                self._charges += slots
            if len(slots) < len(batteries):
                continue
            if len(cells) == 1:
                formula = cells[0]
            elif rule.quantity.unit is Unit.PERCENT:
                formula = weighted_mean(cells, capacities)
            else:
                formula = total(cells) if rule.quantity.unit in _ADDITIVE else cells[0]
            self._offer((STORAGE, rule.quantity, rule.phase), (formula, slots[0]))

    def _offer_dc_inputs(self, channels: Mapping[Model, Sequence[DcInput]]) -> _Offers:
        """Add the offers of the DC inputs of all inverters.

        - An offer of battery inputs is the sum over the inverters that name their battery inputs.
        - If all inverters name their battery inputs, the offers of PV inputs are returned, and not put into `_offers`.
        - Otherwise only the DC power of the PV inputs is put into `_offers`, and the result is empty.
        """
        devices = self._inverters if len(self._inverters) > 1 else [self._chain]
        inputs = [_inputs_of(each, channels) for each in devices]
        batteries = [each for each in inputs if _names_battery(each)]
        all_named = len(batteries) == len(inputs)
        pv: _Offers = {}
        for node, quantity in _INPUT_QUANTITIES:
            if node is SOLAR and quantity is not Quantity.DC_POWER and not all_named:
                continue
            offer = self._input_sum(batteries if node is STORAGE else inputs, node, quantity)
            if offer is None:
                continue
            if node is SOLAR and all_named:
                pv[node, quantity, None] = offer
            else:
                self._offer((node, quantity, None), offer)
        return pv

    def _input_sum(self, devices: Sequence[_Inputs], node: NodeType, quantity: Quantity) -> Offer | None:
        """Return the sum of a quantity over the inputs of all devices.

        Return None if there is no device, if a device has no input with the quantity, or if a point cannot be read.
        """
        if not (devices and all(devices)):
            return None
        counter = quantity.nature is Nature.COUNTER
        parts: list[Offer] = []
        for inputs in devices:
            slots = list(self._input_cells(inputs, node, quantity))
            known = [slot for slot in slots if slot is not None]
            if (node, quantity, None) == _CHARGE_POWER:
                self._charges += known
            if not known or len(known) < len(slots):
                return None
            cells = [cell(slot) for slot in known]
            parts.append((total(cells) if counter else total_of_some(cells), known[0]))
        formulas = [formula for formula, _ in parts]
        return total_count(formulas) if counter else total(formulas), parts[0][1]

    def _input_cells(self, inputs: _Inputs, node: NodeType, quantity: Quantity) -> Iterator[int | None]:
        """Yield the index of the cell of each input that has the quantity; None for a point that cannot be read."""
        for model, types in inputs.items():
            for rule in CHANNELS[model.id]:
                if (rule.node, rule.quantity) == (node, quantity):
                    counted = [(index, rule.signs[each]) for index, each in enumerate(types) if each in rule.signs]
                    yield from self._cells.add_repeated(model, rule.point, counted)

    def _idle_offers(self, pv: _Offers) -> dict[Key, list[Offer]]:
        """Return the offers for `SunSpecLayout.recipes`. PV inputs come before other offers.

        A counter of the PV inputs replaces the other offers.
        """
        offers = dict(self._offers)
        for key, offer in pv.items():
            others = [] if key[1].nature is Nature.COUNTER else offers.get(key, [])
            offers[key] = [offer, *others]
        return offers

    def _active_offers(self, charge: Formula, pv: _Offers) -> dict[Key, list[Offer]]:
        """Return the offers for `SunSpecLayout.hybrid`, without the quantities that include the battery.

        The power of the PV inputs, if the device names its battery inputs, comes before AC power plus charge power.
        """
        offers = {key: offer for key, offer in self._offers.items() if key[0] is not SOLAR or key[1] not in MIXED}
        offers |= {key: [offer] for key, offer in pv.items()}
        for formula, slot in self._offers.get(_AC_POWER, ()):
            offers.setdefault(_AC_POWER, []).append((total((formula, charge)), slot))
        return offers


def _inputs_of(device: Collection[Model], channels: Mapping[Model, Sequence[DcInput]]) -> _Inputs:
    """Return the DC inputs of one inverter; empty if their types are not known.

    Models 160 and 714 of one device describe the same inputs, so only one of these ids is used: the first that names
    the battery inputs, or else the first. All models with this id are used.
    """
    found: list[_Inputs] = []
    for model_id in dict.fromkeys(model.id for model in of(device, *CHANNELS)):
        inputs = {model: channels[model] for model in of(device, model_id)}
        # Without names, one of the inputs of a hybrid may be the battery, but it is not known which.
        unknown = model_id == 160 and not _names_battery(inputs) and any(of(device, *_HAS_STORAGE))
        if all(inputs.values()) and not unknown:
            found.append(inputs)
    return next((inputs for inputs in found if _names_battery(inputs)), found[0] if found else {})


def _names_battery(inputs: _Inputs) -> bool:
    battery = {DcInput.CHARGE, DcInput.DISCHARGE, DcInput.STORAGE}
    return any(not battery.isdisjoint(types) for types in inputs.values())


def _quirk(manufacturer: str) -> Quirk | None:
    name = manufacturer.lower()
    return next((quirk for start, quirk in QUIRKS.items() if name.startswith(start)), None)


def _recipes(offers: Mapping[Key, Sequence[Offer]]) -> Iterator[Recipe]:
    for (node, quantity, phase), found in offers.items():
        yield Recipe(node, quantity, phase, first([formula for formula, _ in found]), found[0][1])
