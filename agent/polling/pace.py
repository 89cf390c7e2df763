"""Checks whether a link is fast enough for the intervals of its devices. Logs when it becomes too slow, and when it is
fast enough again.

The cycle of a device is the mean time between two of its polls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import structlog

from agent.polling.device import Device
from agent.polling.device_health import DeviceHealth

log = structlog.get_logger(__name__)

CHECK_S = 60.0
"""Seconds between two checks of a link. A cycle is measured for at least this many seconds."""
LEAST_INTERVALS = 5
"""A cycle is also measured for at least this many intervals of its device."""
TOO_SLOW = 1.25
"""A link is too slow if the cycle of a device is more than this many times the interval of the device. The factor
leaves room for failed polls, which lengthen the cycles of the other devices of the link."""
FAST_ENOUGH = 1.02
"""A link is fast enough again if the cycle of each device is at most this many times the interval of the device."""


@dataclass(slots=True)
class _Missed:
    """The measurement of the cycle of a device that misses due times."""

    since: float
    """Monotonic second of the last answer before the first missed due time."""
    polls: int
    """`DeviceHealth.polls` at that answer."""

    def is_complete(self, device: Device, now: float) -> bool:
        """Whether the measurement is long enough, and the device was polled in it."""
        enough_s = max(CHECK_S, LEAST_INTERVALS * device.interval_s)
        return now - self.since >= enough_s and device.health.polls > self.polls

    def cycle_s(self, health: DeviceHealth) -> float:
        return ((health.last_answer or self.since) - self.since) / (health.polls - self.polls)


class LinkPace:
    """Measures the cycles of the devices that miss due times, and checks the link every `CHECK_S` seconds.

    A device that does not answer is left out, because its polls say nothing about the speed of its link.
    """

    def __init__(self, address: str, now: float) -> None:
        self._address = address
        self.check_at = now + CHECK_S
        """Monotonic second of the next check."""
        self._missed: dict[Device, _Missed] = {}
        self._too_slow = False

    def missed(self, device: Device) -> None:
        """Note that a due time of `device` passed while the device waited for its poll, or was polled."""
        health = device.health
        if device not in self._missed and not health.failures and health.last_answer is not None:
            self._missed[device] = _Missed(health.last_answer, health.polls)

    def check(self, devices: Iterable[Device], now: float) -> None:
        """Check the link, and log it if it became too slow or fast enough. Call this at `check_at` or later."""
        self.check_at = now + CHECK_S
        if not self._missed and not self._too_slow:
            return
        worst, most = None, TOO_SLOW
        in_time = late = False
        measured, self._missed = self._missed, {}
        for device in devices:
            health, missed = device.health, measured.get(device)
            if health.failures:
                health.cycle_s = None
                continue
            # Skip a device that was lost after its measurement began. Without a measurement, skip it if it was lost in
            # the last `CHECK_S` seconds.
            well_since = -inf if health.back_since is None else health.back_since
            if well_since > (now - CHECK_S if missed is None else missed.since):
                continue
            if missed is not None and not missed.is_complete(device, now):
                self._missed[device] = missed
                continue
            cycle_s = 0.0 if missed is None else missed.cycle_s(health)  # 0: the device missed no due time
            times = cycle_s / device.interval_s
            health.cycle_s = cycle_s if times > TOO_SLOW else None
            in_time = in_time or times <= FAST_ENOUGH
            late = late or times > FAST_ENOUGH
            if times > most:
                worst, most = device, times
        self._tell(worst, in_time=in_time and not late and not self._missed)

    def _tell(self, worst: Device | None, *, in_time: bool) -> None:
        if worst is not None and not self._too_slow:
            self._too_slow = True
            log.warning(
                "poll_interval_missed",
                address=self._address,
                device=worst.name,
                interval_s=worst.interval_s,
                cycle_s=round(worst.health.cycle_s or 0.0, 1),
            )
        elif self._too_slow and in_time:
            self._too_slow = False
            log.info("poll_interval_held", address=self._address)
