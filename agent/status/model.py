"""The state of the daemon at one moment, as plain values for page, metrics and terminal.

`Snapshot` holds no secret: it has only scheme, host and port of the endpoint's URL. Powers are those of this moment,
with the contract's signs ([push.sign] changes only what is sent). Energies of the day are those of the last push.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.aggregation import Fields
from agent.delivery import RecordedAttempt
from agent.outbox import Backlog


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node with the present values of the contract's fields."""

    node_id: str
    type: str
    fields: Fields
    assumed: str | None = None
    """Why the power is not measured: `nominal` (the device reports only whether it is on) or `asleep` (0 W)."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device. Seconds are durations."""

    name: str
    driver: str
    address: str
    state: str
    """`waiting` (not polled yet), `ok`, `partial` (a part is missing), `asleep` (expected not to answer) or `lost`."""
    reason: str | None
    lost_s: float | None
    age_s: float | None
    """Seconds since the last answer; None before the first answer."""
    polls: int
    failed_polls: int
    errors: Mapping[str, int]
    poll_s: float | None
    """Duration of the last answered poll in seconds."""
    answered: int
    answered_s: float
    """Total duration of the `answered` polls in seconds."""
    nodes: tuple[NodeStatus, ...]
    interval_s: float = 0.0
    """The configured seconds between two polls."""
    cycle_s: float | None = None
    """Seconds between two polls on a link that is too slow for the interval; otherwise None."""
    skipped: int = 0
    """Polls that were due and were not made."""

    @property
    def answers(self) -> bool:
        """Whether the device answered its last poll."""
        return self.state in ("ok", "partial")


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One connection to a device or gateway."""

    address: str
    devices: int
    load: float | None
    """The share of the time that the polls of the answering devices need, from the duration of the last poll of each
    device. Above 1, the connection is too slow. None if no device answers."""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """Delivery to one endpoint."""

    name: str
    url: str
    """Only scheme, host and port."""
    interval_s: int
    reason: str | None
    """Why it is not ready; None while messages arrive."""
    failing_s: float | None
    delivered_s: float | None
    """Seconds since the last delivery; None before the first delivery."""
    outcomes: Mapping[str, int]
    recent: tuple[RecordedAttempt, ...]
    """Newest first."""
    backlog: Backlog
    superseded: int = 0
    """Live messages that a newer push replaced before their first attempt."""
    behind: str | None = None
    """Why live messages are late though the endpoint is well."""
    next_attempt_s: float | None = None
    """Seconds until the next attempt, at the latest; None while the endpoint is well."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state; `time` in Unix seconds."""

    version: str
    site: str
    time: float
    uptime_s: float
    ready: bool
    reason: str | None
    """Why it is not ready, with the names of the endpoints if there are several."""
    clock: str
    """`synchronised`, `unsynchronised` (used as it is) or `waiting` (nothing is sent before it is set)."""
    flow: Mapping[str, Fields]
    """The groups of the contract that have devices."""
    devices: tuple[DeviceStatus, ...]
    endpoints: tuple[EndpointStatus, ...]
    """The enabled ones, in the order of the configuration."""
    clock_reason: str | None = None
    """Why the clock is not synchronised, and what this means, in words."""
    links: tuple[LinkStatus, ...] = ()
    """By load, the busiest first."""
    implausible: Mapping[str, int] = field(default_factory=dict)
    """Readings outside the range of their device, by node."""
    energies_in_memory: bool = False
    not_on_disk: str | None = None
    """What is only in memory because the disk accepts no writes, in words."""
    no_balance: str | None = None
    """Why the energies of the day have no balance, in words; None if they have one."""
    counter_events: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Node id → number of counter events by kind: "reset", "replaced", "rolled_over", "glitch_removed"."""
