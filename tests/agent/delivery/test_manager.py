"""The delivery to one endpoint, from its start to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.config import OutboxConfig
from agent.config.push import PushConfig
from agent.delivery import Delivery, QueueFile
from agent.delivery.circuit_breaker import COMMISSIONING_S
from agent.delivery.retry import TOKEN_S
from agent.outbox import Outbox
from tests.faults.http import Exchange, HttpFaults, answer
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


async def test_a_reload_without_a_change_tries_a_misconfigured_endpoint_soon_and_then_often(tmp_path: Path) -> None:
    """The person who corrected the token at the endpoint waits for the result."""
    path, clock = tmp_path / "outbox.sqlite3", FastClock(1.0)
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=clock.time)
    async with HttpFaults(answer(401)) as server, asyncio.TaskGroup() as group:

        def push() -> PushConfig:
            return PushConfig(url=server.url(), token="t", wait_for_clock_s=0, interval_s=600)

        delivery = Delivery(push(), OutboxConfig(path=path), QueueFile(path), outbox, clock, {})
        delivery.start(group)
        await delivery.submit([b"x"], clock.monotonic())
        await asyncio.sleep(COMMISSIONING_S + 100.0)  # the next attempt is now minutes away
        before = len(server.requests)
        await delivery.change(push(), OutboxConfig(path=path), QueueFile(path))
        await asyncio.sleep(TOKEN_S + 1.0)
        assert len(server.requests) > before
        await asyncio.sleep(20.0)
        assert len(server.requests) >= before + 3, "the next attempts are after a few seconds, as after a start"
        server.behaviour = answer(200)
        await asyncio.sleep(10.0)
        assert server.requests[-1].answered == 200
        assert server.connections == 1
        await delivery.close()
