"""Makes the requests of one poll. All drivers use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.driver import Reader
from drivers.errors import BusyError, IllegalRangeError, RefusedError
from drivers.model import Table
from drivers.protocol import BITS
from drivers.registers.read_plan import Block
from drivers.registers.refusals import RefusalMemory

OnReply = Callable[[Block, Sequence[int], float], None]
"""Receives a request, the words of its reply, and the time at which they arrived, in monotonic seconds."""

BUSY_PAUSE_S = 0.3
"""Seconds before a request is repeated, if the device replied that it is busy."""


class SplitReader:
    """A reader that divides requests of more than `limit` registers. Requests of bits are not divided."""

    def __init__(self, reader: Reader, limit: int) -> None:
        self._reader = reader
        self._limit = limit

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """See `drivers.driver.Reader`. The parts are read at different times, so a divided value must be constant."""
        if table in BITS:
            return await self._reader.read(table, address, count)
        words: list[int] = []
        while len(words) < count:
            part = min(self._limit, count - len(words))
            words += await self._reader.read(table, address + len(words), part)
        return words


class PollSession:
    """A reader that counts the requests of a poll, and repeats a request once if the device is busy."""

    def __init__(self, reader: Reader, now: Callable[[], float]) -> None:
        self._reader = reader
        self.now = now
        self.started = now()
        self.requests = 0
        self.errors: list[Exception] = []
        """The reasons for missing values. Refusals with exceptions 2 and 3 are in a `RefusalMemory` instead."""

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.requests += 1
        try:
            return await self._reader.read(table, address, count)
        except BusyError:
            return await self._again(table, address, count)

    async def _again(self, table: Table, address: int, count: int) -> Sequence[int]:
        await asyncio.sleep(BUSY_PAUSE_S)
        self.requests += 1
        return await self._reader.read(table, address, count)

    async def read_blocks(self, memory: RefusalMemory, blocks: Sequence[Block], use: OnReply) -> bool:
        """Read `blocks` and call `use` with each reply. Raises UnreachableError.

        - If the device refuses a block with exception 2 or 3, the block is read in parts. `memory` learns which values
          or sizes the device refuses.
        - If the device refuses a block with another exception, or is busy twice, the block is omitted, and the
          refusal is added to `errors`.

        Return whether all values of `blocks` were read.
        """
        complete = True
        for block in blocks:
            if memory.changed and not memory.allows(block):
                complete &= await self.read_blocks(memory, memory.parts(block), use)
                continue
            self.requests += 1
            try:
                try:
                    words = await self._reader.read(block.table, block.address, block.count)
                except BusyError:
                    words = await self._again(block.table, block.address, block.count)
            except IllegalRangeError as error:
                complete &= await self._read_in_parts(memory, block, error, use)
            except RefusedError as error:
                self.errors.append(error)
                complete = False
            else:
                use(block, words, self.now())
        return complete

    async def _read_in_parts(self, memory: RefusalMemory, block: Block, error: IllegalRangeError, use: OnReply) -> bool:
        holes = len(memory.holes)
        parts = memory.divide(block, error)
        complete = await self.read_blocks(memory, parts, use) and len(memory.holes) == holes
        if complete:
            memory.cut(block, parts)
        return complete
