"""The devices and links of a site, as the poller uses them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Protocol

from agent.domain import Node
from agent.polling.device_health import DeviceHealth
from drivers.driver import Driver, Reader
from drivers.errors import without_address
from drivers.model import NodeType, Scan


class Closable(Protocol):
    """What the poller needs of a link."""

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Device:
    """One device of the site."""

    name: str
    driver_name: str
    driver: Driver
    reader: Reader
    nodes: tuple[Node, ...]
    address: str
    """The address of the link and the unit id, for log and error texts."""
    unit_id: int
    interval_s: float = 10.0
    """The configured seconds between two polls. `agent.polling.due_times` fits it to the push interval."""
    patience_s: float = 3.0
    """Seconds for which the other devices of the link wait for one poll of this device: three time-outs, and the pause
    after a connect."""
    origin: object = None
    """The settings that decide how the device is read: driver, profile, options, unit id and link. A reload keeps the
    health of a device if the new device has the same link, an equal origin and at least one node id of the old one."""
    health: DeviceHealth = field(default_factory=DeviceHealth)
    of_hybrid: bool = field(init=False)
    """Whether any of `nodes` has `Node.of_hybrid`."""
    measures_grid: bool = field(init=False)
    """Whether the device has a grid node. The power of the whole site depends on it."""
    rank: tuple[bool, float] = field(init=False)
    """The order of the devices on a link, lowest first: grid meters, then the devices with the shortest interval."""

    def __post_init__(self) -> None:
        self.of_hybrid = any(node.of_hybrid for node in self.nodes)
        self.measures_grid = any(node.type is NodeType.GRID for node in self.nodes)
        self.rank = not self.measures_grid, self.interval_s

    def reason(self, error: Exception) -> str:
        """Return the text of an error without the address of the link, for a line that shows `address` already."""
        return without_address(error, self.address)

    def feeds(self, node_ids: Container[str]) -> bool:
        return any(node.node_id in node_ids for node in self.nodes)


@dataclass(slots=True)
class Connection:
    """A link and the devices on it."""

    link: Closable
    devices: tuple[Device, ...]
    address: str = ""


class PollListener(Protocol):
    """Receives the results of polls. It is called in the event loop and must not block."""

    def observe(self, device: Device, scan: Scan) -> None: ...

    def missed(self, device: Device, error: Exception, at: float) -> None:
        """A poll of the device failed, or this round did not poll the device because it is lost. `at` is in monotonic
        seconds."""
        ...

    def skipped(self, device: Device, count: int) -> None:
        """`count` polls were due and were not made, because the link or the process was busy."""
        ...
