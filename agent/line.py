"""One link: its devices in turn, none of them at the cost of the others.

- The devices that answered last are asked first, then those that are down and due for a probe; the first probe that
  fails ends the round, so that dead units cost their neighbours one time-out.
- A device that is silent is asked again after `BACKOFF_FIRST_S`, doubling to `BACKOFF_MAX_S`; one answer ends it. When
  every device of a link was down, the first answer is a probe for the others as well: the link is back.
- A device that answers, but takes longer than its `patience_s`, goes on beside the others: on the link they take turns,
  request by request. After `LIMIT_S` it counts as silent.
- A round asked for while one is running starts when that one ends; rounds never pile up.
- A loss is told once, `FLAP_S` after the last return at the earliest: a sleeping inverter is no news all night.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import cast

import structlog

from agent.clock import Clock
from agent.device import Connection, Device, Sink
from agent.node import use_of
from agent.pulse import STUCK_S, Pulse
from drivers.errors import ConnectError, DriverError, LinkError, SilentError
from drivers.model import Scan

log = structlog.get_logger(__name__)

LIMIT_S = 60.0
FLAP_S = 300.0


class Line:
    """A link and who waits for its rounds."""

    def __init__(self, connection: Connection, clock: Clock, sink: Sink, pulse: Pulse) -> None:
        self.link = connection.link
        self.devices = connection.devices
        self._clock = clock
        self._sink = sink
        self._pulse = pulse
        self._task: asyncio.Task[None] | None = None
        self._unanswered: set[asyncio.Future[None]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._asking: dict[asyncio.Task[None], Device] = {}
        """The walk of this round, and those of slow devices that go on beside it."""
        self._walk: asyncio.Task[None] | None = None
        self._patient_until = 0.0
        self._ends: dict[asyncio.Timeout, float] = {}
        """Polls in progress, and when each must have ended, in the loop's time."""

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
        """End the polls that have taken longer than `LIMIT_S`; to be called now and then.

        A timer for each poll would cost half as much as its decoding, and never fire.
        """
        now = asyncio.get_running_loop().time()
        for limit, due in self._ends.items():
            if due <= now and limit.when() is None:
                limit.reschedule(now)

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
            self._sink.missed(device, device.health.error or LinkError("not asked"), now)
        else:
            await self._poll(device)

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
                self._sink.missed(device, device.health.error or LinkError("not asked"), now)

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
                error = await self._poll(device)
                if self._walk is not walk:
                    return
                if isinstance(error, ConnectError):
                    # The others stand behind the same closed door: no further attempt makes sense in this round.
                    while order:
                        down.pop(other := order.popleft(), None)
                        self._failed(other, error)
                elif error is not None and probe:
                    order.clear()
                elif error is None and dark:
                    dark = False
                    order.extend(other for other in down if other not in order)
        finally:
            self._asking.pop(walk, None)

    async def _poll(self, device: Device) -> Exception | None:
        limit = asyncio.timeout(None)
        self._ends[limit] = asyncio.get_running_loop().time() + LIMIT_S
        try:
            with self._pulse.busy(f"poll of {device.name}", STUCK_S):
                async with limit:
                    scan = await device.driver.poll(device.reader, self._clock.monotonic)
        except TimeoutError:
            error: Exception = SilentError(f"the poll was not complete within {LIMIT_S:g} s")
        except DriverError as refusal:
            error = refusal
        except Exception as defect:  # a defect in one driver must not stop the other devices
            log.exception("driver_defect", device=device.name, driver=device.driver_name)
            error = defect
        else:
            self._answered(device, scan)
            return None
        finally:
            del self._ends[limit]
        self._failed(device, error)
        return error

    def _failed(self, device: Device, error: Exception) -> None:
        if device not in self.devices:
            return
        now = self._clock.monotonic()
        health = device.health
        news = not health.told and (health.back_since is None or now - health.back_since >= FLAP_S)
        health.told = health.told or news
        health.failed(error, now)
        (log.debug if not news else log.info if self._sink.asleep(device, now) else log.warning)(
            "device_lost" if news or health.failures == 1 else "device_still_lost",
            device=device.name,
            address=device.address,
            reason=str(error),
            retry_in_s=round(health.due - now, 1),
        )
        self._sink.missed(device, error, now)

    def _answered(self, device: Device, scan: Scan) -> None:
        if device not in self.devices:
            return
        now = self._clock.monotonic()
        health = device.health
        if health.since is not None:
            (log.info if health.told else log.debug)(
                "device_back", device=device.name, after_s=round(now - health.since, 1), failed_polls=health.failures
            )
            health.told = False
        elif health.last_answer is None:
            log.info("device_found", device=device.name, address=device.address, readings=len(scan.readings))
        health.answered(now)
        partial = _lacks(device, scan)
        if partial != health.partial:
            if partial:
                log.warning("device_partial", device=device.name, reason=partial)
            else:
                log.info("device_complete", device=device.name)
            health.partial = partial
        self._sink.observe(device, scan)


def _lacks(device: Device, scan: Scan) -> str | None:
    """What a scan should have brought and did not, in words; None if it brought all."""
    lacks = {str(error) for error in scan.errors}
    for node in device.nodes:
        if all(use_of(node, reading.quantity, reading.node) is None for reading in scan.readings):
            lacks.add(f"the device has nothing that a {node.type} node can use ({node.node_id})")
    return "; ".join(sorted(lacks)) if lacks else None
