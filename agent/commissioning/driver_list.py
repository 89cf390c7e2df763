"""Prints the output of the commands `drivers` and `drivers show`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.commissioning import config_snippets
from agent.commissioning.describe import table
from agent.runtime import MOST_OUTPUT, printable, wrapped
from drivers.catalogue import Catalogue, has_words, matches
from drivers.driver import PYTHON_DRIVERS, ReadOptions
from drivers.model import Kind
from drivers.profile import BUILT_IN, Point, Profile, load
from drivers.profile.device_table import confirmation, types_of

_IN_PYTHON = {
    "sunspec": ("grid, solar, storage", "every device with SunSpec models"),
    "sunspec-meter": (
        "any",
        "one meter of a SunSpec device, for a node of any type; sunspec-meter:2 is its second meter",
    ),
    "solaredge": ("grid, solar, storage", "a SolarEdge inverter by SunSpec, with its batteries"),
}
_SIMULATED = "simulated-"
"""The names of the profiles for `demo` and `simulate` begin with this. They are listed only by a search."""
_ORDER = (Kind.METER, Kind.INVERTER, Kind.HYBRID, Kind.BATTERY, Kind.HEAT_PUMP, Kind.CHARGER, Kind.RELAY)


def print_drivers(catalogue: Catalogue, search: str = "") -> list[str]:
    """Print each driver with its node types, its devices, and how many of its points are confirmed (`Point.confirmed`).

    - Without `search`: every driver except the simulated profiles.
    - With `search`: every driver whose texts contain all words of `search`. The texts of a profile are its name, its
      manufacturer and its models. Those of a Python driver are its name and its description.

    Return one error for each profile that cannot be used, and one if no driver matches `search`.
    """
    profiles, mistakes = catalogue.profiles()
    rows = [
        (types, name, "by discovery", what)
        for name, (types, what) in _IN_PYTHON.items()
        if not search or has_words(f"{name} {what}", search)
    ]
    if not search:
        profiles = [profile for profile in profiles if not profile.name.startswith(_SIMULATED)]
    else:
        profiles = [profile for profile in profiles if matches(profile, search)]
        if not profiles and not rows:
            return [*mistakes, f"no driver matches {search!r}; `telemetry-agent scan` asks a device what it is"]
    for profile in sorted(profiles, key=lambda profile: (_ORDER.index(profile.kind), profile.name)):
        devices = _devices(profile, catalogue.file(profile.name))
        rows.append((types_of(profile), profile.name, confirmation(profile), devices))
    table("Drivers", ("for", "driver", "registers", "devices"), rows)
    return mistakes


def _devices(profile: Profile, path: Path) -> str:
    text = f"{profile.manufacturer} {', '.join(profile.models)}"
    if profile.driver is not None:
        text += f" (read by driver {profile.driver})"
    if path.parent == BUILT_IN:
        return text
    replaces = ", replaces the built-in profile" if (BUILT_IN / path.name).exists() else ""
    return f"{text} ({path}{replaces})"


def print_profile(catalogue: Catalogue, name: str) -> None:
    """Print the points of a driver, and a [[device]] table that uses the driver.

    For a driver that discovers the models of the device, print a line about this instead of the points.

    Raises KeyError for an unknown name, ProfileError for an invalid profile or channel.
    """
    driver = catalogue.create(name, ReadOptions())
    _print_points(catalogue, name)
    print(f"To use it:\n\n{config_snippets.driver_table(name, driver)}")  # noqa: T201 - the output of the command


def _print_points(catalogue: Catalogue, name: str) -> None:
    family, _, channel = name.partition(":")
    if family in PYTHON_DRIVERS:
        print(f"{name}: discovers the SunSpec models of the device")  # noqa: T201 - the output of the command
        return
    profile = load(catalogue.file(family))
    profile = profile.channel(channel) if channel else profile
    for line in (f"{profile.manufacturer} {', '.join(profile.models)} ({profile.kind})", f"source: {profile.source}"):
        print(wrapped(printable(line, MOST_OUTPUT), sys.stdout))  # noqa: T201 - the output of the command
    if profile.driver is not None:
        print(f"read by driver {profile.driver}, which discovers the models of the device")  # noqa: T201
        return
    for note in profile.notes:
        print(wrapped(f"note: {note}", sys.stdout))  # noqa: T201
    columns = ("quantity", "unit", "table", "address", "registers")
    table("Points", columns, _points(profile.points))
    for variant in profile.variants:
        print(f"variant {variant.name}:")  # noqa: T201
        own = [point for point in variant.points if point not in profile.points]
        table("Points that differ", columns, _points(own))


def _points(points: Iterable[Point]) -> Iterator[tuple[str, ...]]:
    for point in points:
        name = point.quantity.value + (f"_{point.phase}" if point.phase else "")
        owner = f"{point.node}." if point.node else ""
        sure = "confirmed" if point.confirmed else "from one source"
        yield (
            owner + name,
            point.quantity.unit.value,
            point.table.value,
            point.where.removeprefix(f"{point.table} "),
            sure,
        )
