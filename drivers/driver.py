"""The interfaces `Driver` and `Reader`, the options of a driver, and the table of the Python drivers.

A driver reads registers of one unit and returns a `Scan`. The link handles connections and time-outs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.errors import ProfileError
from drivers.model import Kind, NodeType, Quantity, Resolution, Scan, Table, WordOrder
from drivers.protocol import TRANSPORTS


class Reader(Protocol):
    """One unit id on one link. There is only `read`, so that no driver can write."""

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """Return the values of `count` registers (each 0..65535) or bits (each 0 or 1).

        `address` is the zero-based protocol address of the first one.

        Raises a DriverError. `drivers.errors` says what the caller must do for each type.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read one device. For the first three options, None means the value of the profile."""

    max_registers: int | None = None
    """Maximum number of registers in one request. If the profile has no value either, 125."""
    max_gap: int | None = None
    """Maximum number of unused registers between two used ones in one request."""
    word_order: WordOrder | None = None
    default_max_gap: int = TRANSPORTS["tcp"].max_gap
    """The `max_gap` of the transport, used if neither `max_gap` nor the profile has a value."""
    nodes: frozenset[NodeType] | None = None
    """For a hybrid: the node types that the site uses. None means all. A scan has no readings of other node types, but
    the driver may read their registers."""

    def uses(self, node: NodeType | None) -> bool:
        """Whether the site uses readings of this node type. Readings without a node are always used."""
        return self.nodes is None or node is None or node in self.nodes


@dataclass(frozen=True, slots=True)
class LinkDefaults:
    """Link settings that a device family needs; None if it needs no special value. The keys of a device in the
    configuration override them."""

    timeout_s: float | None = None
    connect_delay_s: float | None = None
    request_gap_s: float | None = None
    unit_id: int | None = None
    port: int | None = None
    sleeps: bool = False
    """Whether the device runs on solar power and does not answer at night. Its solar node then counts 0 W."""


class Driver(Protocol):
    """Reads one device. From poll to poll, it keeps facts about the device, such as refused addresses, but no
    readings."""

    @property
    def kind(self) -> Kind: ...

    @property
    def nodes(self) -> frozenset[NodeType]:
        """For a hybrid: the node types that it feeds. Empty for devices with one node."""
        ...

    @property
    def defaults(self) -> LinkDefaults: ...

    @property
    def resolutions(self) -> Mapping[tuple[NodeType | None, Quantity], Resolution]:
        """Node type (or None, as in `Reading.node`) and quantity → resolution of the total of all phases.

        Only resolutions that are known before the first poll are included.
        """
        ...

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """Read all points once. `now` returns monotonic seconds; they become the times of the readings.

        If the device refuses some registers, their readings are missing, and `Scan.errors` has the reason. A driver can
        omit the reason if the registers are optional or have a fallback.

        Raises UnreachableError if the device or the link fails; the readings of this poll are then discarded. Can raise
        RefusedError or UnsupportedError if this driver cannot read anything from the device.
        """
        ...


PYTHON_DRIVERS = {
    "sunspec": "drivers.sunspec.driver:SunSpec",
    "sunspec-meter": "drivers.sunspec.driver:SunSpecMeter",
    "solaredge": "drivers.sunspec.solaredge:SolarEdge",
}
"""The drivers that are Python classes, not profiles: name → "module:class". A class is imported when its driver is
created."""
PYTHON_CHANNELS = {"sunspec-meter": 9}
"""Driver name → number of channels. `NAME:2` reads the second channel of a device."""


def channel_number(family: str, channel: str, count: int) -> int:
    """Convert `channel` to a number. Raises ProfileError if it is not a number from 1 to `count`."""
    if not count:
        raise ProfileError(f"{family} has no channels (found {f'{family}:{channel}'!r})")
    if not (channel.isascii() and channel.isdecimal() and 1 <= int(channel) <= count):
        raise ProfileError(f"{family}: the channel must be 1..{count} (found {f'{family}:{channel}'!r})")
    return int(channel)
