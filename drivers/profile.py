"""A device family as a TOML file → a frozen `Profile`. No expressions, no conditions: what needs them is a driver.

Points are in the sign of the payload contract for the node they belong to (`drivers.model`); a device whose register
runs the other way has a negative scale. Several points with the same node, quantity and phase add up: import minus
export, one MPPT and the next, kWh and MWh. Where a device has a quantity per phase only, its total is their sum.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.base import LinkDefaults
from drivers.codec import FORMATS, Encoding
from drivers.errors import ProfileError
from drivers.model import Kind, NodeType, Phase, Quantity, Table

BUILT_IN = Path(__file__).parent / "profiles"

_ORDERS = ("big", "little", "big_swapped", "little_swapped")


@dataclass(frozen=True, slots=True)
class Point:
    """One register of a device and what it means."""

    quantity: Quantity
    table: Table
    address: int
    encoding: Encoding
    phase: Phase | None = None
    node: NodeType | None = None
    barrier: bool = False
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Identify:
    """How `scan` recognises the device: these registers hold one of these raw values."""

    table: Table
    address: int
    encoding: Encoding
    equals: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """A device family."""

    name: str
    manufacturer: str
    models: tuple[str, ...]
    kind: Kind
    source: str
    points: tuple[Point, ...]
    link: LinkDefaults = field(default_factory=LinkDefaults)
    max_registers: int | None = None
    max_gap: int | None = None
    unit_id: int | None = None
    identify: Identify | None = None
    notes: str = ""

    @property
    def nodes(self) -> frozenset[NodeType]:
        return frozenset(point.node for point in self.points if point.node is not None)


def profile_files(profile_dirs: Iterable[Path] = ()) -> dict[str, Path]:
    """Name → file, parsed by nobody yet; a site's own profile wins over a built-in one."""
    files: dict[str, Path] = {}
    for directory in (BUILT_IN, *profile_dirs):
        if directory.is_dir():
            files |= {path.stem: path for path in sorted(directory.glob("*.toml"))}
    return files


def load(path: Path, word_order: str | None = None) -> Profile:
    """Read and check one profile; `word_order` of the site replaces that of the profile. Raises ProfileError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{path}: cannot be read: {error}") from None
    return _Table(table, str(path)).profile(path.stem, word_order)


@dataclass(slots=True)
class _Table:
    """A TOML table that is taken apart key by key; what is left over is a mistake."""

    left: dict[str, Any]
    where: str
    _taken: set[str] = field(default_factory=set)

    def wrong(self, key: str, rule: str, value: object) -> ProfileError:
        return ProfileError(f"{self.where}: {key}: {rule} (found {value!r})")

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        self._taken.add(key)
        if key not in self.left:
            if default is ...:
                raise ProfileError(f"{self.where}: {key}: missing")
            return default
        value = self.left[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.wrong(key, f"must be {' or '.join(_WORDS[each] for each in kinds)}", value)
        return value

    def choice(self, key: str, allowed: Iterable[str], default: Any = ...) -> Any:
        value = self.take(key, str, default)
        allowed = list(allowed)
        if value is not default and value not in allowed:
            raise self.wrong(key, f"must be one of {', '.join(allowed)}", value)
        return value

    def number(self, key: str, low: int, high: int, default: Any = ...) -> Any:
        value = self.take(key, int, default)
        if value is not default and not low <= value <= high:
            raise self.wrong(key, f"must be {low}..{high}", value)
        return value

    def done(self) -> None:
        if unknown := sorted(set(self.left) - self._taken):
            hint = (
                "the quantity fixes it"
                if unknown[0] in ("unit", "sign")
                else f"known: {', '.join(sorted(self._taken))}"
            )
            raise ProfileError(f"{self.where}: {unknown[0]}: unknown key ({hint})")

    def profile(self, name: str, word_order: str | None) -> Profile:
        kind = Kind(self.choice("kind", Kind))
        defaults = _Table(self.take("defaults", dict, {}), f"{self.where}: defaults")
        order = word_order or defaults.choice("word_order", _ORDERS, "big")
        points = self.take("point", list)
        identify = self.take("identify", dict, None)
        profile = Profile(
            name=name,
            manufacturer=self.take("manufacturer", str),
            models=tuple(self.take("models", list)),
            kind=kind,
            source=self.take("source", str),
            notes=self.take("notes", str, ""),
            points=tuple(
                _Table(point, f"{self.where}: point[{index}] {point.get('quantity', '')}").point(
                    kind, order, word_order
                )
                for index, point in enumerate(points)
            ),
            link=LinkDefaults(
                timeout_s=defaults.take("timeout_s", (int, float), None),
                connect_delay_s=defaults.take("connect_delay_s", (int, float), None),
                request_gap_s=defaults.take("request_gap_s", (int, float), None),
            ),
            max_registers=defaults.number("max_registers", 1, 125, None),
            max_gap=defaults.number("max_gap", 0, 124, None),
            unit_id=defaults.number("unit_id", 0, 255, None),
            identify=None if identify is None else _Table(identify, f"{self.where}: identify").identify(order),
        )
        defaults.done()
        self.done()
        if not profile.points:
            raise ProfileError(f"{self.where}: point: needs at least one")
        return profile

    def point(self, kind: Kind, order: str, forced: str | None) -> Point:
        node = self.choice("node", NodeType, None)
        if (kind is Kind.HYBRID) != (node is not None):
            raise self.wrong("node", "is required in a hybrid and only there", node)
        quantity = self.choice("quantity", [each.value for each in Quantity])
        phase = self.choice("phase", Phase, None)
        table = Table(self.choice("table", Table))
        encoding = self._encoding(order, forced, table)
        point = Point(
            quantity=Quantity(quantity),  # type: ignore[call-arg]  # looked up by value, not constructed
            table=table,
            address=self.number("address", 0, 0xFFFF),
            encoding=encoding,
            phase=None if phase is None else Phase(phase),
            node=None if node is None else NodeType(node),
            barrier=self.take("barrier", bool, False),
            confirmed=self.take("confirmed", bool, True),
        )
        self.done()
        if point.address + encoding.width > 0x10000:
            raise self.wrong("address", "must leave room for the whole value below 65536", point.address)
        return point

    def _encoding(self, order: str, forced: str | None, table: Table) -> Encoding:
        bits = table in (Table.COIL, Table.DISCRETE)
        type_ = self.choice("type", ["bool"] if bits else [*FORMATS, "string"], "bool" if bits else ...)
        scale = float(self.take("scale", (int, float), 1.0))
        if scale == 0:
            raise self.wrong("scale", "must not be 0", scale)
        values = self.take("values", dict, None)
        bit = self.number("bit", 0, 63, None)
        own_order = self.choice("word_order", _ORDERS, order)
        encoding = Encoding(
            type=type_,
            length=self.number("length", 1, 125, 1),
            word_order=forced or own_order,  # type: ignore[arg-type]  # checked by the configuration or by choice
            scale=scale,
            offset=float(self.take("offset", (int, float), 0.0)),
            invalid=tuple(self.take("invalid", list, [])),
            on_invalid=self.choice("on_invalid", ("missing", "zero"), "missing"),
            bit=bit,
            values=None if values is None else self._names(values),
            minimum=self.take("min", (int, float), None),
            maximum=self.take("max", (int, float), None),
        )
        if bit is not None and bit >= 16 * encoding.width:
            raise self.wrong("bit", f"must be 0..{16 * encoding.width - 1} for {type_}", bit)
        return encoding

    def _names(self, values: Mapping[str, Any]) -> dict[int, str]:
        try:
            return {int(raw, 0): str(name) for raw, name in values.items()}
        except ValueError:
            raise self.wrong("values", 'must map raw numbers to names, such as "0" = "off"', values) from None

    def identify(self, order: str) -> Identify:
        table = Table(self.choice("table", Table))
        identify = Identify(
            table=table,
            address=self.number("address", 0, 0xFFFF),
            equals=tuple(self.take("equals", list)),
            encoding=self._encoding(order, None, table),
        )
        self.done()
        return identify


_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
