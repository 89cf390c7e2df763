"""An inverter over real sockets that falls silent at dusk, at noon or for good; the agent around it, time driven."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.aggregation.groups import Summary
from agent.app import App
from agent.config.loader import parse
from agent.site.builder import build
from agent.status.model import DeviceStatus
from drivers.model import NodeType, Table
from tests.faults.modbus import FaultServer
from tests.support.simulated_clock import DrivenClock
from tests.support.site import TOKEN, Endpoint

LIMIT_S = 60
PUSH_S = 1800
NOON = 1_780_315_200.0
HOUR_S = 3600.0

PROFILE = """
manufacturer = "Acme"
models = ["Sun"]
kind = "inverter"
source = "this test"
[defaults]
sleeps = true
[[point]]
quantity = "active_power"
table = "input"
address = 0
type = "uint16"
[[point]]
quantity = "produced_energy"
table = "input"
address = 1
type = "uint16"
scale = 1000
"""


@pytest.fixture(autouse=True)
def _nobody_steps_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent looks for it every five seconds, which is most of the work of a day that is driven."""
    monkeypatch.setattr("agent.delivery.undated._WATCH_S", PUSH_S)


class Site:
    """One inverter and the agent, which can be restarted."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        self.folder = folder
        self.endpoint = endpoint
        (folder / "acme-sun.toml").write_text(PROFILE)
        self.registers = {0: 3400, 1: 7}
        self.inverter = FaultServer({(1, Table.INPUT): self.registers})
        self.clock = DrivenClock(wall=NOON)
        self.summaries: list[Summary] = []
        self._app: App | None = None

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        config = parse(
            {
                "site": {"node_id": "SITE_1", "timezone": "UTC"},
                "push": {"url": self.endpoint.url, "token": TOKEN, "interval_s": PUSH_S, "align": "clock"},
                "poll": {"interval_s": PUSH_S, "stale_after_s": 30.0},
                "outbox": {"path": f"{self.folder}/outbox.sqlite3"},
                "drivers": {"profile_dirs": [str(self.folder)]},
                "device": [
                    {
                        "node_id": "pv-1",
                        "type": "solar",
                        "driver": "acme-sun",
                        "host": "127.0.0.1",
                        "port": self.inverter.port,
                        "timeout_s": 0.2,
                    }
                ],
            },
            {},
            "test",
        )
        app = self._app = App(config, build(config, "test"), self.clock, {}, on_summary=self.summaries.append)
        task = asyncio.create_task(app.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def solar(self, after_s: float = PUSH_S) -> dict[str, Any]:
        """The group in the last push, so much later. No deadline passes before the inverter has answered."""
        for _ in range(round(after_s / PUSH_S)):
            seen = len(self.summaries)
            await self.clock.advance(PUSH_S - self.clock.time() % PUSH_S + 1)
            async with asyncio.timeout(LIMIT_S):
                while len(self.summaries) == seen:  # noqa: ASYNC110 - the schedule's task appends them
                    await asyncio.sleep(0.001)
        return dict(self.summaries[-1].groups[NodeType.SOLAR])

    async def status(self) -> DeviceStatus:
        assert self._app is not None
        return (await self._app.snapshot()).devices[0]


@contextlib.asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    with Endpoint() as endpoint:
        found = Site(folder, endpoint)
        async with found.inverter:
            yield found


def warnings(events: list[Any]) -> list[tuple[str, str | None]]:
    return [
        (event["event"], event.get("reason"))
        for event in events
        if event["log_level"] == "warning" and event["event"] in ("device_lost", "sleeper_missing")
    ]


async def test_cut_off_at_noon_an_inverter_is_missing_also_after_a_restart(tmp_path: Path) -> None:
    async with site(tmp_path) as line:
        with capture_logs() as events:
            async with line.agent():
                assert await line.solar() == {"active_power_W": 3400, "today_energy_Wh": 0}
                await line.inverter.refuse()
                assert await line.solar(2 * PUSH_S) == {}
                assert (await line.status()).state == "lost"
                await line.solar(3 * PUSH_S)
        lost, missing = warnings(events)
        assert lost[0] == "device_lost"
        assert missing == ("sleeper_missing", "its last power was 3400 W: it counts as missing")
        line.clock = DrivenClock(monotonic=50.0, wall=line.clock.time() + HOUR_S)
        async with line.agent():
            assert await line.solar() == {}
            await line.inverter.listen()
            assert await line.solar(2 * PUSH_S) == {"active_power_W": 3400, "today_energy_Wh": 0}


async def test_silent_from_dusk_on_an_inverter_sleeps_also_after_a_restart_but_not_through_the_day(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as line:
        with capture_logs() as events:
            async with line.agent():
                await line.solar(3 * HOUR_S)
                line.registers.update({0: 12, 1: 9})
                await line.solar()
                await line.inverter.refuse()
                assert await line.solar(4 * HOUR_S) == {"active_power_W": 0, "today_energy_Wh": 2000}
                assert (await line.status()).state == "asleep"
                assert (await line.status()).nodes[0].fields == {"active_power_W": 0, "today_energy_Wh": 2000}
            line.clock = DrivenClock(monotonic=50.0, wall=line.clock.time() + HOUR_S)
            async with line.agent():
                assert await line.solar() == {"active_power_W": 0, "today_energy_Wh": 2000}
                assert (await line.status()).nodes[0].fields == {"active_power_W": 0, "today_energy_Wh": 2000}
                assert await line.solar(11 * HOUR_S) == {"active_power_W": 0, "today_energy_Wh": 0}
                assert warnings(events) == []
                assert await line.solar(5 * HOUR_S) == {}
                assert (await line.status()).state == "lost"
    assert [name for name, _ in warnings(events)] == ["sleeper_missing"]
