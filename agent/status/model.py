"""The state of the daemon at one moment, as plain values for page, metrics and terminal.

`Snapshot` holds no secret. Of the URL of each endpoint, it has only scheme, host and port. Powers are those of this
moment, with the signs of the contract (`[push.sign]` changes only what is sent). Energies of the day are those of the
last push.
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
    """Why the power is not measured: `nominal` (the device reports only whether it is on) or `asleep` (0 W).

    None if the power is measured, or if `fields` has no power.
    """


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device. The fields that end with `_s` are durations in seconds."""

    name: str
    driver: str
    address: str
    state: str
    """`waiting` (not polled yet), `ok`, `partial` (values are missing), `asleep` (expected not to answer) or `lost`."""
    reason: str | None
    """The error of the last poll if this poll failed, otherwise what the poll could not read; None if it read all."""
    lost_s: float | None
    """Seconds since the first failed poll after the last answer. None if the last poll was answered."""
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
    """Seconds between two polls on a link that is too slow for the interval; otherwise None."""
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
    """The share of the time that the polls of the answering devices need. Above 1, the link is too slow.

    For each device, the duration of its last poll is divided by its interval; the load is the sum. None if no device
    answers.
    """


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """Delivery to one endpoint."""

    name: str
    url: str
    """Only scheme, host and port."""
    interval_s: int
    reason: str | None
    """Why the endpoint is not ready; None while messages arrive there."""
    failing_s: float | None
    """Seconds since attempts began to fail; None if they do not fail."""
    delivered_s: float | None
    """Seconds since the last delivery; None before the first delivery."""
    outcomes: Mapping[str, int]
    """Outcome → number of attempts since the start."""
    recent: tuple[RecordedAttempt, ...]
    """The last attempts, newest first."""
    backlog: Backlog
    superseded: int = 0
    """Live messages that a newer push replaced before their first attempt."""
    behind: str | None = None
    """Why live messages are late although attempts succeed; None if they are not late."""
    next_attempt_s: float | None = None
    """The next attempt begins in at most this many seconds. None while the endpoint is well."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state; `time` in Unix seconds."""

    version: str
    site: str
    time: float
    uptime_s: float
    ready: bool
    reason: str | None
    """Why the daemon is not ready, with the names of the endpoints if there are several; None if it is ready."""
    clock: str
    """`synchronised`, `unsynchronised` (used as it is) or `waiting` (nothing is sent before the clock is trusted)."""
    flow: Mapping[str, Fields]
    """Group → its fields, for the groups that have nodes."""
    devices: tuple[DeviceStatus, ...]
    endpoints: tuple[EndpointStatus, ...]
    """The enabled endpoints, in the order of the configuration."""
    clock_reason: str | None = None
    """Why the clock is not synchronised, and what this means, in words; None if it is synchronised."""
    links: tuple[LinkStatus, ...] = ()
    """By load, the busiest first."""
    implausible: Mapping[str, int] = field(default_factory=dict)
    """Node id → number of readings outside the physical range."""
    energies_in_memory: bool = False
    """Whether energies are only in memory because the disk accepts no writes."""
    not_on_disk: str | None = None
    """What is only in memory because the disk accepts no writes, in words; None if nothing is."""
    no_balance: str | None = None
    """Why the energies of the day have no balance (`agent.status.balance`), in words.

    None if they have one, or if no group in `flow` is of a type with counters (grid, solar, storage).
    """
    counter_events: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Node id → number of counter events by kind: "reset", "replaced", "rolled_over", "glitch_removed"."""
