"""Polls the devices of one link in turn, so that no device delays the others.

- Devices that answered their last poll are polled first. Then the lost devices that are due are probed. The first probe
  that fails ends the round, so that dead devices cost one time-out per round.
- A device that does not answer is polled again after `BACKOFF_FIRST_S`. This time doubles up to `BACKOFF_MAX_S`. One
  answer ends the back-off. If all devices of a link were lost, the first answer shows that the link works again, and
  the other devices are polled in the same round.
- If a device answers but takes longer than its `patience_s`, its poll continues in parallel with the others. On the
  link their requests alternate.
- A round that is requested during another round starts when that one ends. Several requests give only one round.
- `agent.polling.device_poller` describes one poll and its result.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import cast

from agent.domain import Night
from agent.polling.device import Connection, Device, PollListener
from agent.polling.device_poller import DevicePoller
from agent.runtime import Clock, Watchdog
from drivers.errors import ConnectError, LinkError


class LinkWorker:
    """The task of one link, and the futures of the requested rounds."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        listener: PollListener,
        watchdog: Watchdog,
        nights: Mapping[str, Night],
    ) -> None:
        self.link = connection.link
        self.devices = connection.devices
        self._clock = clock
        self._listener = listener
        self._device_poller = DevicePoller(clock, listener, watchdog, nights, lambda device: device in self.devices)
        self._task: asyncio.Task[None] | None = None
        self._open_futures: set[asyncio.Future[None]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._polling: dict[asyncio.Task[None], Device] = {}
        """The pass of this round, and passes of earlier rounds that still poll a slow device."""
        self._pass: asyncio.Task[None] | None = None
        self._patient_until = 0.0

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start the task if it is not running yet."""
        self._task = self._task or group.create_task(self._run())

    async def end(self) -> None:
        """Stop the task, complete all futures and close the link."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._complete(tuple(self._open_futures))
        await self.link.close()

    def request(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open_futures.add(future)
        self._waiting.append(future)
        self._wanted.set()
        return future

    def end_overdue(self) -> None:
        """End the polls that take too long. The caller calls this every few seconds."""
        self._device_poller.end_overdue()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                waiting, self._waiting = self._waiting, []
                if len(self.devices) == 1:
                    await self._poll_single(self.devices[0])
                else:
                    await self._round(group)
                if self._polling:
                    group.create_task(self._complete_later(waiting, list(self._polling)))
                else:
                    self._complete(waiting)

    async def _complete_later(
        self, waiting: Iterable[asyncio.Future[None]], passes: Iterable[asyncio.Task[None]]
    ) -> None:
        await asyncio.wait(passes)
        self._complete(waiting)

    def _complete(self, futures: Iterable[asyncio.Future[None]]) -> None:
        self._open_futures.difference_update(futures)
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def _poll_single(self, device: Device) -> None:
        """Poll the only device of a link. It can delay no other device."""
        if device in self._polling.values():
            return  # a slow device whose poll continues; a reload removed the other devices
        if device.health.failures and device.health.due > (now := self._clock.monotonic()):
            self._listener.missed(device, device.health.error or LinkError("not asked"), now)
        else:
            await self._device_poller.poll(device)

    async def _round(self, group: asyncio.TaskGroup) -> None:
        """Poll every device that answered its last poll, then the lost devices that are due."""
        free = [device for device in self.devices if device not in self._polling.values()]
        well = sorted((device for device in free if not device.health.failures), key=lambda device: device.health.slow)
        down = {device: None for device in free if device.health.failures}
        now = self._clock.monotonic()
        due = sorted((device for device in down if device.health.due <= now), key=lambda device: device.health.due)
        order = deque((*well, *due))
        shortest_s = min((device.patience_s for device in free), default=0.0)
        while order:
            this_pass = self._pass = group.create_task(self._poll_in_turn(order, down, all_down=not well))
            await self._wait_for_pass(this_pass, shortest_s)
        self._pass = None
        for device in down:
            if device in self.devices:  # a reload can have removed the device
                self._listener.missed(device, device.health.error or LinkError("not asked"), now)

    async def _wait_for_pass(self, this_pass: asyncio.Task[None], step_s: float) -> None:
        """Wait until the pass ends, or until one device takes longer than its `patience_s`. Check every `step_s`."""
        loop = asyncio.get_running_loop()
        self._patient_until = loop.time() + step_s  # until the pass sets it for its first device
        while not this_pass.done() and (left_s := self._patient_until - loop.time()) > 0:
            await asyncio.wait({this_pass}, timeout=min(left_s, step_s))
        if not this_pass.done() and (device := self._polling.get(this_pass)):
            device.health.slow = True

    async def _poll_in_turn(self, order: deque[Device], down: dict[Device, None], *, all_down: bool) -> None:
        """Poll the devices in `order` until one takes longer than its `patience_s`. Remove the polled ones from `down`.

        `all_down`: no device of the link has answered since the start of the round.
        """
        loop = asyncio.get_running_loop()
        this_pass = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while order and self._pass is this_pass:
                device = self._polling[this_pass] = order.popleft()
                probe = device in down
                down.pop(device, None)
                if device not in self.devices:
                    continue  # removed by a reload
                device.health.slow = False
                self._patient_until = loop.time() + device.patience_s
                error = await self._device_poller.poll(device)
                if self._pass is not this_pass:
                    return
                if isinstance(error, ConnectError):
                    # The link cannot be opened, so no other device can be reached in this round.
                    while order:
                        down.pop(other := order.popleft(), None)
                        self._device_poller.failed(other, error)
                elif error is not None and probe:
                    order.clear()
                elif error is None and all_down:
                    all_down = False
                    order.extend(other for other in down if other not in order)
        finally:
            self._polling.pop(this_pass, None)
