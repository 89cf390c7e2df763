"""Variants of a family by firmware or setting, and the registers for rated power and serial number. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.errors import ProfileError
from drivers.model import WORD_ORDERS, Kind, NodeType, Quality, Quantity, Reading, Table, WordOrder
from drivers.profile.encoding import encoding, require_in_table, table_and_address
from drivers.profile.mark import Mark, selecting
from drivers.profile.point import Point, Vocabulary, points_from
from drivers.profile.toml_table import TomlTable
from drivers.registers import Encoding, Span, decoder

_BOUNDED = frozenset({NodeType.SOLAR, NodeType.STORAGE})
_BOUNDED_KINDS = frozenset({Kind.INVERTER, Kind.BATTERY, Kind.CHARGER, Kind.HEAT_PUMP})
RATED_TIMES = 2
"""The default of `Rating.times`, also used for SunSpec devices. The power of panels and batteries may be more than the
rated power of the inverter, but not more than twice as much."""
_LEAST_W = 100.0
"""A lower value is not used as the rated power: the device may use the register for something else."""
_POWERS = frozenset({Quantity.ACTIVE_POWER, Quantity.DC_POWER})


@dataclass(frozen=True, slots=True)
class Variant:
    """The devices of a family for which a mark holds."""

    name: str
    mark: Mark
    points: tuple[Point, ...]
    """All points of this variant, including those that it shares with the family."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """The register with the rated power, in W."""

    table: Table
    address: int
    encoding: Encoding
    times: int
    """A power above the rated power times this number is invalid."""
    confirmed: bool
    """Whether two sources agree on the register."""

    @property
    def span(self) -> Span:
        return Span(self.table, self.address, self.encoding.width)

    def largest(self, words: Sequence[int]) -> float | None:
        """Return the largest possible power in W, or None if the words are not a rated power."""
        value, _ = decoder(self.encoding)(words)
        return self.times * value if isinstance(value, float) and value >= _LEAST_W else None


@dataclass(frozen=True, slots=True)
class Serial:
    """The registers with the serial number: a text or a number."""

    table: Table
    address: int
    encoding: Encoding

    @property
    def span(self) -> Span:
        return Span(self.table, self.address, self.encoding.width)

    def read(self, words: Sequence[int]) -> str:
        """Return the serial number, or an empty text if the device has none."""
        value = decoder(self.encoding)(words)[0]
        if isinstance(value, float):
            return str(int(value)) if value > 0 else ""
        return str(value or "")


def bounded(reading: Reading, kind: Kind, limit_W: float) -> Reading:
    """Return the reading; invalid if it is an active or DC power above `limit_W`.

    `limit_W` is the largest possible power of the device. It limits only a power that flows through the device:

    - If the reading has a node type, the power flows through the device if this type is `solar` or `storage`.
    - If it has none, the power flows through the device if `kind` is in `_BOUNDED_KINDS`.
    """
    owned = reading.node in _BOUNDED if reading.node is not None else kind in _BOUNDED_KINDS
    if not owned or reading.quantity not in _POWERS or not isinstance(reading.value, float):
        return reading
    if abs(reading.value) <= limit_W:
        return reading
    return reading._replace(value=None, quality=Quality.INVALID)


def rating_from(table: TomlTable, order: WordOrder) -> Rating | None:
    """Return the `[rating]` of a profile. Raises ProfileError."""
    content = table.take("rating", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [rating]")
    where, address = table_and_address(entry)
    found = encoding(entry, where, order, Quantity.APPARENT_POWER)
    times, confirmed = entry.whole("times", 1, 10, RATED_TIMES), entry.take("confirmed", bool, True)
    entry.done()
    require_in_table(entry, address, found)
    return Rating(where, address, found, times, confirmed)


def serial_from(table: TomlTable, order: WordOrder) -> Serial | None:
    """Return the `[serial]` of a profile. Raises ProfileError."""
    content = table.take("serial", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [serial]")
    where, address = table_and_address(entry)
    found = encoding(entry, where, order, None)
    entry.done()
    require_in_table(entry, address, found)
    return Serial(where, address, found)


def variants_from(table: TomlTable, points: Sequence[Point], vocabulary: Vocabulary) -> tuple[Variant, ...]:
    """Return the `[[variant]]` tables of a profile. Raises ProfileError."""
    found: list[Variant] = []
    for index, content in enumerate(table.some("variant", (dict,), "[[variant]] tables", [])):
        entry = TomlTable(content, f"{table.where}: variant[{index}] {content.get('name', '')}".rstrip())
        variant = _variant(entry, points, vocabulary)
        if any(other.name == variant.name for other in found):
            raise entry.wrong("name", "is already used by another variant", variant.name)
        found.append(variant)
    return tuple(found)


def _variant(table: TomlTable, base: Sequence[Point], vocabulary: Vocabulary) -> Variant:
    name = table.text("name")
    mark = selecting(table, "mark", vocabulary.marks)
    if mark is None:
        raise ProfileError(f"{table.where}: mark: is missing")
    order = table.choice("word_order", WORD_ORDERS, None)
    own = points_from(table, vocabulary) if table.has("point") else ()
    points = tuple(base) if order is None else tuple(point.in_order(order) for point in base)
    if not own and order is None:
        raise table.wrong("name", "needs word_order or [[variant.point]], otherwise it changes nothing", name)
    keys = {point.key for point in own}
    note = table.text("note") if table.has("note") else ""
    table.done()
    return Variant(name, mark, (*(point for point in points if point.key not in keys), *own), note)
