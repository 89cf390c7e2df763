"""The requests of one poll, as every driver makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.driver import Reader
from drivers.errors import BusyError, IllegalRangeError, RefusedError
from drivers.model import Table
from drivers.registers.read_plan import Block
from drivers.registers.refusals import RefusalMemory

Use = Callable[[Block, Sequence[int]], None]
"""Takes a request and the words that answered it."""

BUSY_PAUSE_S = 0.3


class SplitReader:
    """A reader whose requests are never longer than `limit` registers: longer ones are read in parts."""

    def __init__(self, reader: Reader, limit: int) -> None:
        self._reader = reader
        self._limit = limit

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """See `drivers.driver.Reader`. The parts are of different moments: for what does not change."""
        words: list[int] = []
        while len(words) < count:
            part = min(self._limit, count - len(words))
            words += await self._reader.read(table, address + len(words), part)
        return words


class PollSession:
    """A reader that counts its requests and asks a busy device once more, a little later."""

    def __init__(self, reader: Reader, now: Callable[[], float]) -> None:
        self._reader = reader
        self.now = now
        self.started = now()
        self.requests = 0
        self.errors: list[Exception] = []
        """What could not be read."""

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """See `drivers.catalogue.Reader`."""
        self.requests += 1
        try:
            return await self._reader.read(table, address, count)
        except BusyError:
            await asyncio.sleep(BUSY_PAUSE_S)
            self.requests += 1
            return await self._reader.read(table, address, count)

    async def read_block(self, memory: RefusalMemory, block: Block, use: Use) -> bool:
        """Read `block`, in parts where the device refuses it, and give each answer to `use`; `memory` learns from it.

        Returns whether the device gave all values of the block; what it refused stands in `errors` or in `memory`.
        """
        if not memory.allows(block):
            return await self._read_all(memory, memory.parts(block), use)
        try:
            words = await self.read(block.table, block.address, block.count)
        except IllegalRangeError as error:
            holes = len(memory.holes)
            parts = memory.divide(block, error)
            complete = await self._read_all(memory, parts, use) and len(memory.holes) == holes
            if complete:
                memory.cut(block, parts)
            return complete
        except RefusedError as error:
            self.errors.append(error)
            return False
        use(block, words)
        return True

    async def _read_all(self, memory: RefusalMemory, blocks: Sequence[Block], use: Use) -> bool:
        return all([await self.read_block(memory, block, use) for block in blocks])
