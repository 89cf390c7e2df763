"""One link: its devices in turn, none of them at the cost of the others.

- The devices that answered last are asked first, then those that are down and due for a probe; the first probe that
  fails ends the round, so that dead units cost their neighbours one time-out.
- A device that is silent is asked again after `BACKOFF_FIRST_S`, doubling to `BACKOFF_MAX_S`; one answer ends it. When
  every device of a link was down, the first answer is a probe for the others as well: the link is back.
- A device that answers, but takes longer than its `patience_s`, goes on beside the others: on the link they take turns,
  request by request.
- A round asked for while one is running starts when that one ends; rounds never pile up.
- What one poll comes to, and who is told, stands in `agent.polling.device_poller`.
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
    """A link and who waits for its rounds."""

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
        self._asker = DevicePoller(clock, listener, watchdog, nights, lambda device: device in self.devices)
        self._task: asyncio.Task[None] | None = None
        self._unanswered: set[asyncio.Future[None]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._asking: dict[asyncio.Task[None], Device] = {}
        """The walk of this round, and those of slow devices that go on beside it."""
        self._walk: asyncio.Task[None] | None = None
        self._patient_until = 0.0

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to answer requests; nothing happens when it has begun already."""
        self._task = self._task or group.create_task(self._run())

    async def end(self) -> None:
        """Stop for good and close the link; nobody waits for it any longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._answer(tuple(self._unanswered))
        await self.link.close()

    def request(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unanswered.add(future)
        self._waiting.append(future)
        self._wanted.set()
        return future

    def end_overdue(self) -> None:
        """End the polls that have taken too long; to be called now and then."""
        self._asker.end_overdue()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                waiting, self._waiting = self._waiting, []
                if len(self.devices) == 1:
                    await self._ask_alone(self.devices[0])
                else:
                    await self._round(group)
                if self._asking:
                    group.create_task(self._answer_later(waiting, list(self._asking)))
                else:
                    self._answer(waiting)

    async def _answer_later(self, waiting: Iterable[asyncio.Future[None]], walks: Iterable[asyncio.Task[None]]) -> None:
        await asyncio.wait(walks)
        self._answer(waiting)

    def _answer(self, futures: Iterable[asyncio.Future[None]]) -> None:
        self._unanswered.difference_update(futures)
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def _ask_alone(self, device: Device) -> None:
        """A round of a link with one device, which holds up nobody."""
        if device in self._asking.values():
            return  # slow, and its neighbours were taken away by a reload
        if device.health.failures and device.health.due > (now := self._clock.monotonic()):
            self._listener.missed(device, device.health.error or LinkError("not asked"), now)
        else:
            await self._asker.ask(device)

    async def _round(self, group: asyncio.TaskGroup) -> None:
        """Ask every device that is well, then those that are due for a probe."""
        free = [device for device in self.devices if device not in self._asking.values()]
        well = sorted((device for device in free if not device.health.failures), key=lambda device: device.health.slow)
        down = {device: None for device in free if device.health.failures}
        now = self._clock.monotonic()
        due = sorted((device for device in down if device.health.due <= now), key=lambda device: device.health.due)
        order = deque((*well, *due))
        shortest_s = min((device.patience_s for device in free), default=0.0)
        while order:
            walk = self._walk = group.create_task(self._ask_all(order, down, dark=not well))
            await self._patiently(walk, shortest_s)
        self._walk = None
        for device in down:
            if device in self.devices:  # not taken away by a reload meanwhile
                self._listener.missed(device, device.health.error or LinkError("not asked"), now)

    async def _patiently(self, walk: asyncio.Task[None], step_s: float) -> None:
        """Until `walk` has ended, or has been longer with one device than that is given; looks every `step_s`."""
        loop = asyncio.get_running_loop()
        self._patient_until = loop.time() + step_s  # until it has begun
        while not walk.done() and (left_s := self._patient_until - loop.time()) > 0:
            await asyncio.wait({walk}, timeout=min(left_s, step_s))
        if not walk.done() and (device := self._asking.get(walk)):
            device.health.slow = True

    async def _ask_all(self, order: deque[Device], down: dict[Device, None], *, dark: bool) -> None:
        """Ask the devices in `order`, up to the one that outlasts its patience; `down` loses those that were asked.

        `dark` says that no device of the link has been answering.
        """
        loop = asyncio.get_running_loop()
        walk = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while order and self._walk is walk:
                device = self._asking[walk] = order.popleft()
                probe = device in down
                down.pop(device, None)
                if device not in self.devices:
                    continue  # taken away by a reload
                device.health.slow = False
                self._patient_until = loop.time() + device.patience_s
                error = await self._asker.ask(device)
                if self._walk is not walk:
                    return
                if isinstance(error, ConnectError):
                    # The others stand behind the same closed door: no further attempt makes sense in this round.
                    while order:
                        down.pop(other := order.popleft(), None)
                        self._asker.failed(other, error)
                elif error is not None and probe:
                    order.clear()
                elif error is None and dark:
                    dark = False
                    order.extend(other for other in down if other not in order)
        finally:
            self._asking.pop(walk, None)
