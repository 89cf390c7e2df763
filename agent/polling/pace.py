"""Judges whether a link holds the intervals of its devices. Logs one event when it does not, one when it does again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import structlog

from agent.polling.device import Device
from agent.polling.device_health import DeviceHealth

log = structlog.get_logger(__name__)

JUDGE_S = 60.0
"""A device is judged this many seconds after its first missed due time, but not before `LEAST_INTERVALS` intervals."""
LEAST_INTERVALS = 5
BEHIND = 1.25
"""A link is behind if a device is polled this many times less often than its interval says. The probes of a device that
has just failed delay the others of its link less than that."""
IN_TIME = 1.02
"""A link is in time again if each device is polled nearly as often as its interval says."""


@dataclass(slots=True)
class _Missed:
    """A device that misses due times."""

    since: float
    """When the device answered the poll before the first missed due time, in monotonic seconds."""
    polls: int
    """`DeviceHealth.polls` at this time."""

    def judged(self, device: Device, now: float) -> bool:
        """Whether enough time has passed for a judgement, and the device was polled again."""
        enough_s = max(JUDGE_S, LEAST_INTERVALS * device.interval_s)
        return now - self.since >= enough_s and device.health.polls > self.polls

    def cycle_s(self, health: DeviceHealth) -> float:
        """The mean time between two polls that were made."""
        return ((health.last_answer or self.since) - self.since) / (health.polls - self.polls)


class LinkPace:
    """Measures how often the devices are polled that miss due times, and judges the link every `JUDGE_S`.

    A device that does not answer says nothing about its link.
    """

    def __init__(self, address: str, now: float) -> None:
        self._address = address
        self.judge_at = now + JUDGE_S
        """The next judgement, in monotonic seconds."""
        self._missed: dict[Device, _Missed] = {}
        self._behind = False

    def missed(self, device: Device) -> None:
        """A due time of `device` passed while it waited for its poll, or while it was polled."""
        health = device.health
        if device not in self._missed and not health.failures and health.last_answer is not None:
            self._missed[device] = _Missed(health.last_answer, health.polls)

    def judge(self, devices: Iterable[Device], now: float) -> None:
        """Judge the link. The caller calls this at `judge_at` or later."""
        self.judge_at = now + JUDGE_S
        if not self._missed and not self._behind:
            return
        worst, most = None, BEHIND
        in_time = late = False
        waiting, self._missed = self._missed, {}
        for device in devices:
            health, missed = device.health, waiting.get(device)
            if health.failures:
                health.cycle_s = None
                continue
            well_since = -inf if health.back_since is None else health.back_since
            if well_since > (now - JUDGE_S if missed is None else missed.since):
                continue
            if missed is not None and not missed.judged(device, now):
                self._missed[device] = missed
                continue
            cycle_s = 0.0 if missed is None else missed.cycle_s(health)
            times = cycle_s / device.interval_s
            health.cycle_s = cycle_s if times > BEHIND else None
            in_time = in_time or times <= IN_TIME
            late = late or times > IN_TIME
            if times > most:
                worst, most = device, times
        self._tell(worst, in_time=in_time and not late and not self._missed)

    def _tell(self, worst: Device | None, *, in_time: bool) -> None:
        if worst is not None and not self._behind:
            self._behind = True
            log.warning(
                "poll_interval_missed",
                address=self._address,
                device=worst.name,
                interval_s=worst.interval_s,
                cycle_s=round(worst.health.cycle_s or 0.0, 1),
            )
        elif self._behind and in_time:
            self._behind = False
            log.info("poll_interval_held", address=self._address)
