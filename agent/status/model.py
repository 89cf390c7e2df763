"""The state of the daemon at one moment, as plain values for page, metrics and terminal.

`Snapshot` holds no secret. Powers are those of this moment, with the signs of the contract: `[push.sign]` changes only
what is sent. The energies of the day of a node are those of the last push that contained the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.aggregation import Fields
from agent.delivery import RecordedAttempt
from agent.outbox import Backlog


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node with its payload fields: the present values, and the energies of the day at the last push."""

    node_id: str
    type: str
    fields: Fields
    assumed: str | None = None
    """Which value replaces a power that is not measured:

    - `nominal`: the nominal power while the device is on, otherwise 0 W.
    - `asleep`: 0 W. The device does not answer or reports no power, and the node is asleep or has `when_offline`
      "zero".
    - None: the power is measured, or `fields` has no power.
    """


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device. The fields that end with `_s` are durations in seconds."""

    name: str
    driver: str
    address: str
    state: str
    """`waiting` (not polled yet), `ok`, `partial` (values are missing), `asleep` (no answer; counts 0 W) or `lost`."""
    reason: str | None
    """If the last poll failed, its error. Otherwise what the last poll could not read; None if it read everything, and
    before the first poll."""
    lost_s: float | None
    """Seconds since the first failed poll after the last answer; None if the last poll did not fail."""
    age_s: float | None
    """Seconds since the last answer; None before the first answer."""
    polls: int
    failed_polls: int
    errors: Mapping[str, int]
    """Kind of error → number of failed polls."""
    poll_s: float | None
    """Duration of the last answered poll in seconds; None before the first answer."""
    answered: int
    """The number of answered polls."""
    answered_s: float
    """Total duration of the `answered` polls in seconds."""
    nodes: tuple[NodeStatus, ...]
    interval_s: float = 0.0
    """The configured seconds between two polls."""
    cycle_s: float | None = None
    """Seconds between two polls if the link is too slow for `interval_s`; otherwise None."""
    skipped: int = 0
    """Polls that were due and were not made."""

    @property
    def answers(self) -> bool:
        """Whether the device answered its last poll."""
        return self.state in ("ok", "partial")


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One link, to a device or a gateway."""

    address: str
    devices: int
    load: float | None
    """The share of the time in which the link is busy. Above 1, the link is too slow for its devices.

    Each device that answered its last poll adds the duration of this poll divided by `interval_s`. None if no device
    answered its last poll.
    """


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """Delivery to one endpoint."""

    name: str
    url: str
    """Only scheme, host and port."""
    interval_s: int
    reason: str | None
    """Why the endpoint is not ready; None while messages arrive there in time."""
    failing_s: float | None
    """Seconds since attempts began to fail; None if they do not fail."""
    delivered_s: float | None
    """Seconds since the last delivery; None before the first delivery."""
    outcomes: Mapping[str, int]
    """Outcome → number of attempts since the start of the daemon."""
    recent: tuple[RecordedAttempt, ...]
    """The last attempts, newest first."""
    backlog: Backlog
    superseded: int = 0
    """Live messages that a newer tick replaced before their first attempt, while the endpoint was well."""
    behind: str | None = None
    """Why live messages are late although attempts succeed; None if they are not late."""
    next_attempt_s: float | None = None
    """The next attempt begins in at most this many seconds. None while the endpoint is well."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state. `time` is in Unix seconds."""

    version: str
    site: str
    time: float
    uptime_s: float
    ready: bool
    reason: str | None
    """Why the daemon is not ready: the reasons of its endpoints (`reason_of_all`); None if it is ready."""
    clock: str
    """`synchronised`, `unsynchronised` (its time is used nevertheless) or `waiting` (new messages of at least one
    endpoint wait for the clock: they are stored, but not sent)."""
    flow: Mapping[str, Fields]
    """Group → its fields, for the groups that have nodes."""
    devices: tuple[DeviceStatus, ...]
    endpoints: tuple[EndpointStatus, ...]
    """The enabled endpoints, in the order of the configuration."""
    clock_reason: str | None = None
    """Why the clock is not synchronised, and what follows from this, in words; None if it is synchronised."""
    links: tuple[LinkStatus, ...] = ()
    """By load, the busiest first."""
    implausible: Mapping[str, int] = field(default_factory=dict)
    """Node id → number of invalid readings."""
    energies_in_memory: bool = False
    """Whether energies are only in memory because the disk accepts no writes."""
    not_on_disk: str | None = None
    """Which data are only in memory because the disk accepts no writes, in words; None if all are on the disk."""
    no_balance: str | None = None
    """Why the energies of the day have no balance (`agent.status.balance`), in words.

    None if they have one, or if no group in `flow` is of a type with counters (grid, solar, storage).
    """
    counter_events: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Node id → number of counter events by kind: "reset", "replaced", "rolled_over", "glitch_removed"."""
