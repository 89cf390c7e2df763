"""What the log says about a device."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from agent.domain import Node
from agent.polling import Device
from agent.polling.device_poller import DevicePoller
from drivers.driver import ReadOptions
from drivers.errors import SilentError
from drivers.model import Kind, NodeType
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
