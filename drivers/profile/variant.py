"""What differs within a family by firmware or setting, and what a device says of its own size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.model import WORD_ORDERS, Kind, NodeType, Quantity, Table, WordOrder
from drivers.profile.encoding import encoding, place, within
from drivers.profile.mark import Mark, named
from drivers.profile.point import Point, Vocabulary, points_from
from drivers.profile.toml_table import TomlTable
from drivers.registers import Encoding, Span, decoder

_BOUNDED = frozenset({NodeType.SOLAR, NodeType.STORAGE})
_BOUNDED_KINDS = frozenset({Kind.INVERTER, Kind.BATTERY, Kind.CHARGER, Kind.HEAT_PUMP})
_POWERS = frozenset({Quantity.ACTIVE_POWER, Quantity.DC_POWER})


@dataclass(frozen=True, slots=True)
class Variant:
    """The devices of a family for which a mark holds."""

    name: str
    mark: Mark
    points: tuple[Point, ...]
    """All points of such a device."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """The register that tells the rated power, in W."""

    table: Table
    address: int
    encoding: Encoding

    @property
    def span(self) -> Span:
        return Span(self.table, self.address, self.encoding.width)


@dataclass(frozen=True, slots=True)
class Serial:
    """Where a device tells its serial number: text, or a number."""

    table: Table
    address: int
    encoding: Encoding

    @property
    def span(self) -> Span:
        return Span(self.table, self.address, self.encoding.width)

    def read(self, words: Sequence[int]) -> str:
        """The serial number; empty where the device does not tell it."""
        value = decoder(self.encoding)(words)[0]
        if isinstance(value, float):
            return str(int(value)) if value > 0 else ""
        return str(value or "")


def bounded(kind: Kind, node: NodeType | None, quantity: Quantity) -> bool:
    """Whether the rated power of the device bounds it; what flows through the grid's meter does not go through it."""
    return quantity in _POWERS and (node in _BOUNDED if node is not None else kind in _BOUNDED_KINDS)


def rating_from(table: TomlTable, order: WordOrder) -> Rating | None:
    """The `[rating]` of a profile. Raises ProfileError."""
    content = table.take("rating", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [rating]")
    where, address = place(entry)
    found = encoding(entry, where, order, Quantity.APPARENT_POWER)
    entry.done()
    within(entry, address, found)
    return Rating(where, address, found)


def serial_from(table: TomlTable, order: WordOrder) -> Serial | None:
    """The `[serial]` of a profile. Raises ProfileError."""
    content = table.take("serial", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [serial]")
    where, address = place(entry)
    found = encoding(entry, where, order, None)
    entry.done()
    within(entry, address, found)
    return Serial(where, address, found)


def variants_from(table: TomlTable, points: Sequence[Point], words: Vocabulary) -> tuple[Variant, ...]:
    """The `[[variant]]` tables of a profile. Raises ProfileError."""
    found: list[Variant] = []
    for index, content in enumerate(table.some("variant", (dict,), "[[variant]] tables", [])):
        entry = TomlTable(content, f"{table.where}: variant[{index}] {content.get('name', '')}".rstrip())
        variant = _variant(entry, points, words)
        if any(other.name == variant.name for other in found):
            raise entry.wrong("name", "stands in another variant already", variant.name)
        found.append(variant)
    return tuple(found)


def _variant(table: TomlTable, base: Sequence[Point], words: Vocabulary) -> Variant:
    name = table.text("name")
    mark = named(table, "mark", words.marks)
    if mark is None:
        table.take("mark", str)  # raises: is missing
        raise AssertionError
    order = table.choice("word_order", WORD_ORDERS, None)
    own = points_from(table, words) if table.has("point") else ()
    points = tuple(base) if order is None else tuple(point.in_order(order) for point in base)
    if not own and order is None:
        raise table.wrong("name", "differs in nothing: needs word_order or [[variant.point]]", name)
    keys = {point.key for point in own}
    note = table.text("note") if table.has("note") else ""
    table.done()
    return Variant(name, mark, (*(point for point in points if point.key not in keys), *own), note)
