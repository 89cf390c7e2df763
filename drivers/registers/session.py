"""The requests of one poll, as every driver makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.driver import Reader
from drivers.errors import BusyError
from drivers.model import Table

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
