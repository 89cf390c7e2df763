"""Tells apart two kinds of refusals of registers that a device may lack. A refusal is lasting or passing.

- Lasting: the device does not have the register. This is the meaning of exceptions 1, 2 and 3. Some devices reply with
  exception 4 instead. So exceptions 4 and 8, and unknown ones, are lasting if two rounds in a row got them for the same
  registers.
- Passing: every other refusal. It does not say whether the device has the register. The refusal of a device that is
  busy (exceptions 5 and 6) is always passing.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import Reader
from drivers.errors import DeviceFailureError, IllegalFunctionError, IllegalRangeError, RefusedError
from drivers.registers.read_plan import Span


class LastingRefusals:
    """Reads registers of one device that it may lack. `begin` begins each round."""

    def __init__(self) -> None:
        self._failing: set[Span] = set()
        """The registers for which this round got exception 4, 8 or an unknown one."""
        self._failed_before: set[Span] = set()
        """`_failing` of the round before."""
        self._passing: list[RefusedError] = []
        """The passing refusals of this round."""

    @property
    def failing(self) -> bool:
        """Whether this round got exception 4, 8 or an unknown one."""
        return bool(self._failing)

    def begin(self) -> None:
        """Begin a round."""
        self._failing, self._failed_before = set(), self._failing
        self._passing = []

    async def read(self, reader: Reader, span: Span) -> Sequence[int] | None:
        """Return the words of `span`, or None after a refusal. `raise_passing` raises a passing refusal later."""
        try:
            return await reader.read(span.table, span.address, span.count)
        except (IllegalFunctionError, IllegalRangeError):
            pass
        except DeviceFailureError as error:
            self._failing.add(span)
            if span not in self._failed_before:
                self._passing.append(error)
        except RefusedError as error:
            self._passing.append(error)
        return None

    def raise_passing(self) -> None:
        """Raise the first passing refusal of this round, if there was one."""
        if self._passing:
            raise self._passing[0]
