"""The devices and links of a site, as the poller uses them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Protocol

from agent.domain import Node
from agent.polling.device_health import DeviceHealth
from drivers.driver import Driver, Reader
from drivers.model import Scan


class Closable(Protocol):
    """What the poller needs of a link."""

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Device:
    """One device of the site: how to read it, which nodes it feeds, and its health."""

    name: str
    driver_name: str
    driver: Driver
    reader: Reader
    nodes: tuple[Node, ...]
    address: str
    """The address of the link and the unit id, for messages."""
    unit_id: int
    patience_s: float = 3.0
    """How long the other devices of the link wait for one poll of this device. It is longer than one time-out."""
    origin: object = None
    """The configuration of the device. On the same link, an equal origin means the same device."""
    health: DeviceHealth = field(default_factory=DeviceHealth)

    def feeds(self, node_ids: Container[str]) -> bool:
        """Whether the device feeds one of these nodes."""
        return any(node.node_id in node_ids for node in self.nodes)


@dataclass(slots=True)
class Connection:
    """A link and the devices on it."""

    link: Closable
    devices: tuple[Device, ...]


class PollListener(Protocol):
    """Gets the results of polls. It is called in the event loop and must not block."""

    def observe(self, device: Device, scan: Scan) -> None: ...

    def missed(self, device: Device, error: Exception, at: float) -> None: ...
