"""The delivery to one endpoint, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.config import Config, OutboxConfig
from agent.config.loader import parse
from agent.config.push import PushConfig
from agent.delivery import Deliveries, Delivery, QueueFile, manager
from agent.delivery.circuit_breaker import COMMISSIONING_S
from agent.delivery.retry import TOKEN_S
from agent.outbox import Outbox
from tests.faults.http import Exchange, HttpFaults, answer, hang_before_headers
from tests.support.delivery import FastClock
from tests.support.simulated_clock import DrivenClock

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


async def test_a_new_token_is_used_within_five_seconds(tmp_path: Path) -> None:
    path, token, clock = tmp_path / "outbox.sqlite3", tmp_path / "token", FastClock(1.0)
    token.write_text("old")
    token.chmod(0o600)
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=clock.time)
    async with HttpFaults(answer(401)) as server, asyncio.TaskGroup() as group:
        push = PushConfig(url=server.url(), token_file=token, wait_for_clock_s=0, interval_s=600)
        delivery = Delivery(push, OutboxConfig(path=path), QueueFile(path), outbox, clock, {})
        delivery.start(group)
        await delivery.submit([b"x"], clock.monotonic())
        await asyncio.sleep(COMMISSIONING_S + 100.0)  # the next attempt is now minutes away
        before = len(server.requests)
        token.write_text("another")
        server.behaviour = answer(200)
        await asyncio.sleep(TOKEN_S + 0.5)
        assert [request.answered for request in server.requests[before:]] == [200]
        await delivery.close()


@pytest.mark.parametrize("reloaded", [False, True])
async def test_an_attempt_without_an_answer_is_waited_for_for_three_seconds(tmp_path: Path, reloaded: bool) -> None:
    path, clock, loop = tmp_path / "outbox.sqlite3", FastClock(1.0), asyncio.get_running_loop()
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=clock.time)
    limits = OutboxConfig(path=path)
    async with HttpFaults(hang_before_headers()) as server, asyncio.TaskGroup() as group:
        push = PushConfig(url=server.url(), token="t", wait_for_clock_s=0, timeout_s=60)
        delivery = Delivery(push, limits, QueueFile(path), outbox, clock, {})
        delivery.start(group)
        await delivery.submit([b"x"], clock.monotonic())
        await server.until(lambda: len(server.accepted) == 1)
        began = loop.time()
        if reloaded:
            await delivery.change(push.model_copy(update={"timeout_s": 7.0}), limits, QueueFile(path))
        else:
            await delivery.close()
        assert loop.time() - began == pytest.approx(3.0, abs=0.5)
        await delivery.close()


def open_files(folder: Path) -> list[str]:
    """The names of the files in the folder that this process has open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if (file := link.readlink()).parent == folder.resolve():
                names.append(file.name)
    return sorted(names)


async def test_a_reload_that_changes_the_limits_of_a_queue_opens_it_anew_and_closes_it_before(tmp_path: Path) -> None:
    path, clock = tmp_path / "outbox.sqlite3", DrivenClock()
    limits = OutboxConfig(path=path)
    outbox = Outbox.open(path, max_age_s=limits.max_age_s, max_size_mb=64, now=clock.time)
    push = PushConfig(url="http://127.0.0.1:9/", token="t", wait_for_clock_s=0)
    delivery = Delivery(push, limits, QueueFile(path), outbox, clock, {})
    await delivery.submit([b"old"], clock.monotonic())
    before = open_files(tmp_path)
    await delivery.change(push, limits.model_copy(update={"max_age_s": 60.0}), QueueFile(path))
    assert open_files(tmp_path) == before != []
    clock.jump(100)
    await delivery.submit([b"new"], clock.monotonic())
    assert (await delivery.backlog()).dropped == {"age": 1}
    await delivery.close()
    assert open_files(tmp_path) == []


def config(folder: Path, *names: str, **more: Mapping[str, Any]) -> Config:
    """Endpoints with these names; `more` has the other keys of some of them."""
    common = {"url": "http://127.0.0.1:9/", "token": "t", "wait_for_clock_s": 0}
    meter = {"node_id": "m", "type": "grid", "driver": "eastron-sdm630", "host": "127.0.0.1"}
    table = {
        "site": {"node_id": "s"},
        "push": [{"name": name} | common | dict(more.get(name, {})) for name in names],
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "device": [meter],
    }
    return parse(table, {}, "test")


@pytest.mark.parametrize(("waits_s", "trusted"), [((0, 0), True), ((300, 0), False), ((0, 300), False)])
async def test_the_clock_is_trusted_when_every_endpoint_trusts_it(
    tmp_path: Path, waits_s: tuple[int, int], trusted: bool
) -> None:
    one, two = ({"wait_for_clock_s": each} for each in waits_s)
    deliveries = Deliveries(config(tmp_path, "one", "two", one=one, two=two), DrivenClock(wall=40.0), {})
    assert deliveries.clock_trusted is trusted
    await deliveries.close()


async def test_a_reload_keeps_what_is_known_of_an_endpoint_and_the_order_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = Deliveries(config(tmp_path, "gone", "portal", "trader"), DrivenClock(), {})
    portal, trader = deliveries["portal"], deliveries["trader"]
    seen = []

    def opened(*arguments: Any) -> Outbox:
        seen.append([each.push.name for each in deliveries])
        return open_queue(*arguments)

    open_queue = manager._opened
    monkeypatch.setattr(manager, "_opened", opened)
    with capture_logs() as logs:
        renamed = {"formerly": "trader"}
        await deliveries.change(config(tmp_path, "new", "portal", "desk", desk=renamed))
    assert [each.push.name for each in deliveries] == ["new", "portal", "desk"]
    assert deliveries["portal"] is portal
    assert deliveries["desk"] is trader
    assert all("gone" not in names for names in seen), "its queue is closed"
    assert {(each["event"], each["endpoint"]) for each in logs if each["event"].startswith("endpoint_")} == {
        ("endpoint_removed", "gone"),
        ("endpoint_renamed", "desk"),
        ("endpoint_added", "new"),
    }
    await deliveries.close()


async def test_a_pause_that_continues_after_a_rename_is_not_said_to_be_older_than_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "outbox.sqlite3", FastClock(1.0)
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8, now=clock.time)
    limits = OutboxConfig(path=path)
    async with HttpFaults(answer(429, retry_after="1800")) as server, asyncio.TaskGroup() as group:
        push = PushConfig(name="old", url=server.url(), token="t", wait_for_clock_s=0)
        delivery = Delivery(push, limits, QueueFile(path), outbox, clock, {})
        delivery.start(group)
        await delivery.submit([b"x"], clock.monotonic())
        while not delivery.stats.attempts:  # noqa: ASYNC110 - attempts have no event
            await asyncio.sleep(0.1)
        await delivery.change(push.model_copy(update={"name": "new"}), limits, QueueFile(path))
        await asyncio.sleep(1.0)
        assert delivery.stats.last_failure == "the endpoint asked for a pause before the restart or reload"
        await delivery.close()
    assert len(server.requests) == 1


async def test_the_owner_of_the_first_queue_is_known_after_a_start_and_after_a_reload(tmp_path: Path) -> None:
    owner = tmp_path / "outbox.endpoint"
    deliveries = Deliveries(config(tmp_path, "default"), DrivenClock(), {})
    await deliveries.change(config(tmp_path, "portal", "trader", portal={"formerly": "default"}))
    assert owner.read_text() == "portal\n"
    await deliveries.close()
    owner.unlink()
    deliveries = Deliveries(config(tmp_path, "portal", portal={"formerly": "default"}), DrivenClock(), {})
    assert owner.read_text() == "portal\n"
    await deliveries.close()
