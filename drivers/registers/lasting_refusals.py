"""Tells apart two kinds of refusals of registers that a device may lack. A refusal is lasting or passing.

- Lasting: the device does not have the register. This is the meaning of exceptions 1, 2 and 3. Some devices reply with
  exception 4 instead. So exceptions 4 and 8, and unknown ones, are lasting if two rounds in a row got them for the same
  registers.
- Passing: every other refusal. It does not say whether the device has the register, so `read` raises it. The refusal
  of a device that is busy (exceptions 5 and 6) is always passing.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import Reader
from drivers.errors import DeviceFailureError, IllegalFunctionError, IllegalRangeError
from drivers.registers.read_plan import Span


class LastingRefusals:
    """Reads registers of one device that it may lack. `begin` begins each round."""

    def __init__(self) -> None:
        self._failing: set[Span] = set()
        """The registers for which this round got exception 4, 8 or an unknown one."""
        self._failed_before: set[Span] = set()
        """`_failing` of the round before."""

    @property
    def failing(self) -> bool:
        """Whether this round got exception 4, 8 or an unknown one."""
        return bool(self._failing)

    def begin(self) -> None:
        """Begin a round."""
        self._failing, self._failed_before = set(), self._failing

    async def read(self, reader: Reader, span: Span) -> Sequence[int] | None:
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
