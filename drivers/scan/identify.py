"""What is behind a unit id: asks for what tells device families apart, in as few reads as there are distinct marks.

A family is recognised by the `[identify]` of its profile, or by the models that a SunSpec device offers. The mark of a
profile wins over SunSpec, since it was written for that device; the other is kept as an alternative.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from drivers.driver import Reader, ReadOptions
from drivers.errors import DriverError, LinkError, SilentError
from drivers.model import Kind, NodeType
from drivers.profile import Mark, Profile
from drivers.registers import Span

_SUNSPEC_ATTEMPTS = 3
"""Some devices are silent at a wrong address: each attempt looks elsewhere (`drivers.sunspec.discovery`)."""


@dataclass(frozen=True, slots=True)
class Match:
    """A driver that can read the device, and why we think so."""

    driver: str
    kind: Kind
    nodes: frozenset[NodeType]
    """For a hybrid, and for SunSpec: the node types that it fills."""
    device: str
    """Manufacturer and model, for people."""
    why: str
    further: tuple[str, ...] = ()
    """Drivers for what else is behind the same unit, such as a second meter."""
    notes: tuple[str, ...] = ()
    """What whoever installs the device should know."""


@dataclass(slots=True)
class Identity:
    """All that was found out about one unit."""

    matches: list[Match] = field(default_factory=list)
    """Best first; empty when nothing is known about the device."""
    serial: str = ""
    """Tells devices apart; never shown."""
    labels: tuple[str, ...] = ()
    """What the device calls itself (Modbus function 43/14): vendor, product, revision."""


class Identifier:
    """Knows the marks of all families."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._marks: dict[Span, list[tuple[Profile, Mark]]] = defaultdict(list)
        profiles = list(profiles)
        self._families = [profile for profile in profiles if profile.driver is not None]
        """SunSpec devices whose family wants something of its link."""
        marked = [(profile, mark) for profile in profiles if (mark := profile.identify) is not None]
        for profile, mark in sorted(marked, key=lambda pair: (pair[1].encoding.width, len(pair[1].also))):
            self._marks[mark.span].append((profile, mark))

    async def identify(self, reader: Reader, *, sunspec: bool = True) -> Identity:
        """Raises LinkError when the link is gone; whatever else goes wrong only means "not this one"."""
        identity = Identity()
        for span, marked in self._marks.items():
            words = await _read(reader, span)
            if words is None:
                continue
            for profile, mark in marked:
                if mark.matches(words) and await _all_hold(reader, mark.also):
                    identity.matches.append(_match(profile, (mark, *mark.also)))
        identity.matches.reverse()  # wide marks, and those of several registers, were asked last, and say more
        if sunspec:
            await self._sunspec(reader, identity)
        return identity

    async def _sunspec(self, reader: Reader, identity: Identity) -> None:
        from drivers.sunspec import SunSpec, meters

        driver = SunSpec(ReadOptions())
        for _ in range(_SUNSPEC_ATTEMPTS):
            try:
                await driver.poll(reader, time.monotonic)
            except SilentError:
                continue
            except LinkError:
                raise
            except DriverError:
                return
            break
        else:
            return
        made, kind = driver.identity, _kind(driver.nodes)
        general = "sunspec-meter" if kind is Kind.METER else "sunspec"
        best = Match(
            driver=general,
            kind=kind,
            nodes=driver.nodes,
            device=" ".join(part for part in (made.manufacturer, made.model) if part) or "SunSpec device",
            why="by its SunSpec models " + ", ".join(str(model.id) for model in driver.models),
            further=tuple(f"sunspec-meter:{number}" for number in range(2, len(meters(driver.models)) + 1)),
        )
        identity.serial = made.serial
        identity.matches += [replace(best, driver=name) for name in self._family_names(made.manufacturer, general)]
        identity.matches.append(best)

    def _family_names(self, manufacturer: str, driver: str) -> Iterator[str]:
        for family in self._families:
            if family.driver == driver and manufacturer.casefold().startswith(family.manufacturer.casefold()):
                yield family.name


async def _read(reader: Reader, span: Span) -> Sequence[int] | None:
    try:
        return await reader.read(span.table, span.address, span.count)
    except LinkError:
        raise
    except DriverError:
        return None


async def _all_hold(reader: Reader, marks: Iterable[Mark]) -> bool:
    """Only asked of a device whose first mark matched: it costs the others nothing."""
    for mark in marks:
        words = await _read(reader, mark.span)
        if words is None or not mark.matches(words):
            return False
    return True


def _where(span: Span) -> str:
    return f"{span.table} {span.address}" + (f"-{span.end - 1}" if span.count > 1 else "")


def _match(profile: Profile, marks: Iterable[Mark]) -> Match:
    return Match(
        driver=profile.name,
        kind=profile.kind,
        nodes=profile.nodes,
        device=f"{profile.manufacturer} {', '.join(profile.models)}",
        why="by " + ", ".join(_where(mark.span) for mark in marks),
        notes=profile.notes,
    )


def _kind(nodes: frozenset[NodeType]) -> Kind:
    one = {NodeType.GRID: Kind.METER, NodeType.SOLAR: Kind.INVERTER, NodeType.STORAGE: Kind.BATTERY}
    return one[next(iter(nodes))] if len(nodes) == 1 else Kind.HYBRID
