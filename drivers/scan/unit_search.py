"""Which unit ids answer on one link.

A unit is there when it answers anything, be it an exception: only 10 and 11 are the gateway saying that nobody is. Some
devices answer as every unit id; three ids that nobody gives to a device tell them from a gateway with many units.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from drivers.errors import BadReplyError, DriverError, DroppedError, GatewayError, LinkError, RefusedError, SilentError
from drivers.modbus import Link, LinkSettings
from drivers.model import Table
from drivers.protocol import LAST_SERIAL_UNIT_ID
from drivers.scan.identify import Identity
from drivers.scan.timeouts import Patience

Probe = tuple[Table, int, int]

# Where a device is most likely to say anything at all: the SunSpec marker, a meter's first value, a first word.
NETWORK_PROBES: tuple[Probe, ...] = ((Table.HOLDING, 40_000, 2), (Table.INPUT, 0, 2))
SERIAL_PROBES: tuple[Probe, ...] = ((Table.INPUT, 0, 2), (Table.HOLDING, 0, 1))

WINDOW = 10
"""The search goes on until so many ids behind the last one found are silent: ids are mostly given one by one."""

_STRANGE_UNITS = (199, 213, 231)
_ENOUGH_TO_DOUBT = 4

_GLANCE_S = 0.1
_MOST_FAILURES = 3
_AGAIN_AFTER_S = 1.0


@dataclass(slots=True)
class FoundUnit:
    """A unit that answers."""

    unit_id: int
    identity: Identity | None = None
    """None while it was not asked."""


@dataclass(slots=True, eq=False)
class SearchLocation:
    """An open port or a serial line, as far as it is known; fills while the scan runs."""

    link: LinkSettings
    units: list[FoundUnit] = field(default_factory=list)
    opened: bool = False
    """Whether anything was there at all."""
    any_unit: bool = False
    """The device answers as every unit id: one device, not many."""
    asking: int | None = None
    """The unit that is being asked for."""
    closed: str = ""
    """Why the port could not be opened; for most addresses of a network nothing worth a word."""
    note: str = ""
    """What the installer should know: why nothing was found here, what was odd."""

    def add_note(self, note: str) -> None:
        """A further thing to know."""
        self.note = f"{self.note}; {note}" if self.note else note


class Search:
    """Asks for one unit after the other, and puts those that answer into `place`."""

    def __init__(
        self, place: SearchLocation, link: Link, probes: Sequence[Probe], timeout_s: float, first_timeout_s: float = 0.0
    ) -> None:
        """`first_timeout_s` is for the first silent unit: how long a gateway may take to say that it is dead."""
        self._place = place
        self._link = link
        self._probes = probes
        self._patience = Patience(timeout_s, first_timeout_s)
        self._gone: set[int] = set()
        """Units that a gateway says do not exist."""
        self._failures = 0

    async def run(self, units: Sequence[int], *, window: bool) -> None:
        """Ask for `units`, with `window` also for those behind the last one found.

        Raises LinkError when the port cannot be opened.
        """
        place = self._place
        for probe in self._probes:
            for unit_id in self._candidates(units, window=window):
                if await self._answers(unit_id, probe):
                    place.units.append(FoundUnit(unit_id))
                    if len(place.units) == _ENOUGH_TO_DOUBT and window and await self._answers_to_any(probe):
                        del place.units[1:]
                        place.any_unit = True
                        return
                if place.note:
                    return

    @property
    def reply_timeout_s(self) -> float:
        """What a unit that is known to be there should be given."""
        return self._patience.learned_s

    def _candidates(self, units: Sequence[int], *, window: bool) -> Iterator[int]:
        """What to ask in this pass; goes on behind what is found meanwhile."""
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
        return {
            unit_id
            for unit in self._place.units
            for unit_id in range(unit.unit_id + 1, min(unit.unit_id + WINDOW, LAST_SERIAL_UNIT_ID) + 1)
        }

    async def _answers_to_any(self, probe: Probe) -> bool:
        return all([await self._answers(unit_id, probe) for unit_id in _STRANGE_UNITS])

    async def _answers(self, unit_id: int, probe: Probe) -> bool:
        self._place.asking = unit_id
        try:
            await self._ask(unit_id, probe, self._patience.seconds)
        except GatewayError:
            self._gone.add(unit_id)
            self._reached()
            return False
        except RefusedError:
            pass
        except SilentError:
            self._reached()
            if self._patience.silent() and self._place.units:
                await self._learn(unit_id, probe)
            return False
        except BadReplyError as error:
            if self._place.link.serial:
                # Two-wire adapters echo the request for a unit that is not there; another baud rate makes noise.
                self._place.opened = True
                return False
            self._failed(f"something answers, but not as Modbus does: {error}")
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
        self._reached()
        return True

    async def _ask(self, unit_id: int, probe: Probe, timeout_s: float) -> None:
        started = asyncio.get_running_loop().time()
        try:
            await self._link.unit(unit_id, timeout_s=timeout_s).read(*probe)
        except (RefusedError, GatewayError):
            self._patience.answered(asyncio.get_running_loop().time() - started)
            raise
        self._patience.answered(asyncio.get_running_loop().time() - started)

    async def _learn(self, dead: int, probe: Probe) -> None:
        """How long a gateway is busy with a dead unit shows in the answer of a live one that is asked right behind."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        with suppress(DriverError):
            await self._link.unit(dead, timeout_s=_GLANCE_S).read(*probe)
        asked = loop.time()
        with suppress(DriverError):
            with suppress(RefusedError, GatewayError):
                await self._link.unit(self._place.units[0].unit_id, timeout_s=self._patience.first_s).read(*probe)
            if self._patience.held_up(loop.time() - asked):
                self._patience.answered(loop.time() - started)

    def _reached(self) -> None:
        self._place.opened = True
        self._failures = 0

    def _failed(self, why: str) -> None:
        self._place.opened = True
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._place.note = why
