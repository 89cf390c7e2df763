"""Reads the registers that select the layout of a device. A refusal of such a register is lasting or passing.

- Lasting: the device does not have the register. This is the meaning of exceptions 1, 2 and 3. Some devices reply with
  exception 4 instead. So exceptions 4 and 8, and unknown ones, are lasting if two selections in a row got them for the
  same register.
- Passing: every other refusal, such as exceptions 5 and 6 (busy). It says nothing about the layout, so the selection
  raises it.
"""

from __future__ import annotations

from collections.abc import Iterable

from drivers.driver import Reader
from drivers.errors import DeviceFailureError, IllegalFunctionError, IllegalRangeError, RefusedError
from drivers.profile.layout import Words
from drivers.profile.mark import Mark
from drivers.profile.repeat import Repeat
from drivers.registers import Span


class SelectionReader:
    """Reads the registers of one device. Call `begin` before each selection."""

    def __init__(self) -> None:
        self._failing: set[Span] = set()
        """The registers for which this selection got exception 4, 8 or an unknown one."""
        self._failed_before: set[Span] = set()
        """`_failing` of the selection before."""

    @property
    def failing(self) -> bool:
        """Whether this selection got exception 4, 8 or an unknown one."""
        return bool(self._failing)

    def begin(self) -> None:
        self._failing, self._failed_before = set(), self._failing

    async def words(self, reader: Reader, spans: Iterable[Span]) -> dict[Span, Words]:
        """Return the words of `spans`, without those that the device does not have.

        Tries all spans before it raises a passing refusal.
        """
        found: dict[Span, Words] = {}
        passing: list[RefusedError] = []
        for span in spans:
            try:
                words = await self._read(reader, span)
            except RefusedError as error:
                passing.append(error)
            else:
                if words is not None:
                    found[span] = words
        if passing:
            raise passing[0]
        return found

    async def blocks(self, reader: Reader, repeat: Repeat, present: Mark, least: int) -> int:
        """Return the number of blocks of `repeat`, at least `least`. `present` is the mark of the first block.

        Raises a passing refusal.
        """
        count = least
        while count < repeat.most and await self._holds(reader, present.moved(count * repeat.step)):
            count += 1
        return count

    async def _holds(self, reader: Reader, mark: Mark) -> bool:
        for each in mark.all:
            words = await self._read(reader, each.span)
            if words is None or not each.matches(words):
                return False
        return True

    async def _read(self, reader: Reader, span: Span) -> Words | None:
        """Return the words of `span`, or None after a lasting refusal. Raises a passing refusal."""
        try:
            return await reader.read(span.table, span.address, span.count)
        except (IllegalFunctionError, IllegalRangeError):
            return None
        except DeviceFailureError:
            self._failing.add(span)
            if span not in self._failed_before:
                raise
            return None
