"""One poll of one device: its maximum duration, and what its result means.

- A poll that is not complete after `LIMIT_S` counts as no answer.
- At most one failed poll of each outage is logged with the level warning, or info if the device is asleep: the first
  one that is at least `FLAP_S` later than the end of the previous outage. So an unstable device does not fill the log.
  All other failed polls are logged with the level debug. A defect of a driver is also logged at each poll, with the
  level error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import structlog
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from agent.domain import Night, all_sleep, use_of
from agent.polling.device import Device, PollListener
from agent.runtime import STUCK_S, Clock
from drivers.errors import DriverError, SilentError
from drivers.model import Scan

log = structlog.get_logger(__name__)

# structlog adds the values of these variables to each event of a driver. `bound_contextvars` would need 20 times the
# CPU time.
_DEVICE: ContextVar[str] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}device")
_ADDRESS: ContextVar[str] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}address")

LIMIT_S = 60.0
"""Maximum seconds of one poll."""
FLAP_S = 300.0
"""Seconds after the end of an outage in which failed polls are logged with the level debug."""


@dataclass(slots=True)
class _Running:
    """A poll in progress."""

    task: asyncio.Task[Any]
    end: float
    """The deadline, in the time of the event loop."""
    stuck: float
    """Monotonic second after which the poll is stuck: its cancellation at the deadline did not end it."""
    ended: bool = False
    """Whether the poll was cancelled at its deadline."""


class DevicePoller:
    """Polls the devices of one link. If a device is no longer `wanted` when its poll ends, the result is ignored."""

    def __init__(
        self,
        clock: Clock,
        listener: PollListener,
        nights: Mapping[str, Night],
        wanted: Callable[[Device], bool],
    ) -> None:
        """`nights`: node id → night. `wanted`: whether a device still belongs to the link. A reload can remove it."""
        self._clock = clock
        self._listener = listener
        self._nights = nights
        self._wanted = wanted
        self._running: dict[Device, _Running] = {}

    async def poll(self, device: Device) -> Exception | None:
        """Poll the device and report the result to the listener. Return the error if the poll failed, else None."""
        running = self._running[device] = _Running(
            cast("asyncio.Task[Any]", asyncio.current_task()),
            asyncio.get_running_loop().time() + LIMIT_S,
            self._clock.monotonic() + STUCK_S,
        )
        try:
            name, address = _DEVICE.set(device.name), _ADDRESS.set(device.address)
            try:
                scan = await device.driver.poll(device.reader, self._clock.monotonic)
            finally:
                _DEVICE.reset(name)
                _ADDRESS.reset(address)
        except asyncio.CancelledError:
            if not running.ended or running.task.uncancel():
                raise  # another task cancelled the poll
            error: Exception = SilentError(f"the poll was not complete within {LIMIT_S:g} s")
        except DriverError as failure:
            error = failure
        except Exception as defect:  # a defect in one driver must not stop the other devices
            log.exception("driver_defect", device=device.name, address=device.address, driver=device.driver_name)
            error = defect
        else:
            self._answered(device, scan)
            return None
        finally:
            del self._running[device]
        self.failed(device, error)
        return error

    def end_overdue(self) -> None:
        """End the polls that take longer than `LIMIT_S`. The caller calls this every few seconds.

        There is no timer per poll: it would need half as much CPU time as decoding the reply, and almost never fire.
        """
        if not self._running:
            return
        now = asyncio.get_running_loop().time()
        for running in self._running.values():
            if running.end <= now and not running.ended:
                running.ended = True
                running.task.cancel()

    def in_progress(self) -> Iterator[tuple[str, float]]:
        """Yield the name of each poll in progress, and the monotonic second after which the poll is stuck."""
        for device, running in self._running.items():
            yield f"poll of {device.name}", running.stuck

    def failed(self, device: Device, error: Exception) -> None:
        """Record a failed poll, log the outage, and tell the listener."""
        if not self._wanted(device):
            return
        now = self._clock.monotonic()
        health = device.health
        news = not health.told and (health.back_since is None or now - health.back_since >= FLAP_S)
        health.told = health.told or news
        health.failed(error, now)
        (log.debug if not news else log.info if all_sleep(device.nodes, self._nights, now) else log.warning)(
            "device_lost" if news or health.failures == 1 else "device_still_lost",
            device=device.name,
            address=device.address,
            reason=device.reason(error),
            retry_in_s=round(health.due - now, 1),
        )
        self._listener.missed(device, error, now)

    def _answered(self, device: Device, scan: Scan) -> None:
        if not self._wanted(device):
            return
        now = self._clock.monotonic()
        health = device.health
        if health.since is not None:
            (log.info if health.told else log.debug)(
                "device_back",
                device=device.name,
                address=device.address,
                after_s=round(now - health.since, 1),
                failed_polls=health.failures,
            )
            health.told = False
        elif health.last_answer is None:
            log.info("device_found", device=device.name, address=device.address, readings=len(scan.readings))
        health.answered(scan, now)
        complete = scan.readings and not scan.errors and not device.of_hybrid
        partial = None if complete else _lacks(device, scan)
        if partial != health.partial:
            if partial:
                log.warning("device_partial", device=device.name, address=device.address, reason=partial)
            else:
                log.info("device_complete", device=device.name, address=device.address)
            health.partial = partial
        self._listener.observe(device, scan)


def _lacks(device: Device, scan: Scan) -> str | None:
    """Return the errors of the scan and the nodes for which it has no reading, as text; None if there are none."""
    lacks = {str(error) for error in scan.errors} if scan.errors else set()
    for node in device.nodes:
        for reading in scan.readings:
            if use_of(node, reading.quantity, reading.node) is not None:
                break
        else:
            lacks.add(f"the device has nothing that a {node.type} node can use ({node.node_id})")
    return "; ".join(sorted(lacks)) if lacks else None
