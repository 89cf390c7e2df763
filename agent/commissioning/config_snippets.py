"""Converts the results of a scan into text for the configuration file, or into JSON.

Every [[device]] table is valid without changes.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence

from agent.commissioning.proposals import Names, Proposal, UnitProposals, note_with_address, proposal, propose
from agent.runtime import escaped, printable
from drivers.driver import Driver
from drivers.modbus import LinkSettings
from drivers.model import Kind, NodeType, Table
from drivers.protocol import TRANSPORTS, unit_address
from drivers.scan import Identity, Match, SearchLocation

_MOST_NAMES = 8
"""The comment of `_uncertain` names at most this many drivers."""


def _device(one: Proposal, connections: Mapping[str, str]) -> Iterator[str]:
    if one.number > 1:
        yield f"# meter {one.number} of the same device"
    yield "[[device]]"
    yield from _nodes(one) if one.is_hybrid else _node(one)
    yield f"driver = {toml_text(one.driver)}"
    yield from _where(one.link, connections)
    yield f"unit_id = {one.unit_id}"
    yield ""


def _node(one: Proposal) -> Iterator[str]:
    ((type_, name),) = one.nodes.items()
    kind = one.match.kind
    yield f"node_id = {toml_text(name)}"
    if kind is Kind.METER:
        others = ", ".join(each for each in NodeType if each is not type_)
        yield f'type = "{type_}"  # or what it measures: {others}'
        yield from _disabled(one, "set the type, then enable it, unless another device measures the same")
        return
    yield f'type = "{type_}"'
    yield from _disabled(one)
    if kind is Kind.INVERTER:
        yield 'when_offline = "sleep"  # no answer: at night it counts 0 W, by day it is missing'
    if kind is Kind.RELAY:
        power, mark = (2000, "# ") if one.nominal_power_W is None else (one.nominal_power_W, "")
        yield f"{mark}nominal_power_W = {power:g}  # the power of the load while it is on"


def _nodes(one: Proposal) -> Iterator[str]:
    if one.grid_omitted:
        yield "# Its meter (grid) is omitted, because another device has the grid node."
    nodes = ", ".join(f"{each} = {toml_text(name)}" for each, name in one.nodes.items())
    yield f"nodes = {{ {nodes} }}"
    yield from _disabled(one)


def _disabled(one: Proposal, why: str = "not used") -> Iterator[str]:
    if not one.enabled:
        why = f"{one.doubt}: compare both, and enable this one if they are different devices" if one.doubt else why
        yield printable(f"enabled = false  # {why}")


def driver_table(name: str, driver: Driver) -> str:
    """Return a [[device]] table for a driver. Its host is an example that the installer replaces."""
    defaults = driver.defaults
    link = LinkSettings(host="192.168.1.20", port=defaults.port or TRANSPORTS["tcp"].port)
    match = Match(name, driver.kind, driver.nodes, name, "")
    one = proposal(link, 1 if defaults.unit_id is None else defaults.unit_id, match, Names(), of_grid=True)
    return "\n".join(_device(one, {})).rstrip("\n")


def device_tables(places: Sequence[SearchLocation]) -> str:
    """Return `tables` for the proposals that `propose` makes."""
    return tables(places, propose(places, Names()))


def tables(
    places: Sequence[SearchLocation], found: Sequence[UnitProposals], known: Mapping[str, str] | None = None
) -> str:
    """Return the [connection.NAME] and [[device]] tables of the proposals in `found`, with comments on all units.

    `known`: address of a link → NAME of its [connection.NAME] in the existing configuration.
    """
    connections = dict(known or {})
    lines: list[str] = []
    for place in _named_links(places, found, connections):
        name = connections[place.link.address] = _free(_connection_name(place.link), connections.values())
        lines += [*_connection(place.link, name), ""]
    for place in places:
        if place.note:
            lines += [printable(f"# {note_with_address(place)}"), ""]
        for each in (each for each in found if each.place is place):
            lines += map(printable, _comments(each))
            for one in each.proposals:
                lines += _device(one, connections)
            if not each.proposals:
                lines.append("")
        lines += map(printable, _cycle(place))
    return "\n".join(lines)


def _named_links(
    places: Sequence[SearchLocation], found: Sequence[UnitProposals], known: Mapping[str, str]
) -> Iterator[SearchLocation]:
    """Yield the places that need a new [connection.NAME].

    These places have proposals, and their link is not `tcp` and not in `known`.
    """
    used = {each.place.link.address for each in found if each.proposals}
    for place in places:
        if place.link.transport != "tcp" and place.link.address in used and place.link.address not in known:
            yield place


def _free(name: str, taken: Collection[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _cycle(place: SearchLocation) -> Iterator[str]:
    """Yield comments on how long one poll of all units takes; nothing if fewer than two units were measured."""
    times = [unit.identity.poll_s for unit in place.units if unit.identity and unit.identity.poll_s is not None]
    if len(times) > 1:
        yield f"# {place.link.address}: one poll of {len(times)} devices takes about {sum(times):.1f} s together."
        yield "# Do not set poll.interval_s shorter than that."
        yield ""


def _comments(found: UnitProposals) -> Iterator[str]:
    place, unit = found.place, found.unit
    where = unit_address(place.link.address, unit.unit_id)
    if place.any_unit:
        where += " (and all other unit ids: the device ignores the unit id)"
    if found.proposals and not (unit.identity and unit.identity.matches):
        only_coils = unit.identity is not None and unit.identity.tables == {Table.COIL}
        why = "it has only coils, as a relay board has" if only_coils else "the installer chose its driver"
        yield f"# {where}: not identified; {why}"
        return
    if unit.identity is None:
        yield f"# {where}: answers, but was not identified"
        return
    if unit.identity.labels:
        yield f"# {where}: its name is {' '.join(unit.identity.labels)}"
    if not unit.identity.matches:
        yield f"# {where}: answers, but no profile matches. To report the device or to write a profile, run:"
        yield f"#   {dump_command(place.link, unit.unit_id)}"
        if unit.identity.tables:
            yield f"# It has {' and '.join(sorted(map(_table_in_words, unit.identity.tables)))}."
        if unit.identity.likely:
            yield f"# Perhaps one of these drivers: {', '.join(unit.identity.likely)}. Put one into a [[device]] table,"
            yield "# and compare `telemetry-agent check --online` with the display of the device."
        else:
            yield "# `telemetry-agent drivers` lists the known devices by manufacturer and model."
        yield from _uncertain(unit.identity)
        return
    best, *others = unit.identity.matches
    yield f"# {where}: {best.device}, recognised {best.why}"
    yield from _uncertain(unit.identity)
    yield from (f"# note: {note}" for note in best.notes)
    for other in (*best.alternatives, *others):
        yield f'# also possible: driver = "{other.driver}" ({other.device}, {other.why})'


def _uncertain(identity: Identity) -> Iterator[str]:
    """Yield comments if the device can belong to a family in `identity.unanswered`.

    The requests that recognise such a family got no reply, or were not made.
    """
    names = identity.unanswered
    if names:
        rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        drivers = ", ".join(names[:_MOST_NAMES]) + rest
        yield f"# This is not certain: there was no reply to the requests that recognise {drivers}."
        yield "# Scan again, or compare the device with the models of these drivers."


def _table_in_words(table: Table) -> str:
    return {Table.COIL: "coils", Table.DISCRETE: "discrete inputs"}.get(table, f"{table} registers")


def _connection(link: LinkSettings, name: str) -> Iterator[str]:
    yield f"[connection.{name}]"
    yield f'transport = "{link.transport}"'
    if link.serial:
        yield f"serial_port = {toml_text(str(link.serial_port))}"
        yield f"baudrate = {link.baudrate}"
        yield f'parity = "{link.parity}"'
        yield f"stop_bits = {link.stop_bits}"
    else:
        yield from _host(link)


def _connection_name(link: LinkSettings) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", link.address.removeprefix("/dev/")).strip("-")


def _where(link: LinkSettings, connections: Mapping[str, str]) -> Iterator[str]:
    if link.transport == "tcp":
        yield from _host(link)
    else:
        yield f"connection = {toml_text(connections[link.address])}"
    if link.connect_delay_s:
        yield f"connect_delay_s = {link.connect_delay_s:g}  # it ignores requests that come earlier after connecting"


def _host(link: LinkSettings) -> Iterator[str]:
    yield f"host = {toml_text(str(link.host))}"
    yield f"port = {link.port}"


def dump_command(link: LinkSettings, unit_id: int) -> str:
    """Return the `dump` command for a device."""
    if link.serial:
        place = [str(link.serial_port), "--baudrate", str(link.baudrate), "--parity", link.parity]
    else:
        place = [str(link.host)] + (["--port", str(link.port)] if link.port != TRANSPORTS["tcp"].port else [])
        place += ["--transport", link.transport] if link.transport != "tcp" else []
    return shlex.join(["telemetry-agent", "dump", *place, "--unit", str(unit_id)])


def as_json(places: Sequence[SearchLocation]) -> str:
    """Return the results of a scan as JSON: a list of links, each with its units."""
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
        "units": [
            {"unit_id": unit.unit_id, "doubt": unit.doubt or None, **_identity(unit.identity)} for unit in place.units
        ],
    }


def _identity(identity: Identity | None) -> dict[str, object]:
    if identity is None:
        return {"identified": None, "labels": [], "likely": [], "unanswered": [], "drivers": []}
    return {
        "identified": bool(identity.matches),
        "labels": list(identity.labels),
        "likely": list(identity.likely),
        "unanswered": list(identity.unanswered),
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


def toml_text(value: str) -> str:
    """Return the value as a TOML string, in quotes."""
    return escaped(json.dumps(value, ensure_ascii=False))
