"""The requests of one poll, as every driver makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.driver import Reader
from drivers.errors import BusyError
from drivers.model import Table

BUSY_PAUSE_S = 0.3


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
