"""Converts the results of a scan into text for the configuration file.

Every [[device]] table is valid without changes. The scan cannot know what a meter measures. The first meter becomes the
grid meter. Every other meter is disabled until the installer sets its type, so that nothing is counted twice.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from agent.runtime import printable
from drivers.modbus import LinkSettings
from drivers.model import Kind, NodeType
from drivers.scan import FoundUnit, Identity, Match, SearchLocation

_NAMES = {
    NodeType.GRID: "meter",
    NodeType.SOLAR: "pv",
    NodeType.STORAGE: "battery",
    NodeType.HEAT_PUMP: "heat-pump",
    NodeType.SWITCHED_LOAD: "relay",
    NodeType.VARIABLE_POWER_LOAD: "charger",
}


class _Writer:
    """Writes the tables and gives each node a unique name."""

    def __init__(self, grid: FoundUnit | None) -> None:
        self.lines: list[str] = []
        self._grid = grid
        """The only device that measures the grid."""
        self._names: Counter[str] = Counter()

    def device(self, place: SearchLocation, unit: FoundUnit, match: Match) -> None:
        where = [*_where(place.link), f"unit_id = {unit.unit_id}", ""]
        self.lines.append("[[device]]")
        if match.kind is Kind.HYBRID:
            self._nodes(match, of_grid=unit is self._grid)
        else:
            self._node(match, of_grid=unit is self._grid)
        self.lines += [f"driver = {_text(match.driver)}", *where]
        for number, driver in enumerate(match.further, 2):
            self.lines += [f"# meter {number} of the same device", "[[device]]"]
            self._node(replace(match, kind=Kind.METER), of_grid=False)
            self.lines += [f"driver = {_text(driver)}", *where]

    def _node(self, match: Match, *, of_grid: bool) -> None:
        type_ = match.kind.usual
        self.lines.append(f"node_id = {_text(self._name(type_))}")
        if match.kind is Kind.METER:
            self.lines.append(f'type = "{type_}"  # or what it measures: {", ".join(list(NodeType)[1:])}')
            if not of_grid:
                self.lines.append("enabled = false  # another device measures the grid: set the type, then enable it")
            return
        self.lines.append(f'type = "{type_}"')
        if match.kind is Kind.INVERTER:
            self.lines.append('when_offline = "sleep"  # no answer: at night it counts 0 W, by day it is missing')
        if match.kind is Kind.RELAY:
            self.lines.append("# nominal_power_W = 2000  # the power of the load while it is on")

    def _nodes(self, match: Match, *, of_grid: bool) -> None:
        wanted = [each for each in NodeType if each in match.nodes and (of_grid or each is not NodeType.GRID)]
        if len(wanted) < len(match.nodes):
            self.lines.append("# Its meter (grid) is omitted, because another device measures the grid.")
        nodes = ", ".join(f"{each} = {_text(self._name(each))}" for each in wanted)
        self.lines.append(f"nodes = {{ {nodes} }}")

    def _name(self, type_: NodeType) -> str:
        base = _NAMES[type_]
        self._names[base] += 1
        return f"{base}-{self._names[base]}"


def _grid_unit(places: Iterable[SearchLocation]) -> FoundUnit | None:
    """Return the device that measures the grid: a hybrid with a grid meter, else the first meter."""
    best = [(unit, unit.identity.matches[0]) for unit in _units(places) if unit.identity and unit.identity.matches]
    hybrids = [unit for unit, match in best if match.kind is Kind.HYBRID and NodeType.GRID in match.nodes]
    meters = [unit for unit, match in best if match.kind is Kind.METER]
    return next(iter(hybrids + meters), None)


def _units(places: Iterable[SearchLocation]) -> Iterator[FoundUnit]:
    return (unit for place in places for unit in place.units)


def device_tables(places: Sequence[SearchLocation]) -> str:
    """Return [connection.…] and [[device]] tables for the identified devices, and comments for the others."""
    writer = _Writer(_grid_unit(places))
    for place in places:
        if place.link.transport != "tcp" and any(unit.identity and unit.identity.matches for unit in place.units):
            writer.lines += [*_connection(place.link), ""]
    for place in places:
        if place.note:
            named = place.link.address in place.note  # an error of the link already contains the address
            writer.lines += [printable(f"# {place.note if named else f'{place.link.address}: {place.note}'}"), ""]
        for unit in place.units:
            writer.lines += map(printable, _comments(place, unit))
            if unit.identity and unit.identity.matches:
                writer.device(place, unit, unit.identity.matches[0])
            else:
                writer.lines.append("")
        writer.lines += map(printable, _cycle(place))
    return "\n".join(writer.lines)


def _cycle(place: SearchLocation) -> Iterator[str]:
    """How long the polls of all units of a link take."""
    times = [unit.identity.poll_s for unit in place.units if unit.identity and unit.identity.poll_s is not None]
    if len(times) > 1:
        yield f"# {place.link.address}: one poll of {len(times)} devices takes about {sum(times):.1f} s together."
        yield "# Do not set poll.interval_s shorter than that."
        yield ""


def _comments(place: SearchLocation, unit: FoundUnit) -> Iterator[str]:
    where = f"{place.link.address} unit {unit.unit_id}"
    if place.any_unit:
        where += " (and all other unit ids: the device ignores the unit id)"
    if unit.identity is None:
        yield f"# {where}: answers, but was not identified"
        return
    if unit.identity.labels:
        yield f"# {where}: its name is {' '.join(unit.identity.labels)}"
    if not unit.identity.matches:
        yield f"# {where}: answers, but no profile matches. To report the device or to write a profile, run:"
        yield f"#   {dump_command(place.link, unit.unit_id)}"
        if unit.identity.tables:
            yield f"# It has {' and '.join(sorted(f'{table} registers' for table in unit.identity.tables))}."
        if unit.identity.likely:
            yield f"# Perhaps one of these drivers: {', '.join(unit.identity.likely)}. Put one into a [[device]] table,"
            yield "# and compare `telemetry-agent check --online` with the display of the device."
        else:
            yield "# `telemetry-agent drivers` lists the known devices by manufacturer and model."
        return
    best, *others = unit.identity.matches
    yield f"# {where}: {best.device}, recognised {best.why}"
    yield from (f"# note: {note}" for note in best.notes)
    for other in (*best.alternatives, *others):
        yield f'# also possible: driver = "{other.driver}" ({other.device}, {other.why})'


def _connection(link: LinkSettings) -> Iterator[str]:
    yield f"[connection.{_connection_name(link)}]"
    yield f'transport = "{link.transport}"'
    if link.serial:
        yield f"serial_port = {_text(str(link.serial_port))}"
        yield f"baudrate = {link.baudrate}"
        yield f'parity = "{link.parity}"'
        yield f"stop_bits = {link.stop_bits}"
    else:
        yield from _host(link)


def _connection_name(link: LinkSettings) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", link.address.removeprefix("/dev/")).strip("-")


def _where(link: LinkSettings) -> Iterator[str]:
    if link.transport == "tcp":
        yield from _host(link)
    else:
        yield f"connection = {_text(_connection_name(link))}"
    if link.connect_delay_s:
        yield f"connect_delay_s = {link.connect_delay_s:g}  # it answers only after a pause after connecting"


def _host(link: LinkSettings) -> Iterator[str]:
    yield f"host = {_text(str(link.host))}"
    yield f"port = {link.port}"


def dump_command(link: LinkSettings, unit_id: int) -> str:
    """Return the command that dumps an unknown device."""
    if link.serial:
        place = [str(link.serial_port), "--baudrate", str(link.baudrate), "--parity", link.parity]
    else:
        place = [str(link.host)] + (["--port", str(link.port)] if link.port != 502 else [])
        place += ["--transport", link.transport] if link.transport != "tcp" else []
    return shlex.join(["telemetry-agent", "dump", *place, "--unit", str(unit_id)])


def as_json(places: Sequence[SearchLocation]) -> str:
    """Return the results as JSON: a list of links, each with its units."""
    return json.dumps([_place(place) for place in places], indent=1)


def _place(place: SearchLocation) -> dict[str, object]:
    link = place.link
    where: dict[str, object] = (
        {"serial_port": link.serial_port, "baudrate": link.baudrate, "parity": link.parity}
        if link.serial
        else {"transport": link.transport, "host": link.host, "port": link.port}
    )
    return {
        **where,
        "note": place.note or None,
        "any_unit": place.any_unit,
        "units": [{"unit_id": unit.unit_id, **_identity(unit.identity)} for unit in place.units],
    }


def _identity(identity: Identity | None) -> dict[str, object]:
    if identity is None:
        return {"identified": None, "labels": [], "likely": [], "drivers": []}
    return {
        "identified": bool(identity.matches),
        "labels": list(identity.labels),
        "likely": list(identity.likely),
        "drivers": [
            {
                "driver": match.driver,
                "kind": match.kind.value,
                "nodes": sorted(node.value for node in match.nodes),
                "device": match.device,
                "recognised": match.why,
                "further": list(match.further),
                "notes": list(match.notes),
            }
            for best in identity.matches
            for match in (best, *best.alternatives)
        ],
    }


def _text(value: str) -> str:
    return printable(json.dumps(value, ensure_ascii=False))
