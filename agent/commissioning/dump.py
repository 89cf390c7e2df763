"""`dump`: reads the registers of a device into a dump."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.commissioning.scan import host_transport, port_number, serial_settings
from agent.config import ConfigError
from agent.site import Site
from drivers.catalogue import Catalogue
from drivers.driver import Driver, LinkDefaults, Reader, ReadOptions
from drivers.dump import Capture, Dump, Wanted, expected_of, of_profiles, of_ranges, of_sunspec, redact, take
from drivers.errors import DriverError, GatewayError, RefusedError, SilentError, UnsupportedError
from drivers.modbus import Link, LinkSettings
from drivers.model import Table, Value
from drivers.profile import Profile, RegisterDriver
from drivers.protocol import MAX_UNIT_ID, TRANSPORTS, unit_address
from drivers.registers import Span, SplitReader
from drivers.scan import parse_targets
from drivers.sunspec import SunSpec


@dataclass(frozen=True, slots=True)
class Subject:
    """The device to dump."""

    reader: Reader
    close: Callable[[], Awaitable[object]]
    unit_id: int
    address: str
    """The address of the link and the unit id, for error texts."""
    driver_name: str | None = None
    driver: Driver | None = None
    """None if no driver is known."""
    node_type: str | None = None
    """None if the device was given by its address."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address that the operator gave.

    If `port` is None, the port of the driver is used, or the port of the transport if the driver has none. If `unit_id`
    is None, the unit id of the driver is used, or 1 if the driver has none.
    """

    where: str
    port: int | None = None
    unit_id: int | None = None
    timeout_s: float = 1.0
    baudrate: int = 9600
    parity: str = "N"
    transport: str = "tcp"

    def settings(self, defaults: LinkDefaults) -> LinkSettings:
        """Return the settings of the link. Raises ValueError.

        The time-out is at least that of the driver. The delays are those of the driver.
        """
        targets = parse_targets([self.where])
        port = defaults.port if self.port is None else self.port
        serial_settings([self.baudrate], [self.parity])
        if len(targets.hosts) > 1:
            raise ValueError(f"must be one host or serial port (found {self.where!r})")
        if targets.serial_ports:
            line = targets.serial_ports[0]
            place = LinkSettings(transport="rtu", serial_port=line, baudrate=self.baudrate, parity=self.parity)
        else:
            transport = host_transport(self.transport)
            number = TRANSPORTS[transport].port if port is None else port_number(port)
            place = LinkSettings(transport, targets.hosts[0], number)
        return replace(
            place,
            timeout_s=max(self.timeout_s, defaults.timeout_s or 0.0),
            connect_delay_s=defaults.connect_delay_s or 0.0,
            request_gap_s=defaults.request_gap_s or 0.0,
        )


@dataclass(slots=True)
class Result:
    """A dump, and the error if the dump is not complete."""

    dump: Dump
    error: Exception | None = None


def by_node(site: Site, node_id: str) -> Subject:
    """Return the device of a configured node. Raises ConfigError for an unknown node."""
    for connection in site.connections:
        for device in connection.devices:
            for node in device.nodes:
                if node.node_id == node_id:
                    return Subject(
                        reader=device.reader,
                        close=connection.link.close,
                        unit_id=device.unit_id,
                        address=device.address,
                        driver_name=device.driver_name,
                        driver=device.driver,
                        node_type=node.type.value,
                    )
    known = ", ".join(node.node_id for node in site.nodes)
    raise ConfigError([f"--node: must be one of {known} (found {node_id!r})"])


def by_address(address: Address, driver_name: str, catalogue: Catalogue) -> Subject:
    """Return the device at an address. `driver_name` is empty if no driver is known.

    Raises ValueError for an invalid address, KeyError for an unknown driver, ProfileError for an invalid profile or
    channel.
    """
    driver = catalogue.create(driver_name, ReadOptions()) if driver_name else None
    defaults = driver.defaults if driver is not None else LinkDefaults()
    unit_id = next(each for each in (address.unit_id, defaults.unit_id, 1) if each is not None)
    if not 0 <= unit_id <= MAX_UNIT_ID:
        raise ValueError(f"--unit: must be 0..{MAX_UNIT_ID} (found {unit_id})")
    link = Link(address.settings(defaults))
    at = unit_address(link.settings.address, unit_id)
    return Subject(link.unit(unit_id), link.close, unit_id, at, driver_name or None, driver)


async def run(
    subject: Subject,
    ranges: Sequence[Span],
    profiles: Sequence[Profile],
    *,
    now: Callable[[], float],
    keep_text: bool = False,
    step: Callable[[], None] = lambda: None,
) -> Result:
    """Read the registers, close the link, and blank private data. Decode the values if the driver is known.

    These registers are read:

    - If `ranges` is not empty: the `ranges`.
    - Otherwise, if the driver is known: the registers of its profile, or the SunSpec models if it has no profile.
    - Otherwise: the SunSpec models and the registers of all `profiles`.

    The reading continues after these errors:

    - Refusals and a few time-outs (see `take`).
    - If no driver is known: a search for SunSpec models that finds none, is refused or gets no reply.

    Every other `DriverError` and a cancellation end the reading. The result then has what was read before and a
    `DriverError`, but no decoded values.

    `now` returns monotonic seconds. With `keep_text`, nothing is blanked. `step` is called before each request, except
    those that look for SunSpec models.
    """
    taken = Capture()
    if isinstance(subject.driver, RegisterDriver | SunSpec):
        subject = replace(subject, reader=SplitReader(subject.reader, subject.driver.max_registers))
    error: Exception | None = None
    try:
        async for wanted in _wanted(subject, ranges, profiles):
            await take(subject.reader, wanted, taken, step)
    except DriverError as gone:
        error = gone
    except asyncio.CancelledError:
        error = DriverError("interrupted")
    finally:
        await subject.close()
    redacted = [] if keep_text else redact(taken.tables, _numeric_spans(subject.driver))
    about: dict[str, object] = {
        "type": subject.node_type,
        "vendor": "unknown",
        "model": "unknown",
        "driver": subject.driver_name,
        "source": "telemetry-agent dump",
    }
    about = {key: value for key, value in about.items() if value is not None}
    about["refused"] = [_registers_in_words(block.table, block.address, block.end) for block in taken.refused]
    about["redacted"] = [_registers_in_words(span.table, span.address, span.end) for span in redacted]
    dump = Dump(taken.tables, subject.unit_id, about)
    if subject.driver is not None and not error:
        dump.about["expected"] = await decode(subject.driver, dump, now)
        dump.about["vendor"], dump.about["model"] = _vendor_and_model(subject.driver)
    return Result(dump, error)


async def decode(driver: Driver, dump: Dump, now: Callable[[], float]) -> dict[str, Value | None]:
    """Return the values that `driver` reads from the dump, by name; empty if the driver cannot read the dump."""
    try:
        scan = await driver.poll(dump, now)
    except DriverError:
        return {}
    return expected_of(scan.readings)


async def _wanted(subject: Subject, ranges: Sequence[Span], profiles: Sequence[Profile]) -> AsyncIterator[Wanted]:
    driver = subject.driver
    if ranges:
        yield of_ranges(ranges)
    elif isinstance(driver, RegisterDriver):
        yield of_profiles([driver.profile], ReadOptions())
    elif driver is not None:
        yield await of_sunspec(subject.reader)
    else:
        with suppress(UnsupportedError, RefusedError, SilentError, GatewayError):
            yield await of_sunspec(subject.reader)
        yield of_profiles(profiles, ReadOptions())


def _numeric_spans(driver: Driver | None) -> Iterator[Span]:
    """Yield the spans that `redact` must not blank: those of the profile, and that of the mark in `[identify]`.

    The marks in `also` of `[identify]` are left out, because such a mark may test a serial number.
    """
    if isinstance(driver, RegisterDriver):
        yield from driver.profile.spans
        if (mark := driver.profile.identify) is not None:
            yield mark.span


def _vendor_and_model(driver: Driver | None) -> tuple[str, str]:
    if isinstance(driver, RegisterDriver):
        return driver.profile.manufacturer, ", ".join(driver.profile.models)
    if isinstance(driver, SunSpec):
        return driver.identity.manufacturer or "unknown", driver.identity.model or "unknown"
    return "unknown", "unknown"


def _registers_in_words(table: Table, address: int, end: int) -> str:
    return f"{table} {address}" + (f"-{end - 1}" if end - address > 1 else "")
