"""Logs the state of the daemon once an hour, so that every hour of the log says what is wrong.

With one endpoint, the report is one line. With several endpoints, there is one line about the devices, and one line for
each endpoint about its deliveries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import structlog

from agent.status.model import DeviceStatus, EndpointStatus, Snapshot
from agent.status.words import in_words

log = structlog.get_logger(__name__)

EVERY_S = 3600.0


class HourlyReport:
    """Writes the reports. A report counts the attempts since the previous report."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._outcomes: dict[str, Counter[str]] = {}
        """Name of the endpoint → the counts of its outcomes at the last report."""

    def reconfigure(self, before: Mapping[str, str]) -> None:
        """Keep the counts of the endpoints that continue after a reload. `before`: new name → old name."""
        self._outcomes = {name: self._outcomes[old] for name, old in before.items() if old in self._outcomes}

    def begin(self, now: float) -> bool:
        """Return whether a report is due at monotonic second `now`.

        If so, the caller must `write` it, and the next hour begins now.
        """
        due = now - self._last >= EVERY_S
        if due:
            self._last = now
        return due

    def write(self, snapshot: Snapshot) -> None:
        """Log the report. A line that reports a problem has the level warning."""
        counted = {each.name: Counter(each.outcomes) for each in snapshot.endpoints}
        since = {name: outcomes - self._outcomes.get(name, Counter()) for name, outcomes in counted.items()}
        self._outcomes = counted
        lost = [device for device in snapshot.devices if device.state == "lost"]
        partial = [device for device in snapshot.devices if device.state == "partial"]
        devices = _devices(snapshot, lost, partial)
        if len(snapshot.endpoints) == 1:
            (endpoint,) = snapshot.endpoints
            well = snapshot.ready and not lost and not partial
            _log("report", well, devices | _delivery(endpoint, since[endpoint.name]))
            return
        _log("report", not lost and not partial, devices)
        for endpoint in snapshot.endpoints:
            said = {"endpoint": endpoint.name, **_delivery(endpoint, since[endpoint.name])}
            _log("endpoint_report", endpoint.reason is None, said)


def _log(event: str, well: bool, said: dict[str, Any]) -> None:  # noqa: FBT001 - decides the level
    (log.info if well else log.warning)(event, **said)


def _devices(snapshot: Snapshot, lost: list[DeviceStatus], partial: list[DeviceStatus]) -> dict[str, Any]:
    answering = sum(device.answers for device in snapshot.devices)
    said: dict[str, Any] = {"answering": f"{answering} of {len(snapshot.devices)}"}
    if lost:
        said["lost"] = "; ".join(f"{each.name} for {in_words(each.lost_s or 0)}: {each.reason}" for each in lost)
    if partial:
        said["partial"] = "; ".join(f"{each.name}: {each.reason}" for each in partial)
    return said


def _delivery(endpoint: EndpointStatus, since: Counter[str]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "delivered": since["delivered"],
        "failed": since["retry"] + since["misconfigured"],
        "refused": since["refused"],
        "waiting": endpoint.backlog.waiting,
        "parked": endpoint.backlog.parked,
    }
    if endpoint.reason:
        said["not_pushing"] = endpoint.reason
    return said
