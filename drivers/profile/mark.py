"""Marks: conditions on the registers of a device. Pure.

`[identify]` is the mark that recognises a family. The marks in `[mark.NAME]` tables select a variant, make a value
valid, give the direction of a power, or show which repeated blocks exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from drivers.model import Quality, Table, WordOrder
from drivers.profile.encoding import encoding, require_in_table, table_and_address
from drivers.profile.toml_table import TomlTable
from drivers.protocol import BITS, MAX_UNIT_ID
from drivers.registers.codec import Encoding, decoder, encode
from drivers.registers.read_plan import Span


@dataclass(frozen=True, slots=True)
class Mark:
    """A condition on registers or bits: one of the values `equals`, a number in a range, or a bit that is set."""

    table: Table
    address: int
    encoding: Encoding
    """`minimum` and `maximum` are the range, `bit` is the bit that must be set."""
    equals: tuple[int | str, ...] = ()
    """Raw values; empty if the mark tests a range or a bit. In a text, `*` matches any number of printable
    characters, and `?` matches one. Case is ignored."""
    also: tuple[Mark, ...] = ()
    """Further marks that must all hold."""
    grace_s: float = 0.0
    """If the registers of a mark of a point no longer match, the mark still holds until this many seconds have passed
    since the last poll in which all of them matched. All other marks have 0."""
    unit_id: int | None = None
    """The unit id on the same link that has the registers; None means the unit id of the device."""

    @property
    def span(self) -> Span:
        return Span(self.table, self.address, self.encoding.width)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans that the mark tests, except those at another unit id."""
        return tuple(mark.span for mark in self.all if mark.unit_id is None)

    @property
    def all(self) -> Iterator[Mark]:
        yield self
        yield from self.also

    @property
    def example(self) -> int | float | str | bool:
        """A value that matches."""
        if not self.equals:
            encoding = self.encoding
            if encoding.bit is not None or encoding.type == "bool":
                return True
            bound, *_ = (each for each in (encoding.minimum, encoding.maximum) if each is not None)
            return bound
        first, *_ = self.equals
        return first.replace("*", "").replace("?", "0") if isinstance(first, str) else first

    @property
    def example_words(self) -> list[int]:
        return encode(self._raw, self.example) if self.equals else encode(self.encoding, self.example)

    def matches(self, words: Sequence[int]) -> bool:
        """Whether the words of `span` match. The marks in `also` are not tested."""
        return _test(self._raw if self.equals else self.encoding, self.equals)(words)

    def moved(self, distance: int) -> Mark:
        """Return the mark of another channel or repeated block: all addresses are increased by `distance`."""
        also = tuple(mark.moved(distance) for mark in self.also)
        return replace(self, address=self.address + distance, also=also)

    @property
    def _raw(self) -> Encoding:
        """The encoding without scale, offset and range, for the raw values of `equals`."""
        return replace(self.encoding, scale=1.0, offset=0.0, minimum=None, maximum=None)


@lru_cache(maxsize=1024)
def _test(encoding: Encoding, equals: tuple[int | str, ...]) -> Callable[[Sequence[int]], bool]:
    decode = decoder(encoding)
    if not equals:

        def in_range(words: Sequence[int]) -> bool:
            value, quality = decode(words)
            return quality is Quality.GOOD and value is not False

        return in_range
    if encoding.type == "string":

        def is_text(words: Sequence[int]) -> bool:
            text = decode(words)[0]
            return isinstance(text, str) and any(_matches_text(str(pattern), text) for pattern in equals)

        return is_text
    known = [encode(encoding, value) for value in equals]
    return lambda words: list(words) in known


def _matches_text(pattern: str, text: str) -> bool:
    # A wildcard matches only printable ASCII, so that registers with numbers do not match.
    expression = re.escape(pattern).replace(r"\*", "[ -~]*").replace(r"\?", "[ -~]")
    return re.fullmatch(expression, text, re.IGNORECASE) is not None


def identify_from(table: TomlTable, order: WordOrder) -> Mark:
    """Return the `[identify]` of a profile. Raises ProfileError.

    A mark in `also` may have another unit id, because some devices have their name at another unit id.
    """
    if table.has("unit_id"):
        rule = "is for marks in the list also; the first mark is at the unit id of the device"
        raise table.wrong("unit_id", rule, table.content["unit_id"])
    return _with_also(table, order, 0.0, elsewhere=True)


def marks_from(table: TomlTable, order: WordOrder) -> dict[str, Mark]:
    """Return the `[mark.NAME]` tables of a profile by name. Raises ProfileError."""
    found: dict[str, Mark] = {}
    for name, content in table.take("mark", dict, {}).items():
        if type(content) is not dict:
            raise table.wrong("mark", "must be tables, such as [mark.meter_is_there]", content)
        entry = TomlTable(content, f"{table.where}: [mark.{name}]")
        found[name] = _with_also(entry, order, entry.seconds("grace_s") or 0.0)
    return found


def named(table: TomlTable, key: str, marks: Mapping[str, Mark]) -> Mark | None:
    """Return the mark that `key` names, or None without this key. Raises ProfileError if there is no such mark."""
    name = table.take(key, str, None)
    if name is None:
        return None
    if name not in marks:
        known = f"; there are {', '.join(marks)}" if marks else "; there is no [mark.NAME] table"
        raise table.wrong(key, f"must name a mark{known}", name)
    return marks[name]


def selecting(table: TomlTable, key: str, marks: Mapping[str, Mark]) -> Mark | None:
    """Return the mark that `key` names, for a variant or for repeated blocks; None without this key.

    Raises ProfileError if there is no such mark, or if the mark has `grace_s`.
    """
    mark = named(table, key, marks)
    if mark is not None and mark.grace_s:
        raise table.wrong(key, "must name a mark without grace_s, which is for points", table.content[key])
    return mark


def _with_also(table: TomlTable, order: WordOrder, grace_s: float, *, elsewhere: bool = False) -> Mark:
    """`elsewhere`: the marks in `also` may have another unit id."""
    also = (
        _mark(TomlTable(content, f"{table.where} also[{index}]"), order, elsewhere=elsewhere)
        for index, content in enumerate(table.some("also", (dict,), "tables", []))
    )
    return replace(_mark(table, order), also=tuple(also), grace_s=grace_s)


def _mark(table: TomlTable, order: WordOrder, *, elsewhere: bool = False) -> Mark:
    unit_id = table.whole("unit_id", 0, MAX_UNIT_ID, None) if elsewhere else None
    where, address = table_and_address(table)
    found = encoding(table, where, order, None)
    decides = found.bit is not None or found.minimum is not None or found.maximum is not None
    if found.type == "string" and decides:
        raise table.wrong(
            "min" if table.has("min") else "max", "is for numbers; a text is compared with equals", "string"
        )
    if decides and table.has("equals"):
        raise table.wrong("equals", "cannot be used together with min, max or bit", table.content["equals"])
    decides = decides or found.type == "bool"
    equals = tuple(table.some("equals", (int, str), "raw values", [] if decides else ...))
    mark = Mark(where, address, found, equals, unit_id=unit_id)
    table.done()
    require_in_table(table, address, mark.encoding)
    for value in mark.equals:
        if isinstance(value, str) != (mark.encoding.type == "string") or not _fits(mark, value):
            raise table.wrong("equals", f"must fit {mark.encoding.type}", value)
    return mark


def _fits(mark: Mark, value: int | str) -> bool:
    try:
        words = replace(mark, equals=(value,)).example_words
    except ValueError:
        return False
    return mark.table not in BITS or words in ([0], [1])
