"""The README's table of devices, made from the profiles.

`python -m drivers.profile.device_table README.md` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from drivers.model import Kind, NodeType
from drivers.profile.loader import BUILT_IN, Profile, load

BEGIN, END = "<!-- devices: made by python -m drivers.profile.device_table -->", "<!-- end of devices -->"

# Profiles of the simulated site are no devices that anyone has.
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


def types_of(profile: Profile) -> str:
    """The node types that a device of the family can be."""
    if profile.kind is Kind.METER:
        return "any (meter)"
    types = profile.nodes or profile.kind.nodes
    return ", ".join(each for each in NodeType if each in types)


def confirmation(profile: Profile) -> str:
    """How many of the registers rest on more than one source."""
    confirmed = sum(point.confirmed for point in profile.points)
    if confirmed == len(profile.points):
        return "confirmed" if confirmed else "by discovery"
    return f"{confirmed} of {len(profile.points)} confirmed" if confirmed else "from one source"


def families() -> list[Profile]:
    """Every built-in profile of a real device, by manufacturer."""
    profiles = (load(path) for path in BUILT_IN.glob("*.toml"))
    real = (profile for profile in profiles if profile.manufacturer != _SIMULATED)
    return sorted(real, key=lambda profile: (profile.manufacturer.lower(), profile.name))


def table(profiles: Iterable[Profile]) -> str:
    """The profiles as Markdown, one table per kind."""
    return "\n".join(_lines(list(profiles)))


def _lines(profiles: list[Profile]) -> Iterator[str]:
    for kind, title in _TITLES.items():
        of_kind = [profile for profile in profiles if profile.kind is kind]
        if not of_kind:
            continue
        yield from ("", f"**{title}**", "", "| devices | driver | for | registers |", "|---|---|---|---|")
        for profile in of_kind:
            devices = f"{profile.manufacturer} {', '.join(profile.models)}"
            name = f"`{profile.name}`" + (f", `{profile.name}:2` …" if profile.channels else "")
            yield f"| {devices} | {name} | {types_of(profile)} | {confirmation(profile)} |"
    yield ""


def updated(text: str) -> str:
    """A README with its table as it should be. Raises ValueError without the two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(families())}\n{END}{after}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        readme = Path(name)
        readme.write_text(updated(readme.read_text(encoding="utf-8")), encoding="utf-8")
