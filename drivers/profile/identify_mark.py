"""The mark by which `scan` recognises a family: registers and what stands in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drivers.model import Table, WordOrder
from drivers.profile.encoding import encoding, place, within
from drivers.profile.toml_table import TomlTable
from drivers.registers.codec import Encoding, decoder, encode
from drivers.registers.read_plan import Span


@dataclass(frozen=True, slots=True)
class Identify:
    """How `scan` recognises the device: these registers hold one of these values."""

    table: Table
    address: int
    encoding: Encoding
    equals: tuple[int | str, ...]
    """In a text `*` stands for any letters and `?` for one; capitals do not matter."""
    also: tuple[Identify, ...] = ()
    """Further marks that must all hold, for a family that one register does not tell from all others."""

    @property
    def span(self) -> Span:
        return Span(self.table, self.address, self.encoding.width)

    @property
    def example(self) -> int | str:
        """A value that matches."""
        first = self.equals[0]
        return first.replace("*", "").replace("?", "0") if isinstance(first, str) else first

    def matches(self, words: Sequence[int]) -> bool:
        """Whether the words of `span` are those of this family."""
        if self.encoding.type != "string":
            return any(list(words) == encode(self.encoding, value) for value in self.equals)
        text = decoder(self.encoding)(words)[0]
        return isinstance(text, str) and any(_alike(str(pattern), text) for pattern in self.equals)


def _alike(pattern: str, text: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", "[ -~]*").replace(r"\?", "[ -~]")  # numbers read as text are none
    return re.fullmatch(expression, text, re.IGNORECASE) is not None


def identify_from(table: TomlTable, order: WordOrder) -> Identify:
    """The `[identify]` of a profile. Raises ProfileError."""
    also = (
        _mark(TomlTable(content, f"{table.where} also[{index}]"), order)
        for index, content in enumerate(table.some("also", (dict,), "tables", []))
    )
    return replace(_mark(table, order), also=tuple(also))


def _mark(table: TomlTable, order: WordOrder) -> Identify:
    where, address = place(table)
    mark = Identify(
        where, address, encoding(table, where, order, None), tuple(table.some("equals", (int, str), "raw values"))
    )
    table.done()
    within(table, address, mark.encoding)
    for value in mark.equals:
        if isinstance(value, str) != (mark.encoding.type == "string") or not _holds(mark, value):
            raise table.wrong("equals", f"must fit {mark.encoding.type}", value)
    return mark


def _holds(mark: Identify, value: int | str) -> bool:
    try:
        encode(mark.encoding, replace(mark, equals=(value,)).example)
    except ValueError:
        return False
    return True
