"""An hourly line with the state of the daemon, so that any hour of the log says what is wrong, and since when."""

from __future__ import annotations

from collections import Counter
from typing import Any

import structlog

from agent.status.model import DeviceStatus, Snapshot
from agent.status.words import in_words

log = structlog.get_logger(__name__)

EVERY_S = 3600.0


class HourlyReport:
    """Counts since the last report. There is one for the life of the daemon."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._outcomes: Counter[str] = Counter()

    def due(self, now: float) -> bool:
        """Whether an hour has passed at monotonic second `now`."""
        return now - self._last >= EVERY_S

    def write(self, snapshot: Snapshot, now: float) -> None:
        """Log the line; it is a warning while something is wrong."""
        outcomes = Counter(snapshot.push.outcomes)
        since = outcomes - self._outcomes
        self._last, self._outcomes = now, outcomes
        lost = [device for device in snapshot.devices if device.state == "lost"]
        partial = [device for device in snapshot.devices if device.state == "partial"]
        well = snapshot.ready and not lost and not partial
        (log.info if well else log.warning)("report", **_said(snapshot, since, lost, partial))


def _said(
    snapshot: Snapshot, since: Counter[str], lost: list[DeviceStatus], partial: list[DeviceStatus]
) -> dict[str, Any]:
    answering = sum(device.state in ("ok", "partial") for device in snapshot.devices)
    said: dict[str, Any] = {"answering": f"{answering} of {len(snapshot.devices)}"}
    if lost:
        said["lost"] = "; ".join(f"{each.name} for {in_words(each.lost_s or 0)}: {each.reason}" for each in lost)
    if partial:
        said["partial"] = "; ".join(f"{each.name}: {each.reason}" for each in partial)
    said |= {
        "delivered": since["delivered"],
        "failed": since["retry"] + since["misconfigured"],
        "refused": since["refused"],
        "waiting": snapshot.backlog.waiting,
        "parked": snapshot.backlog.parked,
    }
    if snapshot.reason:
        said["not_pushing"] = snapshot.reason
    return said
