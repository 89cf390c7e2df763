"""The calls of delivery to the outbox: in one thread, in their order, and watched."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from agent.delivery.queue import DeliveryQueue
from agent.outbox.queue import Outbox
from agent.runtime import Watchdog
from tests.support.simulated_clock import DrivenClock


async def test_the_number_of_waiting_messages_follows_the_calls(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=8)
    queue = DeliveryQueue(outbox, Watchdog(DrivenClock()), compress=False)
    assert queue.waiting == 0
    records = await queue.put([b"1", b"2", b"3"])
    assert queue.waiting == 3
    await queue.put_undated([b"4", b"5"], "boot", 1.0)
    assert queue.waiting == 5
    for left, record in zip((4, 3, 2, 1, 0, 0), [*records, *records], strict=True):
        await queue.ack(record)  # the second time without effect, except on this number
        assert queue.waiting == left
    assert await queue.count() == queue.waiting == 2
    await queue.close()
    outbox.close()


async def test_calls_run_in_one_thread_in_their_order_and_one_that_hangs_is_stuck(tmp_path: Path) -> None:
    class Blocked:
        """An outbox on a disk that does not answer until `free` is set."""

        def __init__(self) -> None:
            self.free = threading.Event()
            self.calls: list[tuple[str, str]] = []

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> Any:
                self.free.wait(60)
                self.calls.append((name, threading.current_thread().name))
                return getattr(outbox, name)(*arguments)

            return call

    before = set(threading.enumerate())
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=8)
    clock, blocked = DrivenClock(), Blocked()
    watchdog = Watchdog(clock)
    queue = DeliveryQueue(blocked, watchdog, compress=False)  # type: ignore[arg-type]  # has all its methods
    calls = [asyncio.ensure_future(call) for call in (queue.set_note(b"a"), queue.note(), queue.set_note(b"b"))]
    await asyncio.sleep(0)
    clock.jump(119.0)
    assert watchdog.overdue() == []
    clock.jump(2.0)
    assert watchdog.overdue() == ["disk"]
    blocked.free.set()
    assert await asyncio.gather(*calls) == [None, b"a", None]
    assert watchdog.overdue() == []
    assert blocked.calls == [(name, "outbox_0") for name in ("set_note", "note", "set_note")]
    await queue.close()
    assert not [each for each in set(threading.enumerate()) - before if each.name.startswith("outbox")]
    outbox.close()
