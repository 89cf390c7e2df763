"""Judges whether a link holds the intervals of its devices. Logs one event when it does not, one when it does again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from agent.polling.device import Device

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
    """The missed due times of one device."""

    count: int
    interval_s: float
    """The time between two due times."""
    since: float

    def judged(self, now: float) -> bool:
        """Whether enough time has passed for a judgement."""
        return now - self.since >= max(JUDGE_S, LEAST_INTERVALS * self.interval_s)

    def cycle_s(self, now: float) -> float:
        """The time between two polls that were made."""
        passed_s = now - self.since
        return passed_s / max(1.0, passed_s / self.interval_s - self.count)


class LinkPace:
    """Counts the due times that pass while a link is busy, and judges the link every `JUDGE_S`."""

    def __init__(self, address: str, now: float) -> None:
        self._address = address
        self.judge_at = now + JUDGE_S
        """The next judgement, in monotonic seconds."""
        self._missed: dict[Device, _Missed] = {}
        self._behind = False

    def missed(self, device: Device, count: int, interval_s: float, now: float) -> None:
        """`count` due times of `device` passed while it waited for its poll, or while it was polled."""
        missed = self._missed.get(device)
        if missed is None:
            self._missed[device] = _Missed(count, interval_s, now - count * interval_s)
        else:
            missed.count += count

    def judge(self, devices: Iterable[Device], now: float) -> None:
        """Judge the link. The caller calls this at `judge_at` or later."""
        self.judge_at = now + JUDGE_S
        if not self._missed and not self._behind:
            return
        worst, most = None, 1.0
        waiting, self._missed = self._missed, {}
        for device in devices:
            missed = waiting.get(device)
            if missed is not None and not missed.judged(now):
                self._missed[device] = missed
                continue
            cycle_s = 0.0 if missed is None else missed.cycle_s(now)
            times = cycle_s / device.interval_s
            device.health.cycle_s = cycle_s if times > BEHIND else None
            if times > most:
                worst, most = device, times
        if worst is not None and most > BEHIND and not self._behind:
            self._behind = True
            log.warning(
                "poll_interval_missed",
                address=self._address,
                device=worst.name,
                interval_s=worst.interval_s,
                cycle_s=round(most * worst.interval_s, 1),
            )
        elif self._behind and most <= IN_TIME and not self._missed:
            self._behind = False
            log.info("poll_interval_held", address=self._address)
