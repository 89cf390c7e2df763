"""Reads the registers that select the layout of a device, and counts the blocks of a `repeat`."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.driver import Reader
from drivers.profile.layout import Words
from drivers.profile.mark import Mark
from drivers.profile.repeat import Repeat
from drivers.registers import LastingRefusals, Span


class SelectionReader(LastingRefusals):
    """Reads the registers of one device. Each selection of the layout is one round of `LastingRefusals`."""

    async def words(self, reader: Reader, spans: Iterable[Span]) -> dict[Span, Words]:
        """Return the words of `spans`, without those that the device does not have.

        Tries all spans before it raises a passing refusal.
        """
        found: dict[Span, Words] = {}
        for span in spans:
            if (words := await self.read(reader, span)) is not None:
                found[span] = words
        self.raise_passing()
        return found

    async def blocks(self, reader: Reader, repeat: Repeat, present: Mark, least: int) -> int:
        """Return the number of blocks of `repeat`, at least `least`. `present` is the mark of the first block.

        Raises a passing refusal.
        """
        count = least
        while count < repeat.most and await self._holds(reader, present.moved(count * repeat.step)):
            count += 1
        self.raise_passing()
        return count

    async def _holds(self, reader: Reader, mark: Mark) -> bool:
        for each in mark.all:
            words = await self.read(reader, each.span)
            if words is None or not each.matches(words):
                return False
        return True
