"""Polls the devices of one link for `check --online`, and collects hints about their readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from agent.commissioning.plausibility import empty_hint, hints, possible, word_order_hint
from agent.commissioning.site_doubts import unread_nodes
from agent.domain import Node, use_of
from agent.polling import Connection, Device
from agent.runtime import Clock
from drivers.driver import Reader
from drivers.errors import DriverError
from drivers.modbus import Link
from drivers.model import WORD_ORDERS, NodeType, Reading, Scan, WordOrder
from drivers.profile import RegisterDriver
from drivers.registers import SplitReader
from drivers.scan import Identifier
from drivers.sunspec import SunSpec, SunSpecMeter

_MOST_SILENCES = 3
"""After this number of time-outs, the identification of a device skips the marks that it has not read yet."""
_ATTEMPTS = 2
"""A device is polled up to this many times, until a poll succeeds. A single failed poll is not reported."""


@dataclass(slots=True)
class DeviceResult:
    """One device: its scan or its error, and hints. If the scan has errors and no value, `error` is set as well."""

    device: Device
    scan: Scan | None = None
    error: Exception | None = None
    at: float = 0.0
    """The monotonic second at which the last poll on the link ended. Ages refer to this time."""
    hints: list[str] = field(default_factory=list)

    @property
    def latency_s(self) -> float | None:
        """Mean seconds of a request; None without a scan or without a request."""
        if self.scan is None or not self.scan.requests:
            return None
        return (self.scan.finished - self.scan.started) / self.scan.requests

    def readings(self) -> Iterator[tuple[Node, Reading]]:
        """Yield each reading that a node uses, with this node.

        The readings have the quantity and the sign that the type of the node requires.
        """
        for reading in self.scan.readings if self.scan else ():
            for node in self.device.nodes:
                if (use := use_of(node, reading.quantity, reading.node)) is not None:
                    value = use.sign * reading.value if isinstance(reading.value, float) else reading.value
                    yield node, reading._replace(quantity=use.quantity, value=value)


STEPS = 2
"""Calls of `step` for each device: after its poll, and after the check of its driver and nodes."""


async def check_link(
    connection: Connection, identifier: Identifier, clock: Clock, step: Callable[[str], None]
) -> list[DeviceResult]:
    """Poll every device of the link. Then check the driver and the nodes of each device that gave a scan.

    The link is closed at the end.
    """
    results = [DeviceResult(device) for device in connection.devices]
    try:
        for result in results:
            await _check_device(result, clock)
            step(f"polled {result.device.address}")
        at = clock.monotonic()
        for result in results:
            result.at = at
            if result.scan is not None:
                result.hints += await _other_family(result.device, connection.link, identifier)
                result.hints += _unread_sunspec(result.device, connection.devices)
            step(f"identified {result.device.address}")
    finally:
        await connection.link.close()
    return results


async def _check_device(result: DeviceResult, clock: Clock) -> None:
    device = result.device
    for _ in range(_ATTEMPTS):
        try:
            result.scan = await device.driver.poll(device.reader, clock.monotonic)
        except DriverError as error:
            result.error = error
            continue
        result.error = None
        break
    if result.scan is None:
        return
    if result.scan.errors and not any(reading.value is not None for reading in result.scan.readings):
        result.error = result.scan.errors[0]
        return
    result.hints += [f"some values were not read: {error}" for error in dict.fromkeys(map(str, result.scan.errors))]
    if nothing := empty_hint(result.scan.readings):
        result.hints.append(nothing)
    order = await _word_order_hint(device, result.scan.readings, clock)
    if order:
        result.hints.append(order)
        return  # other hints would be effects of the wrong word order
    for node in device.nodes:
        own = [reading for owner, reading in result.readings() if owner is node]
        name = f"{node.node_id}: " if len(device.nodes) > 1 else ""
        result.hints += [name + hint for hint in hints(node, own)]


async def _other_family(device: Device, link: object, identifier: Identifier) -> list[str]:
    """Return a hint if the device is identified as other families, but not as the family of its driver.

    There is no hint if the driver has no profile, if the link fails, or if the device did not reply to the requests
    that recognise the family of its driver.
    """
    driver = device.driver
    if not isinstance(driver, RegisterDriver):
        return []

    def limited(reader: Reader) -> Reader:
        return SplitReader(reader, driver.max_registers)

    try:
        identity = await identifier.identify(
            limited(device.reader),
            sunspec=False,
            most_silences=_MOST_SILENCES,
            elsewhere=(lambda unit_id: limited(link.unit(unit_id))) if isinstance(link, Link) else None,
        )
    except DriverError:
        return []
    names = {match.driver for best in identity.matches for match in (best, *best.alternatives)}
    if not names or driver.profile.name in names or driver.profile.name in identity.unanswered:
        return []
    best = identity.matches[0]
    return [f"it identifies as {best.device} ({best.why}), for driver {best.driver!r}, not {driver.profile.name!r}"]


def _unread_sunspec(device: Device, devices: Sequence[Device]) -> Iterator[str]:
    """If a SunSpec device has nodes that are not polled, yield a hint. `devices` are all devices of the link.

    `site_doubts.unread` reports such nodes of hybrids that have a profile.
    """
    driver = device.driver
    if not isinstance(driver, SunSpec) or isinstance(driver, SunSpecMeter):
        return
    read = {node.type for each in devices if each.address == device.address for node in each.nodes}
    if any(isinstance(each.driver, SunSpecMeter) and each.address == device.address for each in devices):
        read.add(NodeType.GRID)
    yield from unread_nodes(driver.available - read)


def _orders_to_try(order: WordOrder) -> list[WordOrder]:
    """Return the other word orders. The first ones differ only in the order of the words, not of the bytes."""
    swapped_bytes = WORD_ORDERS[order].bytes_swapped
    others = (other for other in WORD_ORDERS if other != order)
    return sorted(others, key=lambda other: WORD_ORDERS[other].bytes_swapped != swapped_bytes)


async def _word_order_hint(device: Device, readings: Sequence[Reading], clock: Clock) -> str | None:
    """If a value is impossible, poll again in the other word orders.

    Return the hint of `word_order_hint` about the first order that has one. None if there is no such order, if a poll
    fails, if the driver has no profile, or if the profile has no value of several registers.
    """
    driver = device.driver
    if all(map(possible, readings)) or not isinstance(driver, RegisterDriver):
        return None
    wide = [point.encoding.word_order for point in driver.points if point.encoding.width > 1]
    for order in _orders_to_try(wide[0]) if wide else ():
        try:
            scan = await driver.in_order(order).poll(device.reader, clock.monotonic)
        except DriverError:
            return None
        if hint := word_order_hint(readings, scan.readings, order):
            return hint
    return None
