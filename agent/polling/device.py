"""A device of the site as the poller sees it: how to read it, what it feeds, and how it has been answering."""

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
    """One device of the site: how to read it, which nodes it feeds, and how it has been doing."""

    name: str
    driver_name: str
    driver: Driver
    reader: Reader
    nodes: tuple[Node, ...]
    address: str
    """Of link and unit, for messages."""
    unit_id: int
    patience_s: float = 3.0
    """How long its neighbours on the link wait for a whole poll; longer than one silence takes."""
    origin: object = None
    """What it was made from; an equal origin on the same link is the same device."""
    health: DeviceHealth = field(default_factory=DeviceHealth)

    def feeds(self, node_ids: Container[str]) -> bool:
        """Whether one of its nodes is among these."""
        return any(node.node_id in node_ids for node in self.nodes)


@dataclass(slots=True)
class Connection:
    """A link and the devices on it."""

    link: Closable
    devices: tuple[Device, ...]


class PollListener(Protocol):
    """Takes the results of polls. It is called in the event loop and must not block."""

    def observe(self, device: Device, scan: Scan) -> None: ...

    def missed(self, device: Device, error: Exception, at: float) -> None: ...
