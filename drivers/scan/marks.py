"""Compares the registers of one unit with the marks of the device families.

A mark that gets no reply is neither true nor false: the reply may be lost. The mark is read once more. If it gets no
reply again, the family stays possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from drivers.driver import Reader
from drivers.errors import NoReplyError, RefusedError, SilentError
from drivers.model import Table
from drivers.profile import Mark, Profile
from drivers.registers import Span


@dataclass(frozen=True, slots=True)
class FamilyMark:
    """A family and its mark. Of several matches, the one with the highest rank is the most reliable."""

    rank: int
    profile: Profile
    mark: Mark


class MarkComparison:
    """The comparison for one unit."""

    def __init__(self, reader: Reader, most_silences: int, elsewhere: Callable[[int], Reader] | None) -> None:
        """`elsewhere` returns a reader of another unit of the link. Without it, marks at other units do not match."""
        self.matched: list[FamilyMark] = []
        self.unknown: list[FamilyMark] = []
        """Families whose mark got no reply, or was not read because too many requests got no reply."""
        self.tables: frozenset[Table] = frozenset()
        """The tables of the registers that the device replied with."""
        self.exhausted = False
        """Whether the comparison ended early, because too many requests got no reply."""
        self._reader = reader
        self._most_silences = most_silences
        self._left = most_silences
        self._elsewhere = elsewhere
        self._replied = False
        """Whether the unit replied to a request, also with an exception."""

    async def run(self, groups: Iterable[Sequence[FamilyMark]]) -> None:
        """Read every mark. The families of a group have their first mark at the same registers. Raises LinkError."""
        lost: list[Sequence[FamilyMark]] = []
        for group in groups:
            if self.exhausted:
                self.unknown += group
            elif rest := await self._compare(group):
                lost.append(rest)
        self._left = self._most_silences
        for group in lost:
            self.unknown += await self._compare(group) if self._replied else group

    async def _compare(self, group: Sequence[FamilyMark]) -> list[FamilyMark]:
        """Read the marks of the group. Return the families whose mark got no reply."""
        try:
            words = await self._first(group[0].mark.span)
        except NoReplyError:
            return list(group)
        unknown = []
        if words is not None:
            self.tables |= {group[0].mark.table}
            for each in group:
                holds = each.mark.matches(words) and await self._all_hold(each.mark.also)
                if holds is None:
                    unknown.append(each)
                elif holds:
                    self.matched.append(each)
        return unknown

    async def _first(self, span: Span) -> Sequence[int] | None:
        """Return the words, or None if the device refuses. Raises NoReplyError and LinkError."""
        try:
            words = await read(self._reader, span)
        except SilentError:
            self._left -= 1
            self.exhausted |= self._left <= 0
            raise
        self._replied = True
        return words

    async def _all_hold(self, marks: Iterable[Mark]) -> bool | None:
        """Read further marks; None if one of them gets no reply.

        Called only after the first mark matched, so that other devices need no extra requests.
        """
        for mark in marks:
            reader = self._reader
            if mark.unit_id is not None:
                if self._elsewhere is None:
                    return False
                reader = RepeatingReader(self._elsewhere(mark.unit_id))
            try:
                words = await read(reader, mark.span)
            except NoReplyError:
                return None if mark.unit_id is None else False  # no reply of another unit: it does not exist
            if words is None or not mark.matches(words):
                return False
        return True


class RepeatingReader:
    """A reader that repeats a request once if there is no reply."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        try:
            return await self._reader.read(table, address, count)
        except NoReplyError:
            return await self._reader.read(table, address, count)


async def read(reader: Reader, span: Span) -> Sequence[int] | None:
    """Return the words, or None if the device refuses to reply with them. Raises NoReplyError and LinkError."""
    try:
        return await reader.read(span.table, span.address, span.count)
    except RefusedError:
        return None
