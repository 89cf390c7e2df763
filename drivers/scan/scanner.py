"""Finds Modbus devices on hosts and serial lines: open ports, unit ids, device families.

The load on the network is small: one connection and one request at a time per host, a pause between requests, and a
limited number of hosts at the same time. The scanner sends only requests that read: function codes 1 to 4, and 43/14
(device identification). Results are stored at once, so a cancelled scan keeps them. The results of a search with RTU
over TCP are the exception: they are stored at the end of that search.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from drivers.errors import LinkError, NoReplyError, RefusedError
from drivers.modbus import Link, LinkSettings
from drivers.protocol import USUAL_PORTS, TransportName
from drivers.scan.identify import Identifier
from drivers.scan.same_device import Located, remove_duplicates
from drivers.scan.targets import Targets
from drivers.scan.unit_search import (
    NETWORK_PROBES,
    REPLIES_FOR_ALL,
    RTU_PROBES,
    SERIAL_PROBES,
    FoundUnit,
    Search,
    SearchLocation,
)
from drivers.scan.values import Values

UNITS = tuple(range(1, 11))
"""The unit ids that are tried first on a link, if `ScanSettings.units` is None."""
NETWORK_UNITS = (
    247,  # hybrids, and plants with one address
    126,  # SMA: its SunSpec map
    71,  # KOSTAL
    100,  # Victron GX
    255,  # TCP devices without a unit id
    240,  # meters of Fronius
    254,  # ABB and Fimer
    200,  # Alfen: the charging station
    11,  # meters of some inverters
)
"""Further unit ids that are tried on hosts, most likely first."""

_MOST_UNITS = 24
"""Maximum number of usual unit ids per TCP port. Each id without a device may cost a time-out."""

LINES = ((9600, "N"), (9600, "E"), (19200, "E"), (19200, "N"), (38400, "N"), (115_200, "N"), (2400, "N"))
"""Baud rates and parities, most usual first. 19200 E is the default of the Modbus specification, 2400 N that of small
meters."""

# The last search of an open port on which no unit was found. It finds slow devices, and adapters that ignore requests
# in the first seconds of a connection.
_SLOW_UNITS = (1, 0)
_SLOW_DELAY_S = 3.0
_SLOW_TIMEOUT_S = 5.0

_RTU_OVER_TCP = "the converter does not translate to Modbus TCP: transport is rtu_over_tcp"


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What to scan, and the timeouts."""

    ports: tuple[int, ...] = USUAL_PORTS
    units: tuple[int, ...] | None = None
    """Only these unit ids are tried. None means the usual unit ids, and `drivers.scan.unit_search.WINDOW` ids after
    each unit that was found."""
    likely_units: tuple[int, ...] = ()
    """Further usual unit ids of hosts, from the profiles."""
    connect_timeout_s: float = 1.5
    timeout_s: float = 1.0
    gateway_timeout_s: float = 4.0
    """Timeout on a TCP port, until the first request without a reply. After it, a learned timeout is used.

    A gateway may need this long to report that a unit does not respond.
    """
    serial_timeout_s: float = 0.3
    request_gap_s: float = 0.02
    hosts_at_once: int = 64
    """Maximum number of hosts and serial ports that are scanned at the same time."""
    lines: tuple[tuple[int, str], ...] = LINES
    """The baud rates and parities to try on a serial port."""
    transport: TransportName = "tcp"
    """Transport of the hosts. Use "rtu_over_tcp" for a converter that does not translate to Modbus TCP."""

    def usual_units(self, *, serial: bool) -> tuple[int, ...]:
        """Return the unit ids to try, in order."""
        if self.units is not None:
            return self.units
        if serial:
            return UNITS
        return tuple(dict.fromkeys((*UNITS, *NETWORK_UNITS, *self.likely_units)))[:_MOST_UNITS]


class Scanner:
    """One scan. `places` grows while it runs."""

    def __init__(self, settings: ScanSettings, identifier: Identifier) -> None:
        self.done = 0
        """Number of finished hosts and serial ports."""
        self._settings = settings
        self._identifier = identifier
        self._places: list[SearchLocation] = []

    @property
    def places(self) -> list[SearchLocation]:
        """Ports and serial lines with devices or a note, in the order in which their search began."""
        return [place for place in self._places if place.units or place.note]

    @property
    def closed(self) -> list[str]:
        """The reasons why ports of hosts could not be opened."""
        return [place.closed for place in self._places if place.closed]

    @property
    def latest(self) -> SearchLocation | None:
        """The port or serial line whose search began last. None before the first request of the scan."""
        return next((place for place in reversed(self._places) if place.asking is not None), None)

    async def run(self, targets: Targets) -> None:
        """Scan all targets. Can be cancelled at any time."""
        gate = asyncio.Semaphore(self._settings.hosts_at_once)

        async def scan_one(search: Callable[[str], Awaitable[None]], where: str) -> None:
            async with gate:
                await search(where)
            self.done += 1

        async with asyncio.TaskGroup() as group:
            for host in targets.hosts:
                group.create_task(scan_one(self._scan_host, host))
            for port in targets.serial_ports:
                group.create_task(scan_one(self._scan_serial, port))
        await remove_duplicates(self._places, self._measured, of_hosts=True)

    async def _scan_host(self, host: str) -> None:
        settings = self._settings
        places = []
        for port in settings.ports:
            link = LinkSettings(settings.transport, host, port, timeout_s=settings.connect_timeout_s)
            place = self._place(link)
            places.append(place)
            try:
                rtu_frames = await self._search_place(place, settings.usual_units(serial=False))
                if rtu_frames or (settings.transport == "tcp" and _found_nothing(place)):
                    await self._search_rtu_over_tcp(place)
                if _found_nothing(place):
                    await self._search_slow_device(place, rtu_frames=rtu_frames)
                elif rtu_frames and place.link.transport == "tcp":
                    place.add_note("one of the replies is an RTU frame, so units may be missing")
            except LinkError as error:
                place.closed = str(error)
        await remove_duplicates(places, self._measured)

    async def _scan_serial(self, port: str) -> None:
        tried, refused = False, ""
        for baudrate, parity in self._settings.lines:
            link = LinkSettings(transport="rtu", serial_port=port, baudrate=baudrate, parity=parity)
            place = self._place(replace(link, timeout_s=self._settings.serial_timeout_s))
            try:
                await self._search_place(place, self._settings.usual_units(serial=True))
            except LinkError as error:
                refused = str(error)  # the port cannot be opened, or the adapter does not support this parity
                continue
            if place.units or place.note:
                return
            tried = True
        place.note = "no unit answers at any of the baud rates and parities tried" if tried else refused

    def _place(self, link: LinkSettings) -> SearchLocation:
        self._places.append(place := SearchLocation(replace(link, request_gap_s=self._settings.request_gap_s)))
        return place

    async def _search_place(self, place: SearchLocation, units: Sequence[int]) -> bool:
        """Find and identify the units on one port or serial line. Raises LinkError if the port cannot be opened.

        Return whether the port answers Modbus TCP with RTU frames.
        """
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
            return search.rtu_frames
        finally:
            await link.close()

    async def _search_rtu_over_tcp(self, place: SearchLocation) -> None:
        """Search with RTU frames, for converters that do not translate between Modbus TCP and the serial line."""
        attempt = SearchLocation(replace(place.link, transport="rtu_over_tcp"))
        link = Link(attempt.link)
        try:
            search = Search(attempt, link, RTU_PROBES, self._settings.serial_timeout_s)
            await search.run(self._settings.units or UNITS, window=self._settings.units is None)
            if attempt.units:
                await self._identify(attempt, link, search.reply_timeout_s)
        except LinkError:
            return
        finally:
            await link.close()
        if attempt.units:
            place.link, place.units = attempt.link, attempt.units
            place.any_unit, place.further_units = attempt.any_unit, attempt.further_units
            place.note = _RTU_OVER_TCP
            if attempt.note:
                place.add_note(attempt.note)

    async def _search_slow_device(self, place: SearchLocation, *, rtu_frames: bool) -> None:
        """Search for devices that need a long time after a connect or for a reply. With `rtu_frames`, use RTU over TCP.

        At most two unit ids are tried: the first two of `ScanSettings.units`, or `_SLOW_UNITS` if it is None.
        """
        transport = "rtu_over_tcp" if rtu_frames else place.link.transport
        probe = (RTU_PROBES if rtu_frames else NETWORK_PROBES)[0]
        place.link = replace(place.link, transport=transport, connect_delay_s=_SLOW_DELAY_S)
        link = Link(place.link)
        try:
            search = Search(place, link, (probe,), _SLOW_TIMEOUT_S)
            await search.run((self._settings.units or _SLOW_UNITS)[: len(_SLOW_UNITS)], window=False)
            await self._identify(place, link, _SLOW_TIMEOUT_S)
        finally:
            await link.close()
        if place.units and rtu_frames:
            place.add_note(_RTU_OVER_TCP)
        elif _found_nothing(place):
            replies = " and replies with RTU frames" if rtu_frames else ""
            place.note = f"the port is open{replies}, but no unit answers"

    async def _identify(self, place: SearchLocation, link: Link, timeout_s: float) -> None:
        for unit in place.units:
            try:
                reader = link.unit(unit.unit_id, timeout_s=timeout_s)
                unit.identity = await self._identifier.identify(
                    reader, unit_id=unit.unit_id, elsewhere=partial(link.unit, timeout_s=timeout_s)
                )
                if not unit.identity.matches:
                    unit.identity.labels = await _labels(link, unit.unit_id, timeout_s)
                    self._identifier.name_likely(unit.identity)
            except LinkError as error:
                place.add_note(str(error))
                return
        _remove_names(place)
        await self._add_further_units(place, link, timeout_s)
        units = [(link.unit(unit.unit_id, timeout_s=timeout_s), unit.identity) for unit in place.units if unit.identity]
        try:
            for reader, identity in units:
                await self._identifier.read_serial(reader, identity)
            # The units are read directly after each other, so that their values can be compared.
            for reader, identity in units if len(units) > 1 else ():
                await self._identifier.measure(reader, identity)
        except LinkError:
            return

    async def _add_further_units(self, place: SearchLocation, link: Link, timeout_s: float) -> None:
        """If every unit id gets a reply, add the units whose counter differs from the counter of the first unit."""
        first = place.units[0].identity if place.any_unit else None
        if first is None or not first.matches:
            return
        try:
            for unit_id in place.further_units:
                units = [link.unit(each, timeout_s=timeout_s) for each in (place.units[0].unit_id, unit_id)]
                values = [await self._identifier.values(each, first) for each in (*units, units[0])]
                if values[0] and values[1] and values[2] and values[1].counted_apart(values[0], values[2]):
                    identity = replace(first, serial="", inverters=frozenset(), values=values[1])
                    place.units.append(FoundUnit(unit_id, identity))
        except LinkError:
            return
        if len(place.units) > 1:
            place.any_unit = False
            place.add_note(REPLIES_FOR_ALL)

    async def _measured(self, each: Located) -> Values | None:
        """Poll a unit once. Return None if it cannot be read.

        The connection is closed directly after the poll, because some devices accept only one.
        """
        timeout_s = _SLOW_TIMEOUT_S if each.place.link.connect_delay_s else self._settings.timeout_s
        link = Link(each.place.link)
        try:
            return await self._identifier.values(link.unit(each.unit.unit_id, timeout_s=timeout_s), each.identity)
        except LinkError:
            return None
        finally:
            await link.close()


def _found_nothing(place: SearchLocation) -> bool:
    """Whether the port is open, but the search found neither a unit nor the reason why there is none."""
    return place.opened and not (place.units or place.note)


async def _labels(link: Link, unit_id: int, timeout_s: float) -> tuple[str, ...]:
    try:
        return tuple(filter(None, await link.identification(unit_id, timeout_s)))
    except (RefusedError, NoReplyError):
        return ()  # most devices have no identification


def _remove_names(place: SearchLocation) -> None:
    """Remove the unit ids that match no profile, but have the name of another unit (`Match.named_by`). Add a note."""
    best = [(unit, unit.identity.matches[0]) for unit in place.units if unit.identity and unit.identity.matches]
    names = {unit_id: named.unit_id for named, match in best for unit_id in match.named_by}
    for unit in list(place.units):
        if unit.unit_id in names and unit.identity and not unit.identity.matches:
            place.units.remove(unit)
            place.add_note(f"unit {unit.unit_id} is no device: it holds the name of unit {names[unit.unit_id]}")
