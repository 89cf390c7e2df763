"""Compares the registers of one unit with the marks of the device families.

A mark without a reply may still hold, because a reply can get lost. If the unit replied to another request, the mark is
read once more, after all other marks. Otherwise, or if there is no reply again, the family is in
`MarkComparison.unknown`.
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
    """A family and its first mark. A mark with a higher rank is more reliable."""

    rank: int
    profile: Profile
    mark: Mark


class MarkComparison:
    """Compares one unit with the families. `run` fills the attributes."""

    def __init__(self, reader: Reader, most_silences: int, elsewhere: Callable[[int], Reader] | None) -> None:
        """`elsewhere` returns a reader of another unit of the link. If it is None, marks at other units do not hold."""
        self.matched: list[FamilyMark] = []
        """Families whose marks all hold."""
        self.unknown: list[FamilyMark] = []
        """Families with a mark that got no reply or was skipped."""
        self.tables: frozenset[Table] = frozenset()
        """The tables from which the device returned the first mark of a family."""
        self.exhausted = False
        """Whether `most_silences` requests were silent, or as many repetitions. Marks that were not read yet are then
        skipped."""
        self._reader = reader
        self._most_silences = most_silences
        self._silences_left = most_silences
        self._elsewhere = elsewhere
        self._replied = False
        """Whether the unit replied to a request, with data or with an exception."""

    async def run(self, groups: Iterable[Sequence[FamilyMark]]) -> None:
        """Read the marks of all groups. Raises LinkError.

        The families of a group have their first mark at the same registers, so one request reads it for all of them.
        """
        lost: list[Sequence[FamilyMark]] = []
        for group in groups:
            if self.exhausted:
                self.unknown += group
            elif rest := await self._compare(group):
                lost.append(rest)
        self._silences_left = self._most_silences
        for group in lost:
            self.unknown += await self._compare(group) if self._replied else group

    async def _compare(self, group: Sequence[FamilyMark]) -> list[FamilyMark]:
        """Read the marks of a group, and add the families that match to `matched`.

        Return the families with a mark that got no reply.
        """
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
        """Read the first marks of a group, and count the requests without any reply.

        Return the words, or None if the device refuses the request. Raises NoReplyError and LinkError.
        """
        try:
            words = await read(self._reader, span)
        except SilentError:
            self._silences_left -= 1
            self.exhausted |= self._silences_left <= 0
            raise
        self._replied = True
        return words

    async def _all_hold(self, marks: Iterable[Mark]) -> bool | None:
        """Return whether all further `marks` of a family hold; None if this unit does not reply for one of them.

        A mark at another unit does not hold if that unit does not reply, or if there is no `elsewhere`.
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
                return None if mark.unit_id is None else False
            if words is None or not mark.matches(words):
                return False
        return True


class RepeatingReader:
    """A reader that repeats a request once if there is no valid reply."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        try:
            return await self._reader.read(table, address, count)
        except NoReplyError:
            return await self._reader.read(table, address, count)


async def read(reader: Reader, span: Span) -> Sequence[int] | None:
    """Return the words of `span`, or None if the device refuses the request. Raises NoReplyError and LinkError."""
    try:
        return await reader.read(span.table, span.address, span.count)
    except RefusedError:
        return None
