"""The delivery to one endpoint, from its start to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.config import OutboxConfig
from agent.config.push import PushConfig
from agent.delivery import Delivery, QueueFile
from agent.outbox import Outbox
from tests.faults.http import Exchange, HttpFaults
from tests.support.delivery import FastClock

pytestmark = pytest.mark.simulated_time


@pytest.mark.parametrize("reloaded", [False, True])
async def test_an_attempt_that_is_answered_in_time_ends_before_its_sender(tmp_path: Path, reloaded: bool) -> None:
    """Or each restart, and each reload, would send a message twice."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await asyncio.sleep(2.0)
        await exchange.answer(200)

    path, clock = tmp_path / "outbox.sqlite3", FastClock(1.0)
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=clock.time)
    limits = OutboxConfig(path=path)
    async with HttpFaults(behave) as server, asyncio.TaskGroup() as group:
        push = PushConfig(url=server.url(), token="t", wait_for_clock_s=0)
        delivery = Delivery(push, limits, QueueFile(path), outbox, clock, {})
        delivery.start(group)
        await delivery.submit([b"x"], clock.monotonic())
        await server.until(lambda: len(server.accepted) == 1)
        if reloaded:
            await delivery.change(push.model_copy(update={"timeout_s": 7.0}), limits, QueueFile(path))
            await asyncio.sleep(10.0)
        await delivery.close()
    assert len(server.accepted) == 1
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8)
    assert outbox.counts().waiting == 0
    outbox.close()
