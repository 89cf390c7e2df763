"""Finds the unit ids that respond on one link.

A unit exists if it sends a valid reply: data or an exception. Exceptions 10 and 11 do not count: with these, a gateway
reports that the unit does not respond.

Some devices reply for every unit id. Some gateways reply for a unit that does not exist, with an exception other than
10 and 11. So the search tries three unusual unit ids after it found four units. It does not do this if the user gave
the unit ids to try.

- If at least one unusual id does not respond, the units that were found exist.
- If all three respond and at least one returns data, all ids are one device (`SearchLocation.any_unit`).
- If all three reply with an exception, a unit exists only if it replies with data, or with an exception that none of
  the three sent. If no unit exists by this rule, all ids are one device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from drivers.errors import (
    BadReplyError,
    DriverError,
    DroppedError,
    GatewayError,
    LinkError,
    RefusedError,
    RtuFrameError,
    SilentError,
)
from drivers.modbus import Link, LinkSettings
from drivers.model import Table
from drivers.protocol import LAST_SERIAL_UNIT_ID
from drivers.scan.identify import Identity
from drivers.scan.timeouts import LearnedTimeout

Probe = tuple[Table, int, int]

# Table, first address and count of the requests that find units. Most devices have some of these registers: the SunSpec
# marker (holding 40000), the first value of a meter (input 0), the first word (holding 0).
NETWORK_PROBES: tuple[Probe, ...] = ((Table.HOLDING, 40_000, 2), (Table.INPUT, 0, 2))
# A server of Modbus TCP ignores these RTU frames. It reads their bytes as a header with a wrong protocol id, and with a
# length that leaves no room for a function code.
RTU_PROBES: tuple[Probe, ...] = ((Table.INPUT, 12, 1), (Table.HOLDING, 12, 1))
SERIAL_PROBES: tuple[Probe, ...] = ((Table.INPUT, 0, 2), (Table.HOLDING, 0, 1))

REPLIES_FOR_ALL = (
    "the gateway also replies for units that do not exist: if a device is not listed, give its unit id with --units"
)
WINDOW = 10
"""Number of unit ids that are tried after each unit that was found, because most sites use consecutive ids."""

_STRANGE_UNITS = (199, 213, 231)
"""Unusual unit ids. If all of them reply, the search assumes that every unit id replies."""
_UNITS_TO_DOUBT = 4
"""The unusual ids are tried when this many units were found."""

_FIRST_WAIT_S = 0.1
"""The timeout of the request in `_learn_timeout` to a unit that does not respond, in seconds."""
_MOST_FAILURES = 3
"""The search of a port ends after this many failures in a row. A failure is a lost connection, a connection that cannot
be opened again, or bytes from a host that are not a Modbus reply."""
_AGAIN_AFTER_S = 1.0
"""Pause in seconds after a connection fails during a reply, or cannot be opened again."""

_WRONG_NUMBERS = (
    "the first reply of each connection to the gateway has the transaction number of another request; the agent drops"
    " this reply. Restart the gateway, and update its firmware"
)


@dataclass(slots=True)
class FoundUnit:
    """A unit that responds."""

    unit_id: int
    identity: Identity | None = None
    """None until the unit is identified."""
    doubt: str = ""
    """Why the unit may be the same device as another unit; empty if there is no doubt. With a doubt, the unit is
    proposed, but not enabled."""
    elsewhere: list[str] = field(default_factory=list)
    """The other addresses of this device, such as "192.168.1.20:1502 unit 1". The scan omits the units there."""


@dataclass(slots=True, eq=False)
class SearchLocation:
    """A place: a port of a host, or a serial port with one baud rate and parity.

    The scan fills the fields after `link` while it runs. It changes `link` if the units need another transport, or if
    it searches again with a delay after the connect.
    """

    link: LinkSettings
    units: list[FoundUnit] = field(default_factory=list)
    opened: bool = False
    """Whether a request could be sent. If not, the port could not be opened, or was not tried yet."""
    any_unit: bool = False
    """Whether every unit id gets a reply from the same device. `units` then has one unit."""
    further_units: tuple[int, ...] = ()
    """With `any_unit`: further unit ids that responded. They are other devices if their counters differ."""
    asking: int | None = None
    """The unit id of the last request of the search; None before the first request."""
    closed: str = ""
    """Why the port of a host could not be opened; otherwise empty. It is not a note, because most addresses have no
    open port."""
    note: str = ""
    """Message for the installer, such as why nothing was found."""

    def add_note(self, note: str) -> None:
        self.note = f"{self.note}; {note}" if self.note else note


class Search:
    """Tries one unit id after the other. `place.units` gets each unit that responds."""

    def __init__(
        self, place: SearchLocation, link: Link, probes: Sequence[Probe], timeout_s: float, first_timeout_s: float = 0.0
    ) -> None:
        """Until a request gets no reply, the timeout is `first_timeout_s`, if this is longer than `timeout_s`.

        A gateway may need a long time to report a unit that does not exist.
        """
        self._place = place
        self._link = link
        self._probes = probes
        self._timeout = LearnedTimeout(timeout_s, first_timeout_s)
        self._gone: set[int] = set()
        """Units that do not exist, according to a reply of the gateway (exception 10 or 11)."""
        self.rtu_frames = False
        """Whether a request of Modbus TCP was answered with RTU frames. The search then ends."""
        self._failures = 0
        self._codes: dict[int, int] = {}
        """Unit → exception code of its last reply. A unit whose last reply had data is not in it."""
        self._absent_codes: set[int] = set()
        """Exception codes that the gateway sends for units that do not exist."""

    async def run(self, units: Sequence[int], *, window: bool) -> None:
        """Try `units`; with `window` also the `WINDOW` ids after each unit that was found.

        Raises LinkError if the port cannot be opened.
        """
        await self._run(units, window=window)
        if self._absent_codes and not self._place.any_unit:
            self._place.add_note(REPLIES_FOR_ALL)
        if self._link.wrong_transactions:
            self._place.add_note(_WRONG_NUMBERS)

    async def _run(self, units: Sequence[int], *, window: bool) -> None:
        place, first = self._place, FoundUnit(units[0])
        for probe in self._probes:
            for unit_id in self._ids_to_try(units, window=window):
                if await self._answers(unit_id, probe):
                    place.units.append(FoundUnit(unit_id))
                    if len(place.units) == _UNITS_TO_DOUBT and window and await self._answers_to_any(probe):
                        first = place.units[0]
                        self._doubt()
                if place.note or place.any_unit or self.rtu_frames:
                    return
        if self._absent_codes and not place.units:
            # Every unit that responds sends an exception that the unusual ids also send, so all ids are one device.
            place.units, place.any_unit = [first], True

    def _doubt(self) -> None:
        """All unusual ids replied: decide whether all ids are one device. See the docstring of the module."""
        place = self._place
        codes = {self._codes[unit_id] for unit_id in _STRANGE_UNITS if unit_id in self._codes}
        if not all(unit_id in self._codes for unit_id in _STRANGE_UNITS):
            place.further_units = tuple(unit.unit_id for unit in place.units[1:])
            del place.units[1:]
            place.any_unit = True
            return
        self._absent_codes |= codes
        place.units = [unit for unit in place.units if self._codes.get(unit.unit_id) not in codes]

    @property
    def reply_timeout_s(self) -> float:
        """The timeout for units that exist, in seconds."""
        return self._timeout.learned_s

    def _ids_to_try(self, units: Sequence[int], *, window: bool) -> Iterator[int]:
        """Yield the unit ids to try with one probe. Omit ids that are found already or reported as absent by a gateway.

        With `window`, each unit that is found meanwhile adds the ids after it.
        """
        asked = self._gone | {unit.unit_id for unit in self._place.units}
        for unit_id in units:
            if unit_id not in asked:
                asked.add(unit_id)
                yield unit_id
        while window and (ahead := self._ahead() - asked):
            unit_id = min(ahead)
            asked.add(unit_id)
            yield unit_id

    def _ahead(self) -> set[int]:
        """Return the `WINDOW` ids after each unit that was found, up to 247."""
        return {
            unit_id
            for unit in self._place.units
            for unit_id in range(unit.unit_id + 1, min(unit.unit_id + WINDOW, LAST_SERIAL_UNIT_ID) + 1)
        }

    async def _answers_to_any(self, probe: Probe) -> bool:
        return all([await self._answers(unit_id, probe) for unit_id in _STRANGE_UNITS])

    async def _answers(self, unit_id: int, probe: Probe) -> bool:
        """Send one request. Return whether the reply shows that the unit exists.

        Raises LinkError if the port cannot be opened.
        """
        self._place.asking = unit_id
        try:
            await self._ask(unit_id, probe, self._timeout.seconds)
        except GatewayError:
            self._gone.add(unit_id)
            self._reached()
            return False
        except RefusedError as error:
            self._codes[unit_id] = error.code
            self._reached()
            return error.code not in self._absent_codes
        except SilentError:
            self._reached()
            if self._timeout.silent() and self._place.units:
                await self._learn_timeout(unit_id, probe)
            return False
        except BadReplyError as error:
            self._malformed(error)
            return False
        except DroppedError:
            self._failed("the port is open, but the device closes the connection instead of a reply")
            return False
        except LinkError as error:
            if not self._place.opened:
                raise
            self._failed(str(error))
            await asyncio.sleep(_AGAIN_AFTER_S)
            return False
        self._codes.pop(unit_id, None)
        self._reached()
        return True

    async def _ask(self, unit_id: int, probe: Probe, timeout_s: float) -> None:
        started = asyncio.get_running_loop().time()
        try:
            await self._link.unit(unit_id, timeout_s=timeout_s).read(*probe)
        except (RefusedError, GatewayError):
            self._timeout.answered(asyncio.get_running_loop().time() - started)
            raise
        self._timeout.answered(asyncio.get_running_loop().time() - started)

    async def _learn_timeout(self, dead: int, probe: Probe) -> None:
        """Learn how long a gateway waits for the unit `dead`, which does not respond.

        The gateway delays the next reply by this time. So send a request to `dead`, then one to a unit that exists.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        with suppress(DriverError):
            await self._link.unit(dead, timeout_s=_FIRST_WAIT_S).read(*probe)
        asked = loop.time()
        with suppress(DriverError):
            with suppress(RefusedError, GatewayError):
                await self._link.unit(self._place.units[0].unit_id, timeout_s=self._timeout.first_s).read(*probe)
            if self._timeout.held_up(loop.time() - asked):
                self._timeout.answered(loop.time() - started)

    def _malformed(self, error: BadReplyError) -> None:
        place = self._place
        if place.link.serial:
            # This is no failure: without a unit, some two-wire adapters echo the request, and a wrong baud rate gives
            # noise.
            place.opened = True
        elif isinstance(error, RtuFrameError):
            place.opened = self.rtu_frames = True
        else:
            self._failed(f"the port is open, but the reply is not valid Modbus: {error}")

    def _reached(self) -> None:
        self._place.opened = True
        self._failures = 0

    def _failed(self, why: str) -> None:
        self._place.opened = True
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._place.note = why
