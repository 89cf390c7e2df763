"""Gives each device to the worker of its link at its due times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import inf

import structlog

from agent.polling.device import Device
from agent.polling.due_times import DueTimes, fitted, lead_s, lead_share, same_phase
from agent.polling.link_worker import LinkWorker
from agent.runtime import Clock, WakeEvent, sleep_unless

log = structlog.get_logger(__name__)

IDLE_S = 3600.0
"""Maximum seconds of one sleep."""
REPORT_S = 300.0
"""The polls that a busy process skipped are logged at most once in this many seconds."""

Batch = list[tuple[LinkWorker, list[Device]]]
"""The devices that become due at the same time, by link."""


class Schedule:
    """The due times of a site."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._push_s = 0.0
        self._anchor: float | None = None
        """Monotonic second of a tick. None before the first call of `align`."""
        self._started = False
        self._heap: list[tuple[float, int, DueTimes, Batch]] = []
        """The entry with the earliest due time is at index 0. Each entry has its own number, so that `DueTimes` are
        never compared."""
        self._changed = WakeEvent()
        self._skipped = 0
        """Number of skipped polls that the log has not reported yet."""
        self._reported = -inf
        """Monotonic second at which the log last reported skipped polls."""

    def align(self, push_s: float, at: float) -> bool:
        """Count the due times from the tick at monotonic second `at`.

        Return whether the due times move. If they do, the caller must call `use`.
        """
        if self._anchor is not None and push_s == self._push_s and same_phase(self._anchor, at, push_s):
            return False
        self._push_s, self._anchor = push_s, at
        return True

    def use(self, workers: Sequence[LinkWorker]) -> None:
        """Calculate the due times of these links. Does nothing before the first call of `align`.

        Call `release` before, because `use` forgets past due times.
        """
        if self._anchor is None:
            return
        now = self._clock.monotonic()
        batches: dict[tuple[float, float], Batch] = defaultdict(list)
        for worker in workers:
            by_interval: dict[float, list[Device]] = defaultdict(list)
            for device in worker.devices:
                by_interval[fitted(device.interval_s, self._push_s)].append(device)
            for interval_s, devices in by_interval.items():
                batches[interval_s, lead_share(worker.address, len(workers))].append((worker, devices))
        self._heap = []
        for (interval_s, share), batch in batches.items():
            due_times = DueTimes(interval_s, lead_s(share, len(workers), interval_s), self._anchor)
            due_times.take(now)
            if not self._started:
                due_times.start(now + due_times.lead_s)
            self._heap.append((due_times.next, len(self._heap), due_times, batch))
        heapify(self._heap)
        self._started = True
        self._changed.set()

    @property
    def next_due(self) -> float:
        """The next due time, in monotonic seconds; infinite without devices, or before the first `use`."""
        return self._heap[0][0] if self._heap else inf

    def release(self) -> None:
        """Give the devices that are due to their link workers."""
        now = self._clock.monotonic()
        skipped = 0
        while self._heap and self._heap[0][0] <= now:
            _, number, due_times, batch = self._heap[0]
            count = due_times.take(now)
            heapreplace(self._heap, (due_times.next, number, due_times, batch))
            skipped += (count - 1) * sum(len(devices) for _, devices in batch)
            for worker, devices in batch:
                worker.due(devices, count, now)
        if skipped:
            self._report(skipped, now)

    async def run(self) -> None:
        """Call `release` at each due time until cancelled."""
        while True:
            wait_s = self.next_due - self._clock.monotonic()
            await sleep_unless(self._clock, min(wait_s, IDLE_S), self._changed)
            self._changed.clear()
            self.release()

    def _report(self, skipped: int, now: float) -> None:
        self._skipped += skipped
        if now - self._reported >= REPORT_S:
            log.warning("polls_skipped", polls=self._skipped, reason="the process got no time to make them")
            self._skipped, self._reported = 0, now
