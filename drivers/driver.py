"""What every driver is. Protocols and their options only.

A driver turns register reads of one unit into a `Scan`. It never sees connections, time-outs or other devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.model import Kind, NodeType, Quantity, Resolution, Scan, Table, WordOrder
from drivers.protocol import TRANSPORTS


class Reader(Protocol):
    """One unit id on one link: nothing but reads, so that no driver can write."""

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """Read `count` registers (0..65535) or bits (0 or 1) from a zero-based protocol address.

        Raises a `drivers.errors.DriverError` whose type says what to do.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How one device wants to be read; None leaves it to the profile, then to the transport."""

    max_registers: int | None = None
    max_gap: int | None = None
    word_order: WordOrder | None = None
    default_max_gap: int = TRANSPORTS["tcp"].max_gap
    """Of the transport, for devices that leave `max_gap` open."""
    nodes: frozenset[NodeType] | None = None
    """For a hybrid: the node types that the site uses; what the others need is not asked for. None for all."""

    def uses(self, node: NodeType | None) -> bool:
        """Whether readings of this node are wanted; those without a node always are."""
        return self.nodes is None or node is None or node in self.nodes


@dataclass(frozen=True, slots=True)
class LinkDefaults:
    """What a device family asks of its link; the site's configuration wins, None leaves it to the connection."""

    timeout_s: float | None = None
    connect_delay_s: float | None = None
    request_gap_s: float | None = None
    unit_id: int | None = None
    port: int | None = None
    sleeps: bool = False
    """It is silent at night, as inverters are that live on the sun: its solar node then counts 0, but not by day."""


class Driver(Protocol):
    """Reads one device. Holds what it learned of the device (models, holes, limits), never its values."""

    @property
    def kind(self) -> Kind:
        """What the device is."""
        ...

    @property
    def nodes(self) -> frozenset[NodeType]:
        """For a hybrid: the node types it can fill. Empty for devices with one node."""
        ...

    @property
    def defaults(self) -> LinkDefaults:
        """What the device family asks of its link."""
        ...

    @property
    def resolutions(self) -> Mapping[tuple[NodeType | None, Quantity], Resolution]:
        """What its registers can tell, for totals of the device; without what only the device itself can say."""
        ...

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """Read everything once; `now` gives monotonic seconds for the readings.

        What the device refuses is missing and stands in `Scan.errors`. Raises `UnreachableError` when the device or
        the link is gone or cannot be trusted: the poll ends there, and what it has read is dropped. Raises
        `RefusedError` or `UnsupportedError` when the device has nothing for this driver.
        """
        ...
