"""A device of the site as the poller sees it: how to read it, what it feeds, and how it has been answering."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Protocol

from agent.domain import Node
from drivers.driver import Driver, Reader
from drivers.model import Scan

BACKOFF_FIRST_S = 2.0
BACKOFF_MAX_S = 300.0


class Closable(Protocol):
    """What the poller needs of a link."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class DeviceHealth:
    """How a device has been answering; monotonic seconds."""

    failures: int = 0
    """Failed polls in a row."""
    since: float | None = None
    """When the failures in a row began."""
    due: float = 0.0
    """No poll before this moment."""
    error: Exception | None = None
    partial: str | None = None
    """What the last poll could not read, if it answered at all."""
    last_answer: float | None = None
    back_since: float | None = None
    """When the last failures in a row ended."""
    told: bool = False
    """Whether the present failures were told to the operator."""
    slow: bool = False
    """Its last poll outlasted the patience of its neighbours."""
    polls: int = 0
    failed_polls: int = 0

    def failed(self, error: Exception, now: float) -> None:
        self.polls += 1
        self.failed_polls += 1
        self.failures += 1
        self.error = error
        if self.since is None:
            self.since = now
        self.due = now + min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (min(self.failures, 20) - 1))

    def answered(self, now: float) -> None:
        self.polls += 1
        if self.failures:
            self.back_since = now
        self.failures = 0
        self.error = None
        self.since = None
        self.due = 0.0
        self.last_answer = now


@dataclass(slots=True, eq=False)
class Device:
    """One device of the site: how to read it, which nodes it feeds, and how it has been doing."""

    name: str
    driver_name: str
    driver: Driver
    reader: Reader
    nodes: tuple[Node, ...]
    address: str
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
    """Takes what a poll brought; called in the event loop, must not block."""

    def observe(self, device: Device, scan: Scan) -> None: ...

    def missed(self, device: Device, error: Exception, at: float) -> None: ...

    def asleep(self, device: Device, at: float) -> bool:
        """Whether its silence is as it should be at this hour."""
        ...
