"""What `drivers` prints: every driver by the types of node that it can fill, and how sure we are of its registers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.show import table
from drivers.base import PYTHON_DRIVERS, Catalogue
from drivers.errors import ProfileError
from drivers.model import Kind
from drivers.profile import BUILT_IN, Profile, load, profile_files
from drivers.table import confirmation, types_of

_IN_PYTHON = {
    "sunspec": ("grid, solar, storage", "every device that offers SunSpec models"),
    "sunspec-meter": ("any", "the meter alone of a SunSpec device, for a node of any type"),
}
_ORDER = (Kind.METER, Kind.INVERTER, Kind.HYBRID, Kind.BATTERY, Kind.HEAT_PUMP, Kind.CHARGER, Kind.RELAY)


def print_drivers(catalogue: Catalogue) -> list[str]:
    """Every driver, by the types that it fills; what is wrong with those that cannot be used."""
    profiles, mistakes = _profiles(catalogue)
    rows = [(types, name, "by discovery", what) for name, (types, what) in _IN_PYTHON.items()]
    for profile, path in sorted(profiles, key=lambda pair: (_ORDER.index(pair[0].kind), pair[0].name)):
        rows.append((types_of(profile), profile.name, confirmation(profile), _devices(profile, path)))
    table("Drivers", ("for", "driver", "registers", "devices"), rows)
    return mistakes


def _devices(profile: Profile, path: Path) -> str:
    text = f"{profile.manufacturer} {', '.join(profile.models)}"
    if path.parent == BUILT_IN:
        return text
    replaces = ", replaces the built-in profile" if (BUILT_IN / path.name).exists() else ""
    return f"{text} ({path}{replaces})"


def _profiles(catalogue: Catalogue) -> tuple[list[tuple[Profile, Path]], list[str]]:
    profiles, mistakes = [], []
    for path in profile_files(catalogue.profile_dirs).values():
        try:
            profiles.append((load(path), path))
        except ProfileError as error:
            mistakes.append(str(error))
    return profiles, mistakes


def print_profile(catalogue: Catalogue, name: str) -> None:
    """The points of a profile. Raises KeyError, ProfileError."""
    if name in PYTHON_DRIVERS:
        print(f"{name}: discovers the models that the device offers")  # noqa: T201 - what the command is for
        return
    profile = load(profile_files(catalogue.profile_dirs)[name])
    print(f"{profile.manufacturer} {', '.join(profile.models)} ({profile.kind})\nsource: {profile.source}")  # noqa: T201
    table("Points", ("quantity", "unit", "table", "address", "registers"), _points(profile))


def _points(profile: Profile) -> Iterator[tuple[str, ...]]:
    for point in profile.points:
        name = point.quantity.value + (f"_{point.phase}" if point.phase else "")
        owner = f"{point.node}." if point.node else ""
        sure = "confirmed" if point.confirmed else "from one source"
        yield owner + name, point.quantity.unit.value, point.table.value, str(point.address), sure
