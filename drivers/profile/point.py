"""The points of a profile: one register each and what it means, and how like outputs repeat them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from drivers.errors import ProfileError
from drivers.model import Kind, NodeType, Phase, Quantity, Table, Unit, WordOrder
from drivers.profile.encoding import encoding, place, within
from drivers.profile.toml_table import TomlTable
from drivers.protocol import ADDRESSES
from drivers.registers.codec import Encoding
from drivers.registers.combine import Key
from drivers.registers.read_plan import Span

# What adds up when it is measured in several places.
_ADDITIVE = frozenset({Unit.W, Unit.VAR, Unit.VA, Unit.WH, Unit.A})


@dataclass(frozen=True, slots=True)
class Point:
    """One register of a device and what it means."""

    quantity: Quantity
    table: Table
    address: int
    """Zero-based protocol address."""
    encoding: Encoding
    phase: Phase | None = None
    node: NodeType | None = None
    barrier: bool = False
    """No request may reach across the beginning of this point."""
    confirmed: bool = True
    """False for a register that rests on one source only."""

    @property
    def key(self) -> Key:
        """What it measures; points with the same key add up."""
        return self.node, self.quantity, self.phase

    @property
    def span(self) -> Span:
        """What must be read for it."""
        return Span(self.table, self.address, self.encoding.width, self.barrier)


@dataclass(frozen=True, slots=True)
class Channels:
    """Like outputs of one device: the points of a profile are those of the first."""

    count: int
    step: int
    """Addresses from one channel to the next; for points that are bits, bits of their register."""

    def moved(self, point: Point, number: int) -> Point:
        """The point of channel `number`, 1 being the first."""
        distance = (number - 1) * self.step
        if point.encoding.bit is None:
            return replace(point, address=point.address + distance)
        return replace(point, encoding=replace(point.encoding, bit=point.encoding.bit + distance))


def points_from(table: TomlTable, kind: Kind, order: WordOrder) -> tuple[Point, ...]:
    """The `[[point]]` tables of a profile. Raises ProfileError."""
    points: dict[tuple[Any, ...], int] = {}
    found: list[Point] = []
    keys: dict[Key, int] = {}
    for index, content in enumerate(table.some("point", (dict,), "[[point]] tables")):
        entry = TomlTable(content, f"{table.where}: point[{index}] {content.get('quantity', '')}".rstrip())
        point = _point(entry, kind, order)
        register = (*point.key, point.table, point.address, point.encoding.bit)
        if register in points:
            raise entry.wrong("address", f"stands in point[{points[register]}] already", point.address)
        if point.key in keys and point.quantity.unit not in _ADDITIVE:
            raise entry.wrong(
                "quantity", f"does not add up and stands in point[{keys[point.key]}] already", point.quantity.value
            )
        points[register] = keys[point.key] = index
        found.append(point)
    return tuple(found)


def _point(table: TomlTable, kind: Kind, order: WordOrder) -> Point:
    quantity = Quantity(table.choice("quantity", (each.value for each in Quantity)))  # type: ignore[call-arg]  # looked up, not made
    phase = table.choice("phase", Phase, None)
    node = table.choice("node", NodeType, None)
    if kind is Kind.HYBRID and node is None:
        raise ProfileError(f"{table.where}: node: is missing; in a hybrid each point names its node")
    if kind is not Kind.HYBRID and node is not None:
        raise table.wrong("node", f"is for hybrids, this is a {kind}", node)
    where, address = place(table)
    point = Point(
        quantity=quantity,
        table=where,
        address=address,
        encoding=encoding(table, where, order, quantity),
        phase=None if phase is None else Phase(phase),
        node=None if node is None else NodeType(node),
        barrier=table.take("barrier", bool, False),
        confirmed=table.take("confirmed", bool, True),
    )
    table.done()
    within(table, address, point.encoding)
    return point


def directed_from(table: TomlTable, points: Sequence[Point]) -> bool:
    """Whether its powers are magnitudes with a bit that says which way. Raises ProfileError."""
    directed: bool = table.take("directed", bool, False)
    nodes = {point.node for point in points if point.quantity is Quantity.ON}
    if directed and not any(point.node in nodes for point in points if point.quantity is Quantity.ACTIVE_POWER):
        raise table.wrong("directed", "needs active_power and on of the same node", directed)
    return directed


def channels_from(table: TomlTable, points: Sequence[Point]) -> Channels | None:
    """The `[channels]` of a profile; None for one output. Raises ProfileError."""
    content = table.take("channels", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [channels]")
    channels = Channels(count=entry.whole("count", 2, 256), step=entry.whole("step", 1, 4096, 1))
    entry.done()
    for last in (channels.moved(point, channels.count) for point in points):
        if last.address + last.encoding.width > ADDRESSES or (last.encoding.bit or 0) >= 16 * last.encoding.width:
            raise entry.wrong(
                "count", f"must leave each point inside its register and below {ADDRESSES}", channels.count
            )
    return channels
