"""Blocks of the same layout in one device that add up, such as batteries: `[repeat.NAME]`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.model import Table, WordOrder
from drivers.profile.encoding import encoding, place, within
from drivers.profile.toml_table import TomlTable
from drivers.registers.codec import Encoding, decoder
from drivers.registers.read_plan import Span

MOST = 128


@dataclass(frozen=True, slots=True)
class Repeat:
    """Blocks of the same layout, one behind the other: batteries, panels. Their points add up."""

    name: str
    most: int
    step: int
    """Addresses from one block to the next."""
    table: Table | None = None
    """Of the register that says how many there are; None where no register does."""
    address: int = 0
    encoding: Encoding | None = None

    @property
    def span(self) -> Span | None:
        """The register that says how many there are."""
        if self.table is None or self.encoding is None:
            return None
        return Span(self.table, self.address, self.encoding.width)

    def count(self, words: Sequence[int] | None) -> int:
        """How many blocks there are by the words of `span`; all that can be where they do not say."""
        if words is None or self.encoding is None:
            return self.most
        value = decoder(self.encoding)(words)[0]
        return min(self.most, max(0, int(value))) if isinstance(value, float) else self.most


def repeats_from(table: TomlTable, order: WordOrder) -> dict[str, Repeat]:
    """The `[repeat.NAME]` tables of a profile. Raises ProfileError."""
    found: dict[str, Repeat] = {}
    for name, content in table.take("repeat", dict, {}).items():
        if type(content) is not dict:
            raise table.wrong("repeat", "must be tables, such as [repeat.batteries]", content)
        found[name] = _repeat(TomlTable(content, f"{table.where}: [repeat.{name}]"), name, order)
    return found


def _repeat(table: TomlTable, name: str, order: WordOrder) -> Repeat:
    most, step = table.whole("most", 2, MOST), table.whole("step", 1, 4096)
    if not table.has("table"):
        table.done()
        return Repeat(name, most, step)
    where, address = place(table)
    found = encoding(table, where, order, None)
    table.done()
    if found.type in ("string", "bool", "bitfield") or found.bit is not None:
        raise table.wrong("type", "must be a number", found.type)
    within(table, address, found)
    return Repeat(name, most, step, where, address, found)
