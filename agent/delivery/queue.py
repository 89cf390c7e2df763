"""Calls the outbox for delivery. The calls run in a thread of their own, because they may wait for the disk.

A delivered live message costs two calls: `put` stores the message and returns its record, `ack` removes it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from agent.contract.envelope import compressed
from agent.outbox import Outbox, Record
from agent.runtime import STUCK_S, Watchdog

T = TypeVar("T")


class DeliveryQueue:
    """The outbox for the event loop. The thread runs the calls in the order in which they were made.

    Every call is finished, even if its caller is cancelled.
    """

    def __init__(self, outbox: Outbox, watchdog: Watchdog, *, compress: bool) -> None:
        self.waiting = 0
        """Number of messages that are not dead letters. `backlog`, `update` and `count` read it from the outbox; `put`,
        `put_undated` and `ack` only add or subtract. So after a drop, or a change by another process, the number is
        wrong until the next read."""
        self.compress = compress
        """Whether bodies are stored as gzip. An undated body is compressed when the message gets its date or becomes a
        dead letter."""
        self._outbox = outbox
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._watchdog = watchdog

    async def put(self, bodies: Sequence[bytes]) -> Sequence[Record]:
        """Store messages durably and return their records. Until more messages are stored, only these are live.

        Raises NotAloneError (see `Outbox.put`).
        """
        records = await self._run(self._put_compressed if self.compress else self._outbox.put, bodies)
        self.waiting += len(records)
        return records

    async def put_undated(self, bodies: Sequence[bytes], boot: str, mono: float) -> None:
        """Store messages whose time is not known yet. They were measured at monotonic second `mono` of boot `boot`.

        Raises NotAloneError (see `Outbox.put`).
        """
        self.waiting += len(await self._run(self._outbox.put, bodies, boot, mono))

    async def ack(self, record: Record) -> None:
        await self._run(self._outbox.ack, record)
        self.waiting = max(0, self.waiting - 1)

    async def update(self, *records: Record) -> None:
        """Save the new state of these records. A record that is gone stays gone."""
        _, self.waiting = await self._run(self._with_count, self._outbox.update, *records)

    async def get(self, seq: int) -> Record | None:
        return await self._run(self._outbox.get, seq)

    async def note(self) -> bytes:
        """Return what `set_note` wrote beside the queue; empty if there is nothing."""
        return await self._run(self._outbox.note)

    async def set_note(self, content: bytes) -> None:
        """Write a few bytes about the endpoint beside the queue. A power cut or a disk failure may lose them."""
        await self._run(self._outbox.set_note, content)

    async def live(self) -> list[Record]:
        """Return the live messages: those of the newest `put` or `put_undated` that are dated and still wait."""
        return await self._run(self._outbox.live)

    async def backlog(self, due: float, skip: Collection[int], limit: int) -> list[Record]:
        """Return the oldest messages whose next attempt may be made at Unix second `due` (`Record.next_try`).

        Live and undated messages, dead letters and the seqs in `skip` are omitted.
        """
        records: list[Record]
        records, self.waiting = await self._run(self._with_count, self._outbox.backlog, due, skip, limit)
        return records

    async def undated(self, after: int) -> list[Record]:
        """Return the first undated messages with a seq larger than `after`, oldest first.

        The result is empty only if there are none.
        """
        return await self._run(self._outbox.undated, after)

    async def count(self) -> int:
        self.waiting = (await self._run(self._outbox.counts)).waiting
        return self.waiting

    async def close(self) -> None:
        """End the thread. The outbox stays open."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        run = contextvars.copy_context().run  # log events name the endpoint
        work = asyncio.get_running_loop().run_in_executor(self._thread, run, call, *arguments)
        with self._watchdog.running("disk", STUCK_S):
            return await asyncio.shield(work)

    def _with_count(self, call: Callable[..., T], *arguments: Any) -> tuple[T, int]:
        return call(*arguments), self._outbox.counts().waiting

    def _put_compressed(self, bodies: Sequence[bytes]) -> list[Record]:
        return self._outbox.put([compressed(body) for body in bodies])
