"""Polls the devices of one link in turn, so that no device delays the others.

- A round polls the devices that are due: grid meters first, then those with the shortest interval. Devices whose last
  poll was slow come after these. The lost devices whose back-off has ended are probed last, grid meters first. The
  first probe that fails ends the round, so that all lost devices together cost one time-out per round.
- A device that becomes due during a round waits for the next round. But if it is not lost, and its rank (`Device.rank`)
  comes before that of the next device of the round, it is polled before that device. After it, a device of the round is
  polled. So a link that is too slow for all its devices can still poll a grid meter at its interval, and polls the
  other devices in turn.
- If the next due time of a device passes before its poll is complete, the device misses this due time.
  `agent.polling.pace` decides when a link misses too many.
- If all devices of a link were lost, the first answer shows that the link works again. The other devices are then
  polled in the same round.
- A pass is a task that polls the devices of a round in turn. If a poll takes longer than the `patience_s` of its
  device, a new pass begins at once and polls the rest of the round, while the slow poll continues. The requests of both
  alternate on the link. The earlier pass polls no other device: it ends when its slow poll ends.
- A device that is alone on its link is polled when it is due, without rounds and passes. While it is lost, it is polled
  only if its back-off has ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from agent.domain import Night
from agent.polling.device import Connection, Device, PollListener
from agent.polling.device_poller import DevicePoller
from agent.polling.in_time import in_time
from agent.polling.pace import LinkPace
from agent.runtime import Clock
from drivers.errors import ConnectError, LinkError


class LinkWorker:
    """The task of one link, and the devices that wait for their poll."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        listener: PollListener,
        nights: Mapping[str, Night],
    ) -> None:
        self.link = connection.link
        self.address = connection.address
        self.devices = connection.devices
        self._clock = clock
        self._listener = listener
        self._device_poller = DevicePoller(clock, listener, nights, lambda device: device in self.devices)
        self._pace = LinkPace(connection.address, clock.monotonic())
        self._task: asyncio.Task[None] | None = None
        self._open: dict[Device, None] = {}
        """The devices that are due and have not answered or failed yet, including those that are polled now."""
        self._waiting: dict[Device, None] = {}
        """The devices of `_open` that are not in a round yet."""
        self._futures: dict[asyncio.Future[None], set[Device]] = {}
        """Each future is done when none of its devices is in `_open` any more."""
        self._woken = False
        """Set when a device becomes due. The task clears it."""
        self._idle: asyncio.Future[None] | None = None
        """What the task awaits while no device is due."""
        self._polling: dict[asyncio.Task[None], Device] = {}
        """Pass → the device that it polls, for the present pass and earlier ones whose slow poll still continues."""
        self._pass: asyncio.Task[None] | None = None
        """The present pass; None between rounds."""
        self._patient_until: float
        """The end of the `patience_s` of the device that is polled now, in the time of the event loop."""
        self._polled_urgent = False
        """Whether the last device was polled because of its rank, before a device of the round."""

    def start(self, group: asyncio.TaskGroup) -> None:
        self._task = self._task or group.create_task(self._run())

    async def end(self) -> None:
        """Stop the task, complete all futures, and close the link."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for device in list(self._open):
            self._finish(device)
        await self.link.close()

    def replace(self, devices: tuple[Device, ...]) -> None:
        """Poll these devices from now on. If a removed device is being polled, the result of its poll is ignored."""
        self.devices = devices
        for device in [device for device in self._waiting if device not in devices]:
            del self._waiting[device]
            self._finish(device)

    def due(self, devices: Iterable[Device], count: int, now: float) -> None:
        """Poll each of these devices once, unless it still waits for its poll or is being polled.

        `count` due times of each device have passed since the last call. Those without a poll are counted as skipped.
        """
        for device in devices:
            skipped = count - 1
            if device not in self._open:
                self._open[device] = self._waiting[device] = None
            else:
                skipped = count
                self._pace.missed(device)
            if skipped:
                device.health.skipped += skipped
                self._listener.skipped(device, skipped)
        self._wake()
        if now >= self._pace.check_at:
            self._pace.check(self.devices, now)

    def request(self) -> asyncio.Future[None]:
        """Poll all devices now. Return a future that is done when each has answered or failed. See `Poller.request`."""
        for device in self.devices:
            if device not in self._open:
                self._open[device] = self._waiting[device] = None
        self._wake()
        return self._future(self._open)

    def answers(self, within_s: float) -> asyncio.Future[None] | None:
        """Return a future that is done when the devices that are due have answered or failed.

        Devices that the link can probably not poll within `within_s` seconds do not count. Return None if no device is
        left.
        """
        devices = in_time(self._open, within_s)
        return self._future(devices) if devices else None

    def end_overdue(self) -> None:
        self._device_poller.end_overdue()

    def in_progress(self) -> Iterator[tuple[str, float]]:
        return self._device_poller.in_progress()

    def _future(self, devices: Iterable[Device]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[future] = set(devices)
        self._complete()
        return future

    def _finish(self, device: Device) -> None:
        """Remove the device from `_open`, because it answered or failed, or is not polled any more."""
        del self._open[device]
        if self._futures:
            for devices in self._futures.values():
                devices.discard(device)
            self._complete()

    def _complete(self) -> None:
        for future in [future for future, devices in self._futures.items() if not devices or future.done()]:
            del self._futures[future]
            if not future.done():
                future.set_result(None)

    def _wake(self) -> None:
        self._woken = True
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                if not self._woken:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
                self._woken = False
                if len(self.devices) != 1:
                    await self._round(group)
                    continue
                (device,) = self.devices  # there is no other device that it could delay
                if device not in self._waiting:
                    # The device became due while it was polled. Or a reload removed the other devices, and an earlier
                    # pass still polls this one.
                    continue
                del self._waiting[device]
                if device.health.failures and device.health.due > (now := self._clock.monotonic()):
                    self._missed(device, now)
                else:
                    await self._device_poller.poll(device)
                self._finish(device)

    def _missed(self, device: Device, now: float) -> None:
        self._listener.missed(device, device.health.error or LinkError("not asked"), now)

    async def _round(self, group: asyncio.TaskGroup) -> None:
        """Poll the waiting devices. Report the lost ones that are not polled to the listener."""
        waiting, self._waiting = self._waiting, {}
        now = self._clock.monotonic()
        well = sorted(
            (device for device in waiting if not device.health.failures),
            key=lambda device: (device.health.slow, device.rank),
        )
        lost = {device: None for device in waiting if device.health.failures}
        due = sorted(
            (device for device in lost if device.health.due <= now),
            key=lambda device: (not device.measures_grid, device.health.due),
        )
        order = deque((*well, *due))
        shortest_s = min((device.patience_s for device in waiting), default=0.0)
        all_lost = {device: device.health.failures for device in self.devices}
        if not all(all_lost.values()):
            all_lost.clear()
        while order:
            this_pass = self._pass = group.create_task(self._poll_in_turn(order, lost, all_lost))
            await self._wait_for_pass(this_pass, shortest_s)
        self._pass = None
        for device in lost:
            if device in self.devices:  # a reload can have removed the device
                self._missed(device, now)
            self._finish(device)

    async def _wait_for_pass(self, this_pass: asyncio.Task[None], step_s: float) -> None:
        """Wait until the pass ends, or the poll of a device takes longer than its `patience_s`. Mark that device slow.

        Check at least every `step_s` seconds, because each device of the pass has its own `patience_s`.
        """
        loop = asyncio.get_running_loop()
        self._patient_until = loop.time() + step_s  # the pass replaces it at its first device
        while not this_pass.done() and (left_s := self._patient_until - loop.time()) > 0:
            await asyncio.wait({this_pass}, timeout=min(left_s, step_s))
        if device := self._polling.get(this_pass):  # None if the pass has ended
            device.health.slow = True

    async def _poll_in_turn(self, order: deque[Device], lost: dict[Device, None], all_lost: dict[Device, int]) -> None:
        """Poll the devices in `order` until one takes longer than its `patience_s`. This is a pass.

        `lost` are the lost devices of the round that are not polled yet. The polled ones are removed from it.

        If all devices of the link were lost at the start of the round, `all_lost` has the number of failed polls of
        each device until then. Otherwise `all_lost` is empty. After the first answer in the round, the devices that are
        not polled yet are added to the round, and `all_lost` is emptied.
        """
        loop = asyncio.get_running_loop()
        this_pass = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while order and self._pass is this_pass:
                device = self._polling[this_pass] = self._next(order)
                probe = device in lost
                lost.pop(device, None)
                if device not in self.devices:
                    self._finish(device)  # removed by a reload
                    continue
                device.health.slow = False
                self._patient_until = loop.time() + device.patience_s
                error = await self._device_poller.poll(device)
                self._finish(device)
                if self._pass is not this_pass:
                    return
                if isinstance(error, ConnectError):
                    # The link cannot be opened, so no other device can be reached in this round.
                    while order:
                        lost.pop(other := order.popleft(), None)
                        self._device_poller.failed(other, error)
                        self._finish(other)
                elif error is not None and probe:
                    order.clear()
                elif error is None:
                    self._add_lost(order, lost, all_lost)
        finally:
            self._polling.pop(this_pass, None)

    def _add_lost(self, order: deque[Device], lost: dict[Device, None], all_lost: dict[Device, int]) -> None:
        """Add the `all_lost` devices that are not polled yet to the round, sorted by rank. Empty `all_lost`."""
        for device in sorted(all_lost, key=lambda device: device.rank):
            polled = device.health.failures != all_lost[device] or device in self._polling.values()
            if device in self.devices and device not in order and not polled:
                self._waiting.pop(device, None)
                self._open[device] = lost[device] = None
                order.append(device)
        all_lost.clear()

    def _next(self, order: deque[Device]) -> Device:
        """Return the next device of the round, or a waiting device that is to be polled before it."""
        if self._waiting and not self._polled_urgent:
            well = (device for device in self._waiting if not device.health.failures)
            urgent = min(well, key=lambda device: device.rank, default=None)
            if urgent is not None and urgent.rank < order[0].rank:
                self._polled_urgent = True
                del self._waiting[urgent]
                return urgent
        self._polled_urgent = False
        return order.popleft()
