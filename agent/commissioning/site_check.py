"""`check --online`: polls every device once and connects to the endpoints. Shows values, latency and hints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agent.commissioning import endpoint_pace
from agent.commissioning.describe import number, table
from agent.commissioning.endpoint_probe import Reached, probe
from agent.commissioning.plausibility import blank, hints, imbalance, name_of, possible, rest, swapped
from agent.commissioning.poll_estimate import late_links, too_slow
from agent.commissioning.troubleshooting import state, told
from agent.config import Config, PushConfig
from agent.domain import Node, direction, use_of
from agent.polling import Connection, Device
from agent.runtime import Clock, kernel_synchronised, printable
from agent.site import Site
from drivers.catalogue import Catalogue
from drivers.driver import Reader
from drivers.errors import DriverError
from drivers.modbus import Link
from drivers.model import WORD_ORDERS, Kind, NodeType, Quantity, Reading, Scan, WordOrder
from drivers.profile import RegisterDriver
from drivers.registers import SplitReader
from drivers.scan import Identifier
from drivers.sunspec import SunSpec, SunSpecMeter

_MOST_SILENCES = 3
"""After this number of time-outs, the identification of a device ends."""
_ATTEMPTS = 2
"""A device is polled again after a failure, because one lost reply is not a problem."""


@dataclass(slots=True)
class DeviceResult:
    """One device: its scan or its error, and hints."""

    device: Device
    scan: Scan | None = None
    error: Exception | None = None
    at: float = 0.0
    """When all devices of the link were polled, in monotonic seconds. Ages refer to this time."""
    hints: list[str] = field(default_factory=list)

    @property
    def latency_s(self) -> float | None:
        """Mean time of a request."""
        if self.scan is None or not self.scan.requests:
            return None
        return (self.scan.finished - self.scan.started) / self.scan.requests

    def readings(self) -> Iterator[tuple[Node, Reading]]:
        """Every reading with its node, in the sign of the node."""
        for reading in self.scan.readings if self.scan else ():
            for node in self.device.nodes:
                if (use := use_of(node, reading.quantity, reading.node)) is not None:
                    value = use.sign * reading.value if isinstance(reading.value, float) else reading.value
                    yield node, reading._replace(quantity=use.quantity, value=value)


@dataclass(slots=True)
class SiteResult:
    """The results of all devices, the endpoints and the clock."""

    devices: list[DeviceResult]
    endpoints: dict[str, Reached]
    """By name, in the order of the configuration."""
    hint: str | None = None
    """A hint about the powers of the whole site."""
    clock: str = ""
    """Whether the clock is synchronised, in words."""
    slow: tuple[str, ...] = ()
    """The links that cannot hold the poll intervals, in words."""
    powers: dict[NodeType, float] = field(default_factory=dict)
    """The power of each type in W, with the sign of its node. Relays are omitted: they measure no power."""
    without_power: tuple[str, ...] = ()
    """The nodes whose power is unknown."""

    @property
    def ok(self) -> bool:
        return all(each.ok for each in self.endpoints.values()) and not any(result.error for result in self.devices)


async def check_site(config: Config, site: Site, clock: Clock) -> SiteResult:
    """Poll every device, twice if it does not answer. Links are polled in parallel. Nothing is sent."""
    identifier = Identifier(Catalogue(config.drivers.profile_dirs).profiles()[0], clock.monotonic)
    links = asyncio.gather(*(_check_link(connection, identifier, clock) for connection in site.connections))
    probes = asyncio.gather(*(probe(push, clock.time()) for push in config.endpoints))
    reached, results = await asyncio.gather(probes, links)
    endpoints = {push.name: _paced(push, site, each) for push, each in zip(config.endpoints, reached, strict=True)}
    devices = [result for each in results for result in each]
    enabled = {name for device in config.device if device.enabled for name in device.node_ids.values()}
    whole = enabled == {node.node_id for node in site.nodes}
    powers, unknown = _powers(devices)
    poll_s = {each.device: each.scan.finished - each.scan.started for each in devices if each.scan is not None}
    return SiteResult(
        devices,
        endpoints,
        imbalance(powers) if whole and not unknown else None,
        _clock(clock.time()),
        _slow(config, site, poll_s),
        powers,
        unknown,
    )


def _paced(push: PushConfig, site: Site, reached: Reached) -> Reached:
    """Add a warning if the endpoint is too far away for the messages of each push."""
    if reached.round_trip_s is None or not (slow := endpoint_pace.too_slow(push, site.nodes, reached.round_trip_s)):
        return reached
    return replace(reached, warning=f"{reached.warning}; {slow}" if reached.warning else slow)


def _slow(config: Config, site: Site, poll_s: dict[Device, float]) -> tuple[str, ...]:
    deadline_s = min(push.effective_deadline_s for push in config.endpoints)
    slow = tuple(too_slow(site.connections, poll_s, "measured"))
    return slow or tuple(late_links(site.connections, poll_s, "measured", deadline_s))


def _clock(now: float) -> str:
    if kernel_synchronised():
        return "synchronised"
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return f"{at}, but no time service has set it; `timedatectl` says more"


def _powers(devices: list[DeviceResult]) -> tuple[dict[NodeType, float], tuple[str, ...]]:
    """Return the sum of each type, and the nodes whose power is unknown. Relays are omitted: they measure no power."""
    found = {
        node.node_id: reading.value
        for each in devices
        for node, reading in each.readings()
        if reading.quantity is Quantity.ACTIVE_POWER and reading.phase is None
    }
    powers: dict[NodeType, float] = {}
    unknown = []
    for node in (
        node for each in devices for node in each.device.nodes if node.counted and node.kind is not Kind.RELAY
    ):
        power = found.get(node.node_id, 0.0 if node.when_offline != "missing" else None)
        if isinstance(power, float):
            powers[node.type] = powers.get(node.type, 0.0) + power
        else:
            unknown.append(node.node_id)
    return {type_: powers[type_] for type_ in NodeType if type_ in powers}, tuple(unknown)


async def _check_link(connection: Connection, identifier: Identifier, clock: Clock) -> list[DeviceResult]:
    results = [DeviceResult(device) for device in connection.devices]
    try:
        for result in results:
            await _check_device(result, clock)
        at = clock.monotonic()
        for result in results:
            result.at = at
            if result.scan is not None:
                result.hints += await _siblings(result.device, connection.link, identifier)
                result.hints += _unread(result.device, connection.devices)
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
    result.hints += [f"not all of it could be read: {error}" for error in dict.fromkeys(map(str, result.scan.errors))]
    if nothing := blank(result.scan.readings):
        result.hints.append(nothing)
    order = await _other_order(device, result.scan.readings, clock)
    if order:
        result.hints.append(order)
        return  # other hints would be effects of the wrong word order
    for node in device.nodes:
        own = [reading for owner, reading in result.readings() if owner is node]
        name = f"{node.node_id}: " if len(device.nodes) > 1 else ""
        result.hints += [name + hint for hint in hints(node, own)]


async def _siblings(device: Device, link: object, identifier: Identifier) -> list[str]:
    """Return a hint if the identification finds another device family."""
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


def _unread(device: Device, others: Sequence[Device]) -> Iterator[str]:
    """Nodes of a SunSpec device that are not polled. For other hybrids, `check` finds them without a connection."""
    driver = device.driver
    if not isinstance(driver, SunSpec) or isinstance(driver, SunSpecMeter):
        return
    read = {node.type for other in others if other.address == device.address for node in other.nodes}
    if any(isinstance(other.driver, SunSpecMeter) and other.address == device.address for other in others):
        read.add(NodeType.GRID)
    if rest := [each.value for each in NodeType if each in driver.available - read]:
        yield f"{' and '.join(rest)} of this device are not polled; add them to nodes to poll them"


def _other_orders(order: WordOrder) -> list[WordOrder]:
    """Return the other word orders. The first one exchanges only the words, the most frequent mistake."""
    swapped_bytes = WORD_ORDERS[order].bytes_swapped
    others = (other for other in WORD_ORDERS if other != order)
    return sorted(others, key=lambda other: WORD_ORDERS[other].bytes_swapped != swapped_bytes)


async def _other_order(device: Device, readings: tuple[Reading, ...], clock: Clock) -> str | None:
    """If a value is impossible, read again in the other word orders. Return a hint if one of them fits."""
    driver = device.driver
    if all(map(possible, readings)) or not isinstance(driver, RegisterDriver):
        return None
    wide = [point.encoding.word_order for point in driver.points if point.encoding.width > 1]
    for order in _other_orders(wide[0]) if wide else ():
        try:
            scan = await driver.in_order(order).poll(device.reader, clock.monotonic)
        except DriverError:
            return None
        if hint := swapped(readings, scan.readings, order):
            return hint
    return None


def show(result: SiteResult) -> None:
    """Print tables of devices and values, then one line per hint."""
    table("Devices", ("device", "driver", "address", "state", "request"), map(_device_row, result.devices))
    rows = [row for each in result.devices for row in _value_rows(each)]
    table("Values", ("node", "quantity", "value", "unit", "age"), rows)
    lines = [f"hint: {each.device.name}: {hint}" for each in result.devices for hint in each.hints]
    if result.hint:
        lines.append(f"hint: {result.hint}")
    lines += [f"hint: {slow}" for slow in result.slow]
    lines.append(f"clock: {result.clock}")
    for name, endpoint in _named(result):
        if endpoint.ok:
            latency = f" in {_ms(endpoint.latency_s)}, round trip {_ms(endpoint.round_trip_s)}"
            lines.append(f"{name}: {endpoint.words}{latency}; nothing was sent")
        if endpoint.warning:
            lines.append(f"hint: {name}: {endpoint.warning}")
    for line in lines:
        print(printable(line))  # noqa: T201 - what the command is for


def show_balance(result: SiteResult) -> None:
    """Print the power of each type, and what remains for the rest of the house."""
    rows = [
        (type_.value.replace("_", " "), f"{abs(power):,.0f} W", direction(type_, power))
        for type_, power in result.powers.items()
    ]
    if result.without_power:
        rows.append((", ".join(result.without_power), "unknown", ""))
    elif NodeType.GRID in result.powers:
        rows.append(("rest of the house", f"{rest(result.powers):,.0f} W", ""))
    table("Power balance", ("", "value", "direction"), rows)


def problems(result: SiteResult) -> Iterator[str]:
    """Return one line for each device and endpoint that was not reached."""
    for each in result.devices:
        if each.error:
            line = told(each.device.name, each.device.address, each.error)
            sleeps = any(node.when_offline != "missing" for node in each.device.nodes)
            yield line + ("; at night it may be asleep" if sleeps else "")
    for name, endpoint in _named(result):
        if not endpoint.ok:
            yield f"{name}: {endpoint.words}"


def _ms(seconds: float | None) -> str:
    return f"{1000 * (seconds or 0.0):.0f} ms"


def _named(result: SiteResult) -> Iterator[tuple[str, Reached]]:
    """Each endpoint with its name in the output: `endpoint` if there is only one."""
    for name, endpoint in result.endpoints.items():
        yield ("endpoint" if len(result.endpoints) == 1 else f"endpoint {name}"), endpoint


def _device_row(result: DeviceResult) -> tuple[str, ...]:
    device, scan = result.device, result.scan
    answers = "answers" if scan is not None and scan.complete else "answers in part"
    how = state(result.error) if result.error else answers
    latency = "" if result.latency_s is None else _ms(result.latency_s)
    return device.name, device.driver_name, device.address, how, latency


def _value_rows(result: DeviceResult) -> Iterable[tuple[str, ...]]:
    for node, reading in result.readings():
        shown = reading.quality.value if reading.value is None else number(reading.value)
        age = f"{max(0.0, result.at - reading.at):.1f} s"
        yield node.node_id, name_of(reading), shown, reading.quantity.unit.value, age


def as_json(result: SiteResult) -> str:
    """Return the results as JSON."""
    return json.dumps(
        {
            "ok": result.ok,
            "hint": result.hint,
            "clock": result.clock,
            "slow_links": result.slow,
            "endpoints": [
                {
                    "name": name,
                    "ok": endpoint.ok,
                    "words": endpoint.words,
                    "latency_s": _rounded(endpoint.latency_s),
                    "round_trip_s": _rounded(endpoint.round_trip_s),
                    "warning": endpoint.warning or None,
                }
                for name, endpoint in result.endpoints.items()
            ],
            "devices": [_device_json(each) for each in result.devices],
        },
        indent=1,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _device_json(result: DeviceResult) -> dict[str, object]:
    device = result.device
    return {
        "device": device.name,
        "driver": device.driver_name,
        "address": device.address,
        "error": str(result.error) if result.error else None,
        "latency_s": _rounded(result.latency_s),
        "hints": result.hints,
        "values": [
            {
                "node": node.node_id,
                "quantity": name_of(reading),
                "value": reading.value,
                "unit": reading.quantity.unit.value,
                "quality": reading.quality.value,
                "age_s": round(max(0.0, result.at - reading.at), 3),
            }
            for node, reading in result.readings()
        ],
    }
