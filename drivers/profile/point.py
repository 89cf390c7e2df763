"""The points of a profile, from its `[[point]]` tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drivers.errors import ProfileError
from drivers.model import Key, Kind, Nature, NodeType, Phase, Quantity, Table, Unit, WordOrder
from drivers.profile.encoding import encoding, require_in_table, table_and_address
from drivers.profile.mark import Mark, named
from drivers.profile.repeat import Repeat
from drivers.profile.toml_table import TomlTable
from drivers.protocol import ADDRESSES, BITS
from drivers.registers.codec import Encoding
from drivers.registers.read_plan import Span

# Only a quantity with one of these units can have several points with the same key (`Point.key`), or `repeat`.
_ADDITIVE = frozenset({Unit.W, Unit.VAR, Unit.VA, Unit.WH, Unit.A, Unit.PERCENT})

_QUANTITIES = {each.value: each for each in Quantity}

# A fallback cannot have these keys. They apply to the point together with its fallbacks.
_POINT_ONLY_KEYS = frozenset({"quantity", "phase", "node", "optional", "confirmed", "repeat", "fallback"})
# A fallback does not inherit these marks, because they belong to the registers of the point. It can have its own.
_MARK_KEYS = frozenset({"valid", "negative", "positive"})


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a device: its registers and its meaning."""

    quantity: Quantity
    table: Table
    address: int
    """Zero-based protocol address of the first word."""
    encoding: Encoding
    phase: Phase | None = None
    node: NodeType | None = None
    barrier: bool = False
    """A request that reads this point must begin at its address."""
    confirmed: bool = True
    """Whether two sources agree on the register."""
    addresses: tuple[int, ...] = ()
    """The address of each word, in the order of `encoding.word_order`. Empty if the words follow each other."""
    optional: bool = False
    """Some devices of the family do not have the point. `drivers.profile.evaluation` says what their reading is."""
    valid: Mark | None = None
    """While this mark does not hold, the device does not have the value."""
    negative: Mark | None = None
    """If set, the registers hold a magnitude, and the value is negative while this mark holds. While it does not hold,
    the value is positive, unless `positive` is set."""
    positive: Mark | None = None
    """Only together with `negative`: the value is positive while this mark holds. If both marks hold, or neither holds,
    the direction is unknown: the value is 0 if the magnitude is 0, and missing otherwise."""
    fallback: tuple[Point, ...] = ()
    """Other registers that may have the value, tried in this order if the point itself has none."""
    repeat: Repeat | None = None
    number: int = 1
    """The number of the repeated block with this point. The first block and a point without `repeat` have 1."""

    @property
    def key(self) -> Key:
        """The values of points with the same key are added; percentages are averaged."""
        return self.node, self.quantity, self.phase

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans of the value, without its marks."""
        if self.addresses:
            return tuple(Span(self.table, address, 1) for address in self.addresses)
        return (Span(self.table, self.address, self.encoding.width, self.barrier),)

    @property
    def words(self) -> tuple[int, ...]:
        """The address of each word."""
        return self.addresses or tuple(range(self.address, self.address + self.encoding.width))

    @property
    def candidates(self) -> tuple[Point, ...]:
        return (self, *self.fallback)

    @property
    def marks(self) -> tuple[Mark, ...]:
        return tuple(mark for mark in (self.valid, self.negative, self.positive) if mark is not None)

    @property
    def all_spans(self) -> Iterator[Span]:
        """The spans of the point, its fallbacks and all their marks."""
        for each in self.candidates:
            yield from each.spans
            for mark in each.marks:
                yield from mark.spans

    @property
    def where(self) -> str:
        """Table and addresses as text, with those of the fallbacks."""
        own = f"{self.table} {', '.join(map(str, self.addresses or (self.address,)))}"
        return " or ".join([own, *(other.where for other in self.fallback)])

    @property
    def counts(self) -> bool:
        """Whether the point is a counter or a daily register.

        Once a candidate of such a point had a value, no other candidate is used. If another candidate were used later,
        the difference between the two registers would count as energy.
        """
        return self.quantity.nature in (Nature.COUNTER, Nature.DAILY)

    def moved(self, distance: int) -> Point:
        """Return the same point of another channel (`drivers.profile.channels`) or of another repeated block.

        The addresses of registers, marks and fallbacks are increased by `distance`.
        """
        return replace(
            self,
            address=self.address + distance,
            addresses=tuple(address + distance for address in self.addresses),
            valid=self.valid and self.valid.moved(distance),
            negative=self.negative and self.negative.moved(distance),
            positive=self.positive and self.positive.moved(distance),
            fallback=tuple(other.moved(distance) for other in self.fallback),
        )

    def in_order(self, order: WordOrder) -> Point:
        """Return the point and its fallbacks with another word order. Marks keep their word order."""
        fallback = tuple(other.in_order(order) for other in self.fallback)
        return replace(self, encoding=replace(self.encoding, word_order=order), fallback=fallback)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the points of a profile refer to."""

    kind: Kind
    order: WordOrder
    marks: Mapping[str, Mark]
    repeats: Mapping[str, Repeat]


def points_from(table: TomlTable, vocabulary: Vocabulary) -> tuple[Point, ...]:
    """Return the points of the `[[point]]` tables of a profile or of a variant. Raises ProfileError."""
    points: dict[tuple[Any, ...], int] = {}
    found: list[Point] = []
    keys: dict[Key, int] = {}
    for index, content in enumerate(table.some("point", (dict,), "[[point]] tables")):
        entry = TomlTable(content, f"{table.where}: point[{index}] {content.get('quantity', '')}".rstrip())
        point = _point(entry, vocabulary)
        register = (*point.key, point.table, point.words, point.encoding.bit, point.valid)
        if register in points:
            raise entry.wrong("address", f"is already used by point[{points[register]}]", point.address)
        if (point.key in keys or point.repeat) and point.quantity.unit not in _ADDITIVE:
            if point.repeat:
                raise entry.wrong("repeat", f"{point.quantity.value} cannot be summed", point.repeat.name)
            raise entry.wrong(
                "quantity", f"cannot be summed and is already in point[{keys[point.key]}]", point.quantity.value
            )
        points[register] = keys[point.key] = index
        found += _repeated(entry, point)
    return tuple(found)


def _repeated(table: TomlTable, point: Point) -> Iterator[Point]:
    """Yield one point for each repeated block; without `repeat`, the point itself. Raises ProfileError.

    The points of blocks are optional, so that a sum or average omits the blocks that the device does not have.
    """
    repeat = point.repeat
    if repeat is None:
        yield point
        return
    for number in range(1, repeat.most + 1):
        moved = point.moved((number - 1) * repeat.step)
        if max(span.end for span in moved.all_spans) > ADDRESSES:
            raise table.wrong("repeat", f"exceeds the last address at block {number}", repeat.name)
        yield replace(moved, optional=True, number=number)


def _point(table: TomlTable, vocabulary: Vocabulary) -> Point:
    quantity = _QUANTITIES[table.choice("quantity", _QUANTITIES)]
    phase = table.choice("phase", Phase, None)
    node = table.choice("node", NodeType, None)
    if vocabulary.kind is Kind.HYBRID and node is None:
        raise ProfileError(f"{table.where}: node: is missing; each point of a hybrid needs a node")
    if vocabulary.kind is not Kind.HYBRID and node is not None:
        raise table.wrong("node", f"is for hybrids, this is a {vocabulary.kind}", node)
    point = replace(
        _candidate(table, vocabulary, quantity),
        phase=None if phase is None else Phase(phase),
        node=None if node is None else NodeType(node),
        confirmed=table.take("confirmed", bool, True),
        optional=table.take("optional", bool, False),
        repeat=_repeat(table, vocabulary),
    )
    others = table.some("fallback", (dict,), "tables", [])
    table.done()
    if point.optional and quantity.nature is Nature.STATE:
        raise table.wrong("optional", f"is only for numbers, not for {quantity.value}", True)
    return replace(point, fallback=tuple(_fallbacks(table, others, point, vocabulary))) if others else point


def _fallbacks(table: TomlTable, others: list[dict[str, Any]], point: Point, vocabulary: Vocabulary) -> Iterator[Point]:
    """Yield the fallbacks. Raises ProfileError.

    A fallback inherits the keys for registers and encoding that it does not set itself, with two exceptions:

    - If it sets `address` or `addresses`, it inherits neither of them.
    - If it sets `type`, it does not inherit `invalid`.
    """
    shared = {key: value for key, value in table.content.items() if key not in _POINT_ONLY_KEYS | _MARK_KEYS}
    for index, own in enumerate(others):
        where = f"{table.where} fallback[{index}]"
        for key in sorted(own.keys() & _POINT_ONLY_KEYS):
            raise TomlTable(own, where).wrong(key, "cannot be set in a fallback, only in the point", own[key])
        inherited = dict(shared)
        if own.keys() & {"address", "addresses"}:
            inherited.pop("address", None)
            inherited.pop("addresses", None)
        if "type" in own:
            inherited.pop("invalid", None)  # these bit patterns belong to the type of the point
        entry = TomlTable({**inherited, **own}, where)
        candidate = _candidate(entry, vocabulary, point.quantity)
        entry.done()
        yield replace(candidate, phase=point.phase, node=point.node, confirmed=point.confirmed)


def _candidate(table: TomlTable, vocabulary: Vocabulary, quantity: Quantity) -> Point:
    """Return a point, or a fallback, with registers, encoding and marks. Raises ProfileError."""
    if table.has("addresses"):
        where, addresses = _separate_addresses(table)
    else:
        where, first = table_and_address(table)
        addresses = (first,)
    point = Point(
        quantity=quantity,
        table=where,
        address=addresses[0],
        encoding=encoding(table, where, vocabulary.order, quantity),
        barrier=table.take("barrier", bool, False),
        valid=named(table, "valid", vocabulary.marks),
        negative=named(table, "negative", vocabulary.marks),
        positive=named(table, "positive", vocabulary.marks),
    )
    if table.has("addresses"):
        if len(addresses) != point.encoding.width or len(addresses) < 2:
            raise table.wrong(
                "addresses", f"must be one for each of the {point.encoding.width} registers", list(addresses)
            )
        point = replace(point, addresses=addresses)
    else:
        require_in_table(table, point.address, point.encoding)
    _check_direction(table, point)
    return point


def _separate_addresses(table: TomlTable) -> tuple[Table, tuple[int, ...]]:
    where = Table(table.choice("table", [each.value for each in Table if each not in BITS]))
    addresses: list[int] = table.some("addresses", (int,), "addresses")
    if table.has("address"):
        raise table.wrong("address", "cannot be used together with addresses", table.content["address"])
    if len(set(addresses)) < len(addresses) or any(not 0 <= address < ADDRESSES for address in addresses):
        raise table.wrong("addresses", f"must be different, each 0..{ADDRESSES - 1}", addresses)
    return where, tuple(addresses)


def _check_direction(table: TomlTable, point: Point) -> None:
    if point.positive is not None and point.negative is None:
        raise table.wrong("positive", "needs negative in the same point", table.content["positive"])
    if point.negative is not None and point.quantity.nature is not Nature.GAUGE:
        raise table.wrong("negative", f"has no meaning for {point.quantity.value}", table.content["negative"])


def _repeat(table: TomlTable, vocabulary: Vocabulary) -> Repeat | None:
    name = table.take("repeat", str, None)
    if name is None:
        return None
    if name not in vocabulary.repeats:
        known = (
            f"; there are {', '.join(vocabulary.repeats)}"
            if vocabulary.repeats
            else "; there is no [repeat.NAME] table"
        )
        raise table.wrong("repeat", f"must name a repetition{known}", name)
    return vocabulary.repeats[name]
