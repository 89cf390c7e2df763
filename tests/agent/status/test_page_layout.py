"""The page in a real browser, with the snapshot of a site that has everything: widths, colours, accessibility."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent.aggregation import Fields
from agent.config.status import StatusConfig
from agent.delivery.stats import RecordedAttempt
from agent.outbox.backlog import Backlog
from agent.runtime.clock import SystemClock
from agent.status.history import STEP_S, History
from agent.status.listener import StatusListener
from agent.status.model import DeviceStatus, EndpointStatus, LinkStatus, NodeStatus, Snapshot
from tests.agent.delivery.test_official_libraries import NODE_MODULES
from tests.agent.status.test_listener import STATUS_TOKEN
from tests.faults.chromium import PROGRAM, Browser, Tab, browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here; apt-get install chromium")

AXE = NODE_MODULES / "axe-core" / "axe.min.js"
TEXT = "(document.body?.innerText ?? '')"
NOW = 1_795_577_148.0
WIDTHS = (390, 768, 1280)


def device(name: str, state: str, *nodes: NodeStatus, **more: Any) -> DeviceStatus:
    settings: dict[str, Any] = {
        "name": name,
        "driver": "eastron-sdm630",
        "address": f"192.168.1.20:502 unit {len(name)}",
        "state": state,
        "reason": None,
        "lost_s": None,
        "age_s": 3.0,
        "polls": 9,
        "failed_polls": 1,
        "errors": {},
        "poll_s": 0.2,
        "answered": 8,
        "answered_s": 1.6,
        "nodes": nodes,
        "interval_s": 10.0,
    }
    return DeviceStatus(**settings | more)


GRID: Fields = {
    "active_power_W": -12_345_678.0,
    "today_imported_energy_Wh": 1221.0,
    "today_exported_energy_Wh": 2_009_766.0,
}
SOLAR: Fields = {"active_power_W": 12_999_999.0, "today_energy_Wh": 4_000_866.0}
STORAGE: Fields = {
    "active_power_W": -99_951.0,
    "mean_soc_perc": 100.0,
    "today_charged_Wh": 48_000.0,
    "today_discharged_Wh": 13_000.0,
}
RELAY: Fields = {"active_power_W": 2000.0}

DEVICES = (
    device("meter-1", "ok", NodeStatus("meter-1", "grid", GRID)),
    device(
        "a-hybrid-with-a-long-name-without-any-blank-in-it-as-people-write-them",
        "partial",
        NodeStatus("pv-1", "solar", SOLAR),
        NodeStatus("battery-1", "storage", STORAGE),
        reason="holding 40100: Modbus exception 2 (illegal data address)",
    ),
    device("boiler-1", "ok", NodeStatus("boiler-1", "switched_load", RELAY, "nominal"), cycle_s=14.0),
    device("charger-1", "lost", NodeStatus("charger-1", "variable_power_load", {}), reason="no answer", lost_s=400.0),
    device("heat-pump-1", "waiting", age_s=None),
    device("pv-2", "asleep", lost_s=4000.0),
)
WELL = EndpointStatus(
    "trader", "https://trader.example.org", 5, None, None, 2.0, {"delivered": 42}, (), Backlog(0, None, 0, False, {})
)
FAILING = EndpointStatus(
    "default",
    "https://telemetry.example.com",
    60,
    "no delivery for 5 min: HTTP 401: the token is not valid",
    300.0,
    None,
    {"delivered": 0, "retry": 3, "misconfigured": 2},
    (RecordedAttempt(NOW - 5, "m-1", NOW - 60, 1, "misconfigured", "HTTP 401: the token is not valid"),),
    Backlog(5, 300.0, 1, False, {"age": 2}),
    next_attempt_s=12.0,
)
SITE = Snapshot(
    "1.2.3",
    "A_site_with_a_long_name_1234567890_1234567890",
    NOW,
    90_000.0,
    False,
    f"default: {FAILING.reason}",
    "unsynchronised",
    {
        "grid": GRID,
        "solar": SOLAR,
        "storage": STORAGE,
        "heat_pump": {"active_power_W": 1_234_567.0},
        "switched_load": RELAY,
        "variable_power_load": {"active_power_W": 0.0},
    },
    DEVICES,
    (FAILING, WELL),
    "no time service runs on this machine. Messages have the time of this clock, which may be wrong",
    (
        LinkStatus("192.168.1.20:502", 4, 1.25),
        LinkStatus("/dev/ttyUSB0", 1, 0.004),
        LinkStatus("10.0.0.1:502", 1, None),
    ),
)


def filled(history: History, hours: float) -> None:
    """Add samples of a day with sun, and an outage of the endpoint at its end."""
    delivered, failed = 0, 0
    for step in range(int(hours * 6)):
        sun = max(0.0, math.sin(step / 45)) * 8000
        up = step < hours * 6 - 12
        delivered, failed = delivered + 10 * up, failed + 3 * (not up)
        flow: dict[str, Fields] = {"grid": {"active_power_W": 2500 - sun}, "solar": {"active_power_W": sun}}
        outcomes = {"delivered": delivered, "retry": failed}
        sample = replace(SITE, flow=flow, endpoints=(replace(FAILING, outcomes=outcomes),))
        history.add(history._started + step * STEP_S, sample)


class Served:
    """A listener with a snapshot that the test can replace."""

    def __init__(self, snapshot: Snapshot, hours: float = 30.0, token: str | None = None) -> None:
        self.snapshot = snapshot
        config = StatusConfig.model_validate({"listen": "127.0.0.1:0", "token": token})
        self.listener = StatusListener(config, self._take, SystemClock())
        self.listener.history = History(SystemClock().monotonic() - hours * 3600)
        filled(self.listener.history, hours)

    async def _take(self) -> Snapshot:
        return self.snapshot


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests, because its start takes most of the time of a test."""
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@contextlib.asynccontextmanager
async def opened(chromium: Browser, served: Served, shown: str | None = None) -> AsyncIterator[Tab]:
    """Yield the page when it shows everything, or the text `shown`."""
    task = asyncio.create_task(served.listener.run())
    try:
        async with asyncio.timeout(60):
            while served.listener.port is None:  # noqa: ASYNC110 - the listener's task sets it
                await asyncio.sleep(0.01)
        async with chromium.tab() as tab:
            await tab.call("Page.navigate", url=f"http://127.0.0.1:{served.listener.port}/")
            words = [served.snapshot.site, "ast 24 hours"] if shown is None else [shown]
            await tab.until(" && ".join(f"{TEXT}.includes({each!r})" for each in words))
            yield tab
            assert [each for each in tab.complaints if "401" not in each] == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def show(tab: Tab, width: int, scheme: str) -> None:
    await tab.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


OUTSIDE = """
[...document.querySelectorAll('.spot')].filter((spot) => spot.offsetParent).flatMap((spot) => {
  const circle = spot.getBoundingClientRect(), r = circle.width / 2;
  const range = document.createRange();
  return [...spot.querySelectorAll('b, small')].flatMap((node) => {
    range.selectNodeContents(node);
    return [...range.getClientRects()].filter((box) => box.width).flatMap((box) =>
      [[box.left, box.top], [box.right, box.top], [box.left, box.bottom], [box.right, box.bottom]].map(([x, y]) =>
        Math.hypot(x - circle.left - r, y - circle.top - r) - r).filter((over) => over > 0)
        .map((over) => spot.className + ': ' + node.textContent + ' ' + over));
  });
})
"""
WIDE = """
[...document.querySelectorAll('main *')].filter((node) => node.offsetParent &&
  node.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map((node) => node.className)
"""

VIOLATIONS = """
axe.run().then(({violations}) => violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html).join(' ')))
"""


async def test_everything_that_the_page_says(chromium: Browser) -> None:
    async with opened(chromium, Served(SITE)) as tab:
        text = await tab.eval(TEXT)
        for words in (
            "Pushing to 1 of 2",
            "Devices: 3 of 6 answering, 1 asleep",
            "Delivery to default: not ready",
            "Delivery to trader: ready",
            "within 12 s",
            "Clock: no time service runs on this machine.",
            "Loads: boiler-1 reports only on or off; the nominal power is used.",
            "loads\nnominal",
            "Energy today",
            "Share not from the grid",
            "export 2.01 MWh",
            "polled every 14.0 s instead of every 10 s: the link is too slow",
            "125 %",
            "4 devices: more polls than the link has time for",
            "under 1 %",
            "no answer for 6 min 40 s: no answer",
        ):
            assert words in text, words
        assert "10.0.0.1:502 " not in text, "its load is not known yet"
        label = "document.querySelector('#power svg').getAttribute('aria-label')"
        assert "solar: 0 W to 13.0 MW. grid, import above 0: \u221212.3 MW to 2.50 kW" in await tab.eval(label)
        label = "document.querySelector('#delivery svg').getAttribute('aria-label')"
        assert (await tab.eval(label)).endswith("delivered, 36 not delivered")
        assert await tab.eval("document.querySelectorAll('#delivery rect.failed').length") == 12


async def test_what_is_unknown_is_said_and_what_is_absent_is_not_shown(chromium: Browser) -> None:
    flow: dict[str, Fields] = {"grid": GRID, "solar": {}}
    nodes = (NodeStatus("meter-1", "grid", GRID), NodeStatus("pv-1", "solar", {}))
    one = replace(SITE, flow=flow, devices=(device("m", "ok", *nodes),), endpoints=(WELL,), ready=True, reason=None)
    one = replace(one, no_balance="pv-1 does not answer")
    served = Served(replace(one, clock_reason=None, links=()))
    shown = "[...document.querySelectorAll('.spot')].filter((spot) => spot.offsetParent).map((spot) => spot.className)"
    async with opened(chromium, served) as tab:
        text = await tab.eval(TEXT)
        assert "House: unknown, because there is no power of pv-1." in text
        assert "No balance: pv-1 does not answer." in text
        assert "house\nunknown" in text
        assert "Devices: 1 of 1 answering" in text
        assert "Next attempt" not in text
        assert await tab.eval(shown) == ["spot solar", "spot grid", "spot house"]
        assert await tab.eval(
            "['note', 'clock', 'links', 'login'].every((id) => !document.getElementById(id).offsetParent)"
        )

        served.snapshot = replace(served.snapshot, flow={"heat_pump": {}}, devices=(), no_balance=None)
        await tab.until(f"{TEXT}.includes('House: unknown, because no device measures the grid.')")
        assert "Energy today" not in await tab.eval(TEXT)


async def press(tab: Tab, key: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        await tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_keyboard_is_enough(chromium: Browser, scheme: str) -> None:
    at = "document.activeElement.id || document.activeElement.tagName"
    async with opened(chromium, Served(SITE, token=STATUS_TOKEN), "This page needs a token") as tab:
        await show(tab, 390, scheme)
        await tab.until(f"({at}) === 'token'")
        assert await tab.eval("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await press(tab, "Tab", 9)
        assert await tab.eval(at) == "BUTTON"
        await tab.eval("document.getElementById('token').focus()")
        await tab.call("Input.insertText", text="wrong-token")
        await press(tab, "Enter", 13, "\r")
        await tab.until(f"{TEXT}.includes('That token is not accepted.')")
        if AXE.exists():
            await tab.eval(AXE.read_text() + "; true")
            assert await tab.eval(VIOLATIONS) == []
        await tab.call("Input.insertText", text=STATUS_TOKEN)
        await press(tab, "Enter", 13, "\r")
        await tab.until(f"{TEXT}.includes('Delivery to default')")
        assert await tab.eval(at) == "site"


async def test_an_agent_that_does_not_answer_is_said_and_stays_readable(chromium: Browser) -> None:
    served = Served(SITE)
    async with opened(chromium, served) as tab:
        await show(tab, 390, "light")

        async def failing() -> Snapshot:
            raise OSError("no disk")

        served.listener._take = failing
        await tab.until(f"{TEXT}.includes('The agent has not answered since')")
        if AXE.exists():
            await tab.eval(AXE.read_text() + "; true")
            assert await tab.eval(VIOLATIONS) == []
        tab.complaints.clear()  # the console reports the failed request


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_width_and_scheme(chromium: Browser, scheme: str) -> None:
    async with opened(chromium, Served(SITE)) as tab:
        if AXE.exists():
            await tab.eval(AXE.read_text() + "; true")
        for width in WIDTHS:
            await show(tab, width, scheme)
            assert await tab.eval("document.scrollingElement.scrollWidth") == width
            assert await tab.eval(OUTSIDE) == []
            assert await tab.eval(WIDE) == []
            if AXE.exists():
                assert await tab.eval(VIOLATIONS) == []
        if not AXE.exists():
            pytest.skip(f"no axe-core in {NODE_MODULES}; the layout holds, the accessibility is not checked")
