"""Proposes node types and names for the devices that a scan found. Pure.

A scan cannot know what a meter measures. So that nothing is counted twice, at most one unit measures the grid: the
first hybrid with a grid meter, otherwise the first meter. If a configured device measures the grid, no unit does. Every
other meter is disabled until the installer sets its type.

A unit that may be the same device as another unit (`FoundUnit.doubt`) is disabled. It is chosen for the grid only if it
is a hybrid and no other unit can be chosen. It then has a grid node, which counts when the installer enables the unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from drivers.modbus import LinkSettings
from drivers.model import Kind, NodeType
from drivers.protocol import link_address, unit_address
from drivers.scan import FoundUnit, Match, SearchLocation

_NAMES = {
    NodeType.GRID: "meter",
    NodeType.SOLAR: "pv",
    NodeType.STORAGE: "battery",
    NodeType.HEAT_PUMP: "heat-pump",
    NodeType.SWITCHED_LOAD: "relay",
    NodeType.VARIABLE_POWER_LOAD: "charger",
}


class Names:
    """Gives each node a name that no other node has."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def new(self, type_: NodeType) -> str:
        """Reserve and return the first free name of a type, such as pv-2."""
        number = 1
        while (name := f"{_NAMES[type_]}-{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name

    def free(self, name: str) -> bool:
        return name not in self._taken

    def take(self, name: str) -> None:
        self._taken.add(name)

    def release(self, name: str) -> None:
        self._taken.discard(name)


@dataclass(slots=True, eq=False)
class Proposal:
    """One [[device]] table to write."""

    link: LinkSettings
    unit_id: int
    match: Match
    nodes: dict[NodeType, str]
    """Node type → name of the node. A hybrid can have several nodes; other devices have one."""
    enabled: bool = True
    number: int = 1
    """The number of the device at its unit id, from 1. Only further meters (`Match.further`) have a number above 1."""
    nominal_power_W: float | None = None
    """The power of the load of a relay while the relay is on; None if the installer gave none."""
    doubt: str = ""
    """Why another proposal may be for the same device; empty if there is no doubt."""

    @property
    def driver(self) -> str:
        return self.match.driver

    @property
    def device(self) -> str:
        """Manufacturer and first model."""
        return self.match.device.partition(",")[0]

    @property
    def is_hybrid(self) -> bool:
        return self.match.kind is Kind.HYBRID

    @property
    def measures_grid(self) -> bool:
        return self.enabled and NodeType.GRID in self.nodes

    @property
    def has_grid_meter(self) -> bool:
        """Whether this is a hybrid that can measure the grid."""
        return self.is_hybrid and NodeType.GRID in self.match.nodes

    @property
    def grid_omitted(self) -> bool:
        """Whether this is a hybrid whose grid meter is not used."""
        return self.has_grid_meter and NodeType.GRID not in self.nodes

    @property
    def where(self) -> str:
        return unit_address(self.link.address, self.unit_id)


@dataclass(slots=True, eq=False)
class UnitProposals:
    """A unit that responded, with its proposals. An unknown unit has none until the installer chooses its driver."""

    place: SearchLocation
    unit: FoundUnit
    proposals: list[Proposal] = field(default_factory=list)


def propose(places: Iterable[SearchLocation], names: Names, *, has_grid: bool = False) -> list[UnitProposals]:
    """Return every unit with its proposals. `has_grid`: whether a configured device measures the grid."""
    places = list(places)
    grid = None if has_grid else _grid_unit(places)
    found = []
    for place in places:
        for unit in place.units:
            proposals: list[Proposal] = []
            if unit.identity and unit.identity.matches:
                proposals = list(_proposals(place, unit, unit.identity.matches[0], names, of_grid=unit is grid))
            found.append(UnitProposals(place, unit, proposals))
    return found


def _proposals(
    place: SearchLocation, unit: FoundUnit, match: Match, names: Names, *, of_grid: bool
) -> Iterator[Proposal]:
    first = proposal(place.link, unit.unit_id, match, names, of_grid=of_grid)
    first.doubt = unit.doubt
    first.enabled = first.enabled and not unit.doubt
    yield first
    for number, driver in enumerate(match.further, 2):
        meter = replace(match, driver=driver, kind=Kind.METER, further=())
        yield replace(proposal(place.link, unit.unit_id, meter, names, of_grid=False), number=number)


def proposal(link: LinkSettings, unit_id: int, match: Match, names: Names, *, of_grid: bool) -> Proposal:
    """Return the proposal for one device.

    `of_grid`: this device measures the grid. Otherwise a meter is disabled, and a hybrid has no grid node.
    """
    if match.kind is not Kind.HYBRID:
        type_ = match.kind.usual
        return Proposal(
            link, unit_id, match, {type_: names.new(type_)}, enabled=of_grid or match.kind is not Kind.METER
        )
    types = [each for each in NodeType if each in match.nodes and (of_grid or each is not NodeType.GRID)]
    nodes = {each: names.new(each) for each in types}
    return Proposal(link, unit_id, match, nodes)


def set_type(one: Proposal, type_: NodeType, names: Names) -> None:
    """Set the type of a device with one node, and enable the device. If the type changes, the node gets a new name."""
    ((old, name),) = one.nodes.items()
    one.enabled = True
    if type_ is not old:
        names.release(name)
        one.nodes = {type_: names.new(type_)}


def settle_grid(proposals: Sequence[Proposal], names: Names, *, has_grid: bool) -> None:
    """Give a grid node to at most one hybrid, so that the grid is counted only once.

    No hybrid gets it if a configured device (`has_grid`) or an enabled device that is no hybrid measures the grid.
    Otherwise the first enabled hybrid with a grid meter gets it. If none is enabled, the first disabled one gets it.
    """
    measured = has_grid or any(each.measures_grid and not each.is_hybrid for each in proposals)
    hybrids = [each for each in proposals if each.has_grid_meter]
    used = None if measured else min(hybrids, key=lambda each: not each.enabled, default=None)
    for each in hybrids:
        if each is not used and not each.grid_omitted:
            names.release(each.nodes.pop(NodeType.GRID))
    if used is not None and used.grid_omitted:
        used.nodes = {NodeType.GRID: names.new(NodeType.GRID), **used.nodes}


def note_with_address(place: SearchLocation) -> str:
    """Return the note of a place. The address of the place is put before the note, unless the note contains it."""
    address = place.link.address
    return place.note if address in place.note else f"{address}: {place.note}"


def scan_notes(places: Iterable[SearchLocation], configured: Collection[str]) -> Iterator[str]:
    """Yield the notes of the scan, and the units that are not proposed because they are in the configuration.

    `configured` has the addresses of units, such as "192.168.1.20:502 unit 1".
    """
    for place in places:
        if place.note:
            yield note_with_address(place)
        if known := [each for each in place.units if _addresses(place, each) & set(configured)]:
            units = ", ".join(str(each.unit_id) for each in known)
            yield f"{place.link.address}: in the configuration already: unit {units}"
        elif _is_configured(place, configured):
            yield f"{place.link.address}: in the configuration already; the device replies to every unit id"


def _addresses(place: SearchLocation, unit: FoundUnit) -> set[str]:
    return {unit_address(place.link.address, unit.unit_id), *unit.elsewhere}


def _is_configured(place: SearchLocation, configured: Collection[str]) -> bool:
    """Whether the device responds to every unit id and is configured with one of them."""
    return place.any_unit and any(link_address(each) == place.link.address for each in configured)


def without_configured(places: Iterable[SearchLocation], configured: Collection[str]) -> list[SearchLocation]:
    """Return the places without the units that are in the configuration.

    A place is omitted if all its units are configured. If its device responds to every unit id, one configured unit id
    is enough. A place where no unit responds is kept only if it has a note.

    `configured` has the addresses of units, such as "192.168.1.20:502 unit 1".
    """
    rest = []
    for place in places:
        if _is_configured(place, configured):
            continue
        units = [each for each in place.units if not _addresses(place, each) & set(configured)]
        if units or (place.note and not place.units):
            rest.append(replace(place, units=units))
    return rest


def _grid_unit(places: Sequence[SearchLocation]) -> FoundUnit | None:
    """Return the unit that gets the grid node: the first hybrid with a grid meter, else the first meter, else None.

    A unit with a doubt is chosen only if it is a hybrid and there is no other choice.
    """
    units = (unit for place in places for unit in place.units)
    best = [(unit, unit.identity.matches[0]) for unit in units if unit.identity and unit.identity.matches]
    hybrids = [unit for unit, match in best if match.kind is Kind.HYBRID and NodeType.GRID in match.nodes]
    meters = [unit for unit, match in best if match.kind is Kind.METER]
    certain = [unit for unit in hybrids + meters if not unit.doubt]
    return next(iter(certain + hybrids), None)
