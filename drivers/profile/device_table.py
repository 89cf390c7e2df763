"""Generates docs/devices.md and the list of manufacturers in the README from the profiles.

Command, in the root of the repository: `python -m drivers.profile.device_table`
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from drivers.model import Kind, NodeType, Phase, Quantity
from drivers.profile.loader import BUILT_IN, Profile, load
from drivers.profile.point import Point

BEGIN, END = "<!-- devices: made by python -m drivers.profile.device_table -->", "<!-- end of devices -->"

# The manufacturer in the profiles of the simulated site.
_SIMULATED = "Simulated"

_TITLES = {
    Kind.METER: "Meters",
    Kind.INVERTER: "Inverters",
    Kind.BATTERY: "Batteries",
    Kind.HYBRID: "Hybrids: an inverter with its battery or its meter",
    Kind.HEAT_PUMP: "Heat pumps",
    Kind.CHARGER: "Chargers and other controllable loads",
    Kind.RELAY: "Relays and outputs",
}

_HEAD = """\
# Devices

This page is generated from [drivers/profiles](../drivers/profiles): `make devices` writes it. Each section is one
driver. `telemetry-agent drivers show NAME` also prints the registers and the sources.

- **registers**: a register is confirmed when two independent public sources agree on it. If a register is not
  confirmed, compare its value with the display of the device before you rely on it.
- **fields**: what the driver reads, by node. `l1`, `l2` and `l3` are the phases. If a device has no total of the active
  power or of a counter, the agent adds up the phases. The temperature of a heat pump is the temperature of the domestic
  hot water. The temperature of a battery is the temperature of the battery itself. Flow, return and outdoor
  temperatures, heat and efficiency are not read: the payload has no fields for them.
- **power limit**: an active power or a DC power above this limit is invalid. The limit does not apply to meters,
  including the meter of a hybrid.
- **identify**: if yes, `scan` recognises the device by its registers. If no, name the driver in the configuration.
  If it says "as" another driver, `scan` proposes that driver and also prints the name of this one.
- **link**: what differs from the defaults of the connection. The configuration of the site has priority.
- **capture**: a file with the registers of a real device and their known values. The test suite reads the registers
  with the driver and compares the readings with the known values.
"""
_TAIL = """\
## Devices without a driver

- Only control over Modbus, no readings: OBO Ion, Pracht Alpha, EVSE-DIN, i-CHARGE CION (Schrack, Smartfox), Alphatec,
  Pulsares. Add a meter for them.
- Heat pumps without a known register of the electric power: Ochsner, Xtherma, Ecoforest, Nilan, Danfoss, Vaillant,
  Viessmann Vitocal, and gateways for Panasonic, Samsung, Mitsubishi, Hitachi and Toshiba. Add a meter for them.
- Meters whose registers are not public: Ziehl EFR4002IP, Socomec Countis E17.
- A protocol of their own instead of Modbus: RCT, sonnen, Tesla Powerwall, LG ESS, Danfoss TripleLynx.
"""


def types_of(profile: Profile) -> str:
    """Return as text the node types that a device of the family can feed."""
    if profile.kind is Kind.METER:
        return "any (meter)"
    types = profile.nodes or profile.kind.nodes
    return ", ".join(each for each in NodeType if each in types)


def confirmation(profile: Profile) -> str:
    """Return as text how many of the points are confirmed (`Point.confirmed`), those of the variants included.

    A point with the same registers in several variants counts once. It counts as confirmed only if it is confirmed in
    each of them.
    """
    points = _distinct(profile)
    confirmed = sum(point.confirmed for point in points)
    if confirmed == len(points):
        return "confirmed" if confirmed else "by discovery"
    return f"{confirmed} of {len(points)} confirmed" if confirmed else "from one source"


def families() -> list[Profile]:
    """Return every built-in profile of a real device, sorted by manufacturer."""
    profiles = (load(path) for path in BUILT_IN.glob("*.toml"))
    real = (profile for profile in profiles if profile.manufacturer != _SIMULATED)
    return sorted(real, key=lambda profile: (profile.manufacturer.lower(), profile.name))


def captures(folder: Path) -> Mapping[str, list[str]]:
    """Return driver → file names of its captures in `folder` (tests/fixtures/dumps)."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        found[json.loads(path.read_text(encoding="utf-8"))["driver"]].append(path.name)
    return found


def updated(readme: str, profiles: Sequence[Profile]) -> str:
    """Return the text `readme` with a new list. Raises ValueError if the BEGIN or END line is missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{makers(profiles)}\n{END}{after}"


def makers(profiles: Sequence[Profile]) -> str:
    """Return the manufacturers of each kind as Markdown."""
    lines = [f"\n{len(profiles)} families:\n"]
    for kind, title in _TITLES.items():
        of_kind = [profile for profile in profiles if profile.kind is kind]
        names = dict.fromkeys(profile.manufacturer for profile in of_kind if profile.manufacturer != "any")
        if of_kind:
            text = f"- **{title}** ({len(of_kind)}): {', '.join(names)}"
            lines.append(fill(text, 120, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join([*lines, ""])


def page(profiles: Sequence[Profile], captured: Mapping[str, Sequence[str]]) -> str:
    """Return the text of docs/devices.md. `captured`: driver → file names of its captures."""
    lines = [_HEAD]
    for kind, title in _TITLES.items():
        of_kind = [profile for profile in profiles if profile.kind is kind]
        if of_kind:
            lines += [f"## {title}", ""]
            for profile in of_kind:
                lines += [*_section(profile, captured.get(profile.name, ())), ""]
    return "\n".join([*lines, _TAIL])


def _section(profile: Profile, captured: Sequence[str]) -> Iterator[str]:
    yield f"### `{profile.name}`"
    yield ""
    yield f"{profile.manufacturer} {', '.join(profile.models)}"
    yield ""
    yield f"- nodes: {types_of(profile)}"
    if profile.driver is not None:
        yield f"- fields: driver `{profile.driver}` discovers what the device offers"
    yield from _fields(profile)
    yield f"- registers: {confirmation(profile)}"
    points = _distinct(profile)
    unsure = [point for point in points if not point.confirmed]
    if 0 < len(unsure) < len(points):
        yield f"- from one source: {_quantities(unsure, with_node=profile.kind is Kind.HYBRID)}"
    if (rating := profile.rating) is not None:
        one = "" if rating.confirmed else " (its register is from one source)"
        yield f"- power limit: {rating.times} times the rated power that the device reports{one}"
    as_others = ", ".join(f"`{name}`" for name in profile.identified_as)
    yield f"- identify: {f'as {as_others}' if as_others else 'no' if profile.identify is None else 'yes'}"
    yield f"- link: {', '.join(_link(profile)) or 'defaults'}"
    if profile.channels is not None:
        last = profile.channels.count
        yield f"- channels: `{profile.name}:1` … `{profile.name}:{last}`; `{profile.name}` is the first"
    links = ", ".join(f"[{name.removesuffix('.json')}](../tests/fixtures/dumps/{name})" for name in captured)
    yield f"- capture: {links or 'no'}"
    for note in profile.notes:
        yield f"- note: {' '.join(note.split())}"


def _distinct(profile: Profile) -> list[Point]:
    """Return the points of the family and of its variants.

    Of points with the same key and registers, return only one: if possible, one that is not confirmed.
    """
    every = [*profile.points, *(point for variant in profile.variants for point in variant.points)]
    confirmed_first = sorted(every, key=lambda point: not point.confirmed)
    return list({(point.key, point.spans): point for point in confirmed_first}.values())


def _fields(profile: Profile) -> Iterator[str]:
    by_node: dict[NodeType | None, list[Point]] = {node: [] for node in (None, *NodeType)}
    for point in _distinct(profile):
        by_node[point.node].append(point)
    for node, points in by_node.items():
        if points:
            yield f"- {f'{node} fields' if node else 'fields'}: {_quantities(points)}"


def _quantities(points: Iterable[Point], *, with_node: bool = False) -> str:
    """Return the quantities of the points, each once with its phases, in the order of `Quantity`.

    With `with_node`, each quantity is returned once for each node, with the name of the node.
    """
    order = list(Quantity)
    phases: dict[tuple[NodeType | None, Quantity], set[Phase | None]] = defaultdict(set)
    for point in points:
        phases[point.node if with_node else None, point.quantity].add(point.phase)
    keys = sorted(phases, key=lambda key: (key[0] or "", order.index(key[1])))
    return ", ".join(_quantity(*key, phases[key]) for key in keys)


def _quantity(node: NodeType | None, quantity: Quantity, phases: set[Phase | None]) -> str:
    name = f"{node}.{quantity.value}" if node else quantity.value
    parts = ["total"] if None in phases else []
    parts += [phase for phase in Phase if phase in phases]
    return name if parts == ["total"] else f"{name} ({', '.join(parts)})"


def _link(profile: Profile) -> Iterator[str]:
    link = profile.link
    if link.unit_id is not None:
        yield f"unit id {link.unit_id}"
    if link.port is not None:
        yield f"port {link.port}"
    if link.timeout_s is not None:
        yield f"time-out {link.timeout_s:g} s"
    if link.connect_delay_s is not None:
        yield f"first request {link.connect_delay_s:g} s after connecting"
    if link.request_gap_s is not None:
        yield f"{link.request_gap_s:g} s between requests"
    if profile.max_registers is not None:
        yield f"at most {profile.max_registers} registers per request"
    if profile.max_gap is not None:
        yield f"reads across at most {profile.max_gap} unused registers"
    if link.sleeps:
        yield "sleeps at night"


def write(root: Path) -> None:
    """Write the whole docs/devices.md, and the list in README.md. Both are in the directory `root`."""
    profiles = families()
    readme = root / "README.md"
    readme.write_text(updated(readme.read_text(encoding="utf-8"), profiles), encoding="utf-8")
    text = page(profiles, captures(root / "tests" / "fixtures" / "dumps"))
    (root / "docs" / "devices.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
