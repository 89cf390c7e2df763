"""Reloads that add, rename and remove endpoints, in simulated time: what the log, the status and the messages say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.agent.app.test_endpoints import delivered, meters, push, running
from tests.faults.http import HttpFaults, answer
from tests.support.simulated_loop import simulated

REPORT_S = 300.0


@pytest.fixture
def reports_every_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.status.hourly_report.EVERY_S", REPORT_S)


def delivered_by_the_reports(events: list[Any]) -> int:
    return sum(
        each["delivered"] for each in events if each["event"] == "endpoint_report" and each["endpoint"] != "portal"
    )


def test_a_renamed_endpoint_keeps_its_interval_and_its_counts(tmp_path: Path, reports_every_five_minutes: None) -> None:
    async def run() -> tuple[list[dict[str, Any]], list[Any]]:
        async with meters() as (devices, _), HttpFaults(answer(200)) as portal, HttpFaults(answer(200)) as trader:
            settings = ("interval_s = 20", 'align = "clock"', "quality = true")
            first = push("portal", portal.url(), "interval_s = 20")
            with capture_logs() as events:
                async with running(tmp_path, devices, first + push("trader", trader.url(), *settings), 1.0) as site:
                    await asyncio.sleep(REPORT_S + 30)
                    await site.reload(first + push("desk", trader.url(), *settings, 'formerly = "trader"'))
                    await asyncio.sleep(REPORT_S)
            return [json.loads(each.body) for each in trader.accepted], events

    messages, events = simulated(run())
    expected = [message["quality"]["grid"]["expected"] for message in messages[1:]]
    assert sorted(expected)[:-1] == [4] * (len(expected) - 1)
    assert max(expected) == 5, "the reload makes one more poll"
    assert delivered_by_the_reports(events) <= len(messages)
    assert {"event": "endpoint_renamed", "log_level": "info", "endpoint": "desk", "formerly": "trader"} in events


def test_a_restart_finds_the_queue_of_an_endpoint_that_a_reload_renamed(tmp_path: Path) -> None:
    """Also if `formerly` was deleted meanwhile."""

    async def run() -> None:
        async with meters() as (devices, _), HttpFaults(answer(503)) as server:
            settings = server.url(), "interval_s = 20"
            async with running(tmp_path, devices, push("portal", *settings), 1.0) as site:
                await asyncio.sleep(30)
                await site.reload(push("web", *settings, 'formerly = "portal"'))
            waiting = {each.headers["webhook-id"] for each in server.accepted}
            assert waiting
            server.behaviour = answer(200)
            async with running(tmp_path, devices, push("web", *settings), 1.0):
                await asyncio.sleep(60)
            assert waiting <= {each.headers["webhook-id"] for each in delivered(server)}

    simulated(run())


def test_an_endpoint_that_returns_begins_its_counts(tmp_path: Path, reports_every_five_minutes: None) -> None:
    async def run() -> tuple[int, list[Any]]:
        async with meters() as (devices, _), HttpFaults(answer(200)) as portal, HttpFaults(answer(200)) as trader:
            first = push("portal", portal.url(), "interval_s = 20")
            both = first + push("trader", trader.url(), "interval_s = 20")
            with capture_logs() as events:
                async with running(tmp_path, devices, both, 1.0) as site:
                    await asyncio.sleep(REPORT_S + 30)
                    before = len(trader.accepted)
                    await site.reload(first)
                    await asyncio.sleep(30)
                    await site.reload(both)
                    await asyncio.sleep(REPORT_S - 20)
            return len(trader.accepted) - before, events

    returned, events = simulated(run())
    last = [each["delivered"] for each in events if each.get("endpoint") == "trader" and "delivered" in each][-1]
    assert returned - 2 <= last <= returned
    changes = ("endpoint_removed", "endpoint_added")
    assert [(each["event"], each["endpoint"]) for each in events if each["event"] in changes] == [
        ("endpoint_removed", "trader"),
        ("endpoint_added", "trader"),
    ]


def test_an_endpoint_that_is_added_later_says_since_when_it_waits(tmp_path: Path) -> None:
    async def run() -> str | None:
        async with meters() as (devices, _), HttpFaults(answer(200)) as portal, HttpFaults(answer(200)) as trader:
            first = push("portal", portal.url(), "interval_s = 600")
            async with running(tmp_path, devices, first, 1.0) as site:
                await asyncio.sleep(900)
                await site.reload(first + push("trader", trader.url(), "interval_s = 600"))
                await asyncio.sleep(1)
                assert site.app is not None
                (_, added) = (await site.app.snapshot()).endpoints
                return added.reason

    assert simulated(run()) == "nothing delivered since the start 1 s ago"
