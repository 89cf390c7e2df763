"""What the log says about a device."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from agent.domain import Node
from agent.polling import Device
from agent.polling.device_poller import LIMIT_S, DevicePoller
from drivers.driver import ReadOptions
from drivers.errors import SilentError
from drivers.model import Kind, NodeType, Quality, Quantity, Reading, Scan
from drivers.sunspec import SunSpec
from tests.faults.sunspec import FakeReader, common, device, inverter, meter
from tests.support.simulated_clock import DrivenClock


class Listener:
    def observe(self, *_: Any) -> None: ...

    def missed(self, *_: Any) -> None: ...

    def skipped(self, *_: Any) -> None: ...


@pytest.fixture
def events() -> Any:
    """The events as the renderers get them: with the context of the poll."""
    log = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, log])
    yield log.entries
    structlog.configure(**before)


async def test_every_event_about_a_device_names_it_and_its_address(events: list[dict[str, Any]]) -> None:
    reader = FakeReader(device(common(), inverter(W=1, W_SF=0)))
    node = Node("pv-1", NodeType.SOLAR, Kind.HYBRID, of_hybrid=True)
    battery = Node("b-1", NodeType.STORAGE, Kind.HYBRID, of_hybrid=True)
    roof = Device("pv-1", "sunspec", SunSpec(ReadOptions()), reader, (node, battery), "192.0.2.1:502 unit 1", 1)
    poller = DevicePoller(DrivenClock(), Listener(), {}, lambda _: True)
    await poller.poll(roof)
    poller.failed(roof, SilentError("no answer"))
    await poller.poll(roof)
    reader.registers = device(common(), meter(W=1, W_SF=0), inverter(W=1, W_SF=0))
    await poller.poll(roof)
    named = {event["event"] for event in events}
    assert {"sunspec_discovered", "device_found", "device_partial", "device_lost", "device_back"} <= named
    assert "sunspec_changed" in named
    for event in events:
        assert (event.get("device"), event.get("address")) == ("pv-1", "192.0.2.1:502 unit 1"), event
        assert "serial" not in event
    structlog.get_logger().info("of_no_device")
    assert events[-1] == {"event": "of_no_device", "log_level": "info"}, "the poll is over"


def load(driver: Any) -> Device:
    node = Node("n", NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    return Device("d", "stub", driver, FakeReader({}), (node,), "a", 1)


class Answering:
    def __init__(self, *scans: Scan) -> None:
        self.scans = list(scans)

    async def poll(self, *_: Any) -> Scan:
        return self.scans.pop(0) if len(self.scans) > 1 else self.scans[0]


def names(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = [(event["event"], event["log_level"]) for event in events]
    events.clear()
    return found


async def test_a_new_outage_in_the_five_minutes_after_the_last_one_is_told_if_it_lasts(
    events: list[dict[str, Any]],
) -> None:
    clock = DrivenClock()
    device = load(Answering(Scan((), 0.0, 0.0)))
    poller = DevicePoller(clock, Listener(), {}, lambda _: True)
    silent = SilentError("no answer")
    poller.failed(device, silent)
    clock.jump(1.26)
    await poller.poll(device)
    assert events[1]["after_s"] == 1.3
    assert names(events)[:2] == [("device_lost", "warning"), ("device_back", "info")]
    for pause_s in (0.0, 299.0, 1.0):
        clock.jump(pause_s)
        poller.failed(device, silent)
    assert names(events) == [("device_lost", "debug"), ("device_still_lost", "debug"), ("device_lost", "warning")]
    poller.failed(device, silent)
    assert names(events) == [("device_still_lost", "debug")]


async def test_a_device_that_lacks_something_is_told_once_and_once_when_it_is_complete(
    events: list[dict[str, Any]],
) -> None:
    power = Reading(Quantity.ACTIVE_POWER, None, 5.0, Quality.GOOD, 0.0)
    nothing, all_, refused = Scan((), 0, 0), Scan((power,), 0, 0), Scan((power,), 0, 0, errors=(ValueError("no 7"),))
    device = load(Answering(nothing, nothing, all_, all_, refused, refused, all_))
    poller = DevicePoller(DrivenClock(), Listener(), {}, lambda _: True)
    reasons = []
    for _ in range(7):
        await poller.poll(device)
        reasons.append(device.health.partial)
    lacks = "the device has nothing that a variable_power_load node can use (n)"
    assert reasons == [lacks, lacks, None, None, "no 7", "no 7", None]
    told, well = ("device_partial", "warning"), ("device_complete", "info")
    assert names(events) == [("device_found", "info"), told, well, told, well]


class Hanging:
    """A driver that never answers. Its end takes `ends_s`."""

    def __init__(self, ends_s: float = 0.0) -> None:
        self.ends_s, self.ended = ends_s, False

    async def poll(self, *_: Any) -> Scan:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self.ends_s)
            self.ended = True
        raise AssertionError


@pytest.mark.simulated_time
async def test_a_poll_that_takes_long_to_end_is_ended_once() -> None:
    device = load(driver := Hanging(ends_s=10.0))
    poller = DevicePoller(DrivenClock(), Listener(), {}, lambda _: True)
    polling = asyncio.create_task(poller.poll(device))
    await asyncio.sleep(LIMIT_S + 1.0)
    for _ in range(3):
        poller.end_overdue()
        await asyncio.sleep(1.0)
    assert isinstance(await polling, SilentError)
    assert driver.ended


@pytest.mark.simulated_time
async def test_the_end_of_the_agent_ends_a_poll_that_is_overdue_at_the_same_moment() -> None:
    poller = DevicePoller(DrivenClock(), Listener(), {}, lambda _: True)
    polling = asyncio.create_task(poller.poll(load(Hanging())))
    await asyncio.sleep(LIMIT_S + 1.0)
    poller.end_overdue()
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert list(poller.in_progress()) == []


def test_a_device_with_several_nodes_has_the_rank_of_the_grid_meter_among_them() -> None:
    grid, solar = (Node(type_.value, type_, Kind.HYBRID, of_hybrid=True) for type_ in (NodeType.GRID, NodeType.SOLAR))
    plain = Node("load", NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    device = Device("d", "stub", Answering(), FakeReader({}), (plain, grid, solar), "a", 1, 7.0)  # type: ignore[arg-type]
    assert (device.measures_grid, device.of_hybrid, device.rank) == (True, True, (False, 7.0))
    assert [device.feeds({name}) for name in ("load", "grid", "other")] == [True, True, False]
