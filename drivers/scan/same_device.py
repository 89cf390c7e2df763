"""Recognises units that are one device, so that no device counts twice.

A serial port counts as a host. Two units are certainly one device if

- they are on one host, and the unit to keep (`remove_duplicates`) has all serial numbers of the other unit;
- they are on one link, have the same power and counter, and the serial number of at least one is unknown.

They are perhaps one device if

- they are on two hosts and have the same serial number;
- they are on two ports of one host, have the same driver and unit id, and the serial number of at least one is unknown.

If two units are perhaps one device, their values are compared: one unit is read between two reads of the other unit. If
the result is not certain, both units are proposed, but one of them is disabled.

A SunSpec chain of several inverters has several serial numbers. If two units have only some of them in common, both
count the same inverter. Both units are then proposed, but one of them is disabled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from drivers.protocol import unit_address
from drivers.scan.identify import Identity
from drivers.scan.unit_search import FoundUnit, SearchLocation
from drivers.scan.values import Values


@dataclass(frozen=True, slots=True)
class Located:
    """A unit that was identified, and the port or serial line on which it was found."""

    place: SearchLocation
    unit: FoundUnit
    identity: Identity

    @property
    def driver(self) -> str:
        return self.identity.matches[0].driver

    @property
    def where(self) -> str:
        return unit_address(self.place.link.address, self.unit.unit_id)


Measure = Callable[[Located], Awaitable[Values | None]]
"""Returns the present values, or None if the device cannot be read."""


async def remove_duplicates(places: Sequence[SearchLocation], measure: Measure, *, of_hosts: bool = False) -> None:
    """Keep one unit of each device. Remove the others, and add a note to their place.

    A unit that a profile recognises is preferred to a unit that is recognised only by SunSpec models. A SunSpec chain
    of several inverters is preferred to one of these inverters.

    With `of_hosts`, only units of two different hosts or serial ports are compared; without it, only units of one host
    or serial port.
    """
    found = [
        Located(place, unit, unit.identity)
        for place in places
        for unit in place.units
        if unit.identity and unit.identity.matches
    ]
    kept: list[Located] = []
    for each in sorted(found, key=lambda each: (each.identity.is_sunspec, -len(each.identity.inverters))):
        for other in kept:
            if _on_two_hosts(each, other) is of_hosts and await _same(each, other, measure):
                break
        else:
            kept.append(each)


async def _same(each: Located, other: Located, measure: Measure) -> bool:
    """Return whether both are one device. If so, remove `each`. If it is not certain, set `each.unit.doubt`."""
    why = _certain(each, other)
    if not why and (perhaps := _perhaps(each, other)):
        same = await _compared(each, other, measure)
        if same:
            why = f"{perhaps}, the same power and counter"
        elif same is None and not each.unit.doubt:
            each.unit.doubt = f"perhaps the same device as {other.where} ({perhaps})"
    elif not (why or each.unit.doubt) and each.identity.serials & other.identity.serials:
        each.unit.doubt = f"perhaps the same device as {other.where} (one inverter has the same serial number)"
    if why:
        each.place.units.remove(each.unit)
        other.unit.elsewhere += [each.where, *each.unit.elsewhere]
        each.place.add_note(
            f"unit {each.unit.unit_id} is the same device as {other.where} ({why}); omitted, because it would count"
            f" twice (its driver would be {each.driver!r})"
        )
    return bool(why)


def _on_two_hosts(one: Located, two: Located) -> bool:
    return one.place is not two.place and (one.place.link.serial or one.place.link.host != two.place.link.host)


def _certain(one: Located, two: Located) -> str:
    """Return why both are certainly one device, or an empty text."""
    if _on_two_hosts(one, two):
        return ""
    serials, others = one.identity.serials, two.identity.serials
    if serials and others:
        return "the same serial number" if serials <= others else ""
    now, then = one.identity.values, two.identity.values
    if one.place is two.place and now is not None and then is not None and now.same(then):
        return "the same power and counter"
    return ""


def _perhaps(one: Located, two: Located) -> str:
    """Return why both may be one device, or an empty text."""
    serials = one.identity.serials, two.identity.serials
    if _on_two_hosts(one, two):
        return "the same serial number" if serials[0] and serials[0] == serials[1] else ""
    if one.place is two.place or all(serials):
        return ""
    same = one.driver == two.driver and one.unit.unit_id == two.unit.unit_id
    return "the same unit id on another port" if same else ""


async def _compared(one: Located, two: Located, measure: Measure) -> bool | None:
    """Read `one` between two reads of `two`. Return whether both are one device; None if it is not certain."""
    before = await measure(two)
    now = await measure(one) if before is not None else None
    after = await measure(two) if now is not None else None
    if before is None or now is None or after is None:
        return None
    if one.driver != two.driver:
        return True if now.same(before) else None
    return now.between(before, after)
