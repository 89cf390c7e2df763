"""Repeated blocks in one device, such as batteries: `[repeat.NAME]`. Pure.

The values of the blocks are added; percentages are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from drivers.model import WordOrder
from drivers.profile.encoding import encoding, require_in_table, table_and_address
from drivers.profile.mark import Mark, selecting
from drivers.profile.toml_table import TomlTable
from drivers.protocol import ADDRESSES
from drivers.registers.codec import Encoding, decoder
from drivers.registers.read_plan import Span

MOST = 128
"""The largest `most` that a profile can have."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Blocks with the same points at a constant distance."""

    name: str
    most: int
    """Maximum number of blocks."""
    step: int
    """Distance from one block to the next, in addresses."""
    span: Span | None = None
    """The registers that hold the number of blocks; None if there are none."""
    encoding: Encoding | None = None
    """None if `span` is None."""
    present: Mark | None = None
    """The mark that shows that the first block exists; None if the blocks have no marks. Each other block has the same
    mark at its own addresses. The driver counts the blocks before the first one whose mark does not hold."""

    @property
    def has_count(self) -> bool:
        """Whether the number of blocks is read from the device."""
        return self.span is not None or self.present is not None

    @property
    def spans(self) -> Iterator[Span]:
        """The registers that decide on the number of blocks: `span`, or those of the marks of all blocks."""
        if self.span is not None:
            yield self.span
        if self.present is not None:
            for number in range(self.most):
                yield from self.present.moved(number * self.step).spans

    def count(self, words: Sequence[int] | None) -> int:
        """Return the number of blocks. `words` are the words of `span`; None if they were not read.

        - If the blocks have marks, return 1: the driver assumes one block until it has read the marks.
        - If `words` hold a valid number, return this number, at most `most`.
        - Otherwise return `most`.
        """
        if self.present is not None:
            return 1
        if words is None or self.encoding is None:
            return self.most
        value = decoder(self.encoding)(words)[0]
        return min(self.most, max(0, int(value))) if isinstance(value, float) else self.most


def repeats_from(table: TomlTable, order: WordOrder, marks: Mapping[str, Mark]) -> dict[str, Repeat]:
    """Return the `[repeat.NAME]` tables of a profile by name. Raises ProfileError."""
    found: dict[str, Repeat] = {}
    for name, content in table.take("repeat", dict, {}).items():
        if type(content) is not dict:
            raise table.wrong("repeat", "must be tables, such as [repeat.batteries]", content)
        found[name] = _repeat(TomlTable(content, f"{table.where}: [repeat.{name}]"), name, order, marks)
    return found


def _repeat(table: TomlTable, name: str, order: WordOrder, marks: Mapping[str, Mark]) -> Repeat:
    most, step = table.whole("most", 2, MOST), table.whole("step", 1, 4096)
    present = selecting(table, "present", marks)
    if not table.has("table"):
        table.done()
        repeat = Repeat(name, most, step, present=present)
        if any(span.end > ADDRESSES for span in repeat.spans):
            raise table.wrong("present", f"exceeds the last address at block {most}", table.content["present"])
        return repeat
    if present is not None:
        raise table.wrong("present", "cannot be used together with table", table.content["present"])
    where, address = table_and_address(table)
    found = encoding(table, where, order, None)
    table.done()
    if found.type in ("string", "bool", "bitfield"):
        raise table.wrong("type", "must be a number", found.type)
    if found.bit is not None:
        raise table.wrong("bit", "cannot be used for a number of blocks", found.bit)
    require_in_table(table, address, found)
    return Repeat(name, most, step, Span(where, address, found.width), found)
