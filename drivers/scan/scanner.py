"""Finds Modbus devices on hosts and serial lines: open ports, the unit ids behind them, what they are.

Polite: one connection and one request at a time per host, a pause between requests, many hosts side by side but never
all. Nothing but reads is sent. What is found is kept as it is found, so that a scan that is broken off has its results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from drivers.errors import LinkError, NoReplyError, RefusedError
from drivers.modbus import Link, LinkSettings
from drivers.protocol import TransportName
from drivers.scan.identify import Identifier
from drivers.scan.targets import Targets
from drivers.scan.unit_search import NETWORK_PROBES, SERIAL_PROBES, FoundUnit, Search, SearchLocation

PORTS = (502, 1502)
"""Modbus' own port, and where SolarEdge and KOSTAL inverters listen."""

UNITS = tuple(range(1, 11))
# The likely first: hybrids and plants behind one address, SMA's SunSpec map, KOSTAL, Victron's GX, a TCP device that is
# no unit of anything, Fronius' meters, ABB and Fimer, Alfen's station, the meters of some inverters.
NETWORK_UNITS = (247, 126, 71, 100, 255, 240, 254, 200, 11)

_MOST_UNITS = 24
"""Each that is not there may cost a time-out."""

LINES = ((9600, "N"), (9600, "E"), (19200, "E"), (19200, "N"), (38400, "N"), (115_200, "N"), (2400, "N"))
"""Baud rates and parities, the usual first; 19200 E is the specification's default, 2400 N that of small meters."""

# Dongles that swallow what comes in the first seconds of a connection.
_SLEEPY_UNITS = (1, 0)
_SLEEPY_DELAY_S = 3.0
_SLEEPY_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How wide and how patiently to look."""

    ports: tuple[int, ...] = PORTS
    units: tuple[int, ...] | None = None
    """Exactly these; None takes the usual ones and goes on behind the last one found."""
    likely_units: tuple[int, ...] = ()
    """Further usual ones, from the profiles."""
    connect_timeout_s: float = 1.5
    timeout_s: float = 1.0
    gateway_timeout_s: float = 4.0
    """For the first silent unit of a host: what its gateway may take to give it up."""
    serial_timeout_s: float = 0.3
    request_gap_s: float = 0.02
    hosts_at_once: int = 64
    lines: tuple[tuple[int, str], ...] = LINES
    transport: TransportName = "tcp"
    """Of the hosts; "rtu_over_tcp" is what a converter speaks that does not translate."""

    def usual_units(self, *, serial: bool) -> tuple[int, ...]:
        """The units to ask for, in this order."""
        if self.units is not None:
            return self.units
        if serial:
            return UNITS
        return tuple(dict.fromkeys((*UNITS, *NETWORK_UNITS, *self.likely_units)))[:_MOST_UNITS]


class Scanner:
    """One scan; `places` fills while it runs."""

    def __init__(self, settings: ScanSettings, identifier: Identifier) -> None:
        self.done = 0
        """Hosts and serial ports that are finished."""
        self._settings = settings
        self._identifier = identifier
        self._places: list[SearchLocation] = []

    @property
    def places(self) -> list[SearchLocation]:
        """Ports and serial lines that have devices, or something to say about them, in the order in which they came."""
        return [place for place in self._places if place.units or place.note]

    @property
    def closed(self) -> list[str]:
        """Why ports of hosts could not be opened."""
        return [place.closed for place in self._places if place.closed]

    @property
    def latest(self) -> SearchLocation | None:
        """Where it looked last."""
        return next((place for place in reversed(self._places) if place.asking is not None), None)

    async def run(self, targets: Targets) -> None:
        """Look everywhere; can be cancelled at any time."""
        gate = asyncio.Semaphore(self._settings.hosts_at_once)

        async def one(look: Callable[[str], Awaitable[None]], where: str) -> None:
            async with gate:
                await look(where)
            self.done += 1

        async with asyncio.TaskGroup() as group:
            for host in targets.hosts:
                group.create_task(one(self._host, host))
            for port in targets.serial_ports:
                group.create_task(one(self._serial, port))

    async def _host(self, host: str) -> None:
        settings = self._settings
        places = []
        for port in settings.ports:
            link = LinkSettings(settings.transport, host, port, timeout_s=settings.connect_timeout_s)
            place = self._place(link)
            places.append(place)
            try:
                await self._look(place, settings.usual_units(serial=False))
                if place.opened and not (place.units or place.note):
                    await self._look_slowly(place)
            except LinkError as error:
                place.closed = str(error)
        _without_doubles(places)

    async def _serial(self, port: str) -> None:
        tried, refused = False, ""
        for baudrate, parity in self._settings.lines:
            link = LinkSettings(transport="rtu", serial_port=port, baudrate=baudrate, parity=parity)
            place = self._place(replace(link, timeout_s=self._settings.serial_timeout_s))
            try:
                await self._look(place, self._settings.usual_units(serial=True))
            except LinkError as error:
                refused = str(error)  # by the port, or by an adapter that cannot do this parity
                continue
            if place.units or place.note:
                return
            tried = True
        place.note = "no unit answers at any of the baud rates and parities tried" if tried else refused

    def _place(self, link: LinkSettings) -> SearchLocation:
        self._places.append(place := SearchLocation(replace(link, request_gap_s=self._settings.request_gap_s)))
        return place

    async def _look(self, place: SearchLocation, units: Sequence[int]) -> None:
        """Find and identify what is there. Raises LinkError when the port cannot be opened."""
        serial = place.link.serial
        settings = self._settings
        timeout_s = settings.serial_timeout_s if serial else settings.timeout_s
        link = Link(place.link)
        try:
            if serial:
                search = Search(place, link, SERIAL_PROBES, timeout_s)
            else:
                search = Search(place, link, NETWORK_PROBES, timeout_s, settings.gateway_timeout_s)
            await search.run(units, window=settings.units is None)
            await self._identify(place, link, search.reply_timeout_s)
        finally:
            await link.close()

    async def _look_slowly(self, place: SearchLocation) -> None:
        """Once more, for devices that need time after a connect and for each reply."""
        place.link = replace(place.link, connect_delay_s=_SLEEPY_DELAY_S)
        link = Link(place.link)
        try:
            search = Search(place, link, NETWORK_PROBES[:1], _SLEEPY_TIMEOUT_S)
            await search.run((self._settings.units or _SLEEPY_UNITS)[: len(_SLEEPY_UNITS)], window=False)
            await self._identify(place, link, _SLEEPY_TIMEOUT_S)
        finally:
            await link.close()
        if not place.units:
            place.note = place.note or "the port is open, but no unit answers"

    async def _identify(self, place: SearchLocation, link: Link, timeout_s: float) -> None:
        for unit in place.units:
            try:
                reader = link.unit(unit.unit_id, timeout_s=timeout_s)
                unit.identity = await self._identifier.identify(reader, unit_id=unit.unit_id)
                if not unit.identity.matches:
                    unit.identity.labels = await _labels(link, unit.unit_id, timeout_s)
                    self._identifier.name_likely(unit.identity)
            except LinkError as error:
                place.add_note(str(error))
                return
        if len(place.units) < 2:
            return
        for unit in place.units:  # side by side, so that their values are of one moment
            try:
                if unit.identity is not None:
                    await self._identifier.measure(link.unit(unit.unit_id, timeout_s=timeout_s), unit.identity)
            except LinkError:
                return


async def _labels(link: Link, unit_id: int, timeout_s: float) -> tuple[str, ...]:
    try:
        return tuple(filter(None, await link.identification(unit_id, timeout_s)))
    except (RefusedError, NoReplyError):
        return ()  # as most devices


def _without_doubles(places: Sequence[SearchLocation]) -> None:
    """A device that answers as several units or on several ports of one host is one: say so, and keep one.

    Its serial number says so, or the same values at the same moment; the same driver and unit id on another port can be
    no other device. One that a profile recognises is kept before one that is known by its SunSpec models alone.
    """
    found = [(place, unit) for place in places for unit in place.units if unit.identity and unit.identity.matches]
    kept: list[tuple[SearchLocation, FoundUnit]] = []
    for place, unit in sorted(found, key=lambda each: each[1].identity is not None and each[1].identity.is_sunspec):
        for other_place, other in kept:
            if why := _same_device(place, unit, other_place, other):
                place.units.remove(unit)
                driver = unit.identity.matches[0].driver if unit.identity else ""
                place.add_note(
                    f"unit {unit.unit_id} is the same device as {other_place.link.address} unit {other.unit_id}"
                    f" ({why}); left out, or it would count twice (its driver would be {driver!r})"
                )
                break
        else:
            kept.append((place, unit))


def _same_device(place: SearchLocation, unit: FoundUnit, other_place: SearchLocation, other: FoundUnit) -> str:
    """Why both are one device, in words; empty where they are two."""
    one, two = unit.identity, other.identity
    if one is None or two is None:
        return ""
    same_driver = one.matches[0].driver == two.matches[0].driver
    if place is not other_place and same_driver and unit.unit_id == other.unit_id:
        return "the same unit id on another port"
    if one.serial and two.serial:
        return "the same serial number" if one.serial == two.serial else ""
    if place is other_place and one.values is not None and two.values is not None and one.values.same(two.values):
        return "the same power and counter"
    return ""
