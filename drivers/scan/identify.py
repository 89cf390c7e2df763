"""What is behind a unit id: asks for what tells device families apart, in as few reads as there are distinct marks.

A family is recognised by the `[identify]` of its profile, or by the models that a SunSpec device offers. The mark of a
profile wins over SunSpec, since it was written for that device; the other is kept as an alternative.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from drivers.catalogue import driver_of
from drivers.driver import Reader, ReadOptions
from drivers.errors import NoReplyError, RefusedError, SilentError, UnsupportedError
from drivers.model import Kind, Nature, NodeType, Quantity, Scan, Table
from drivers.profile import Mark, Profile
from drivers.registers import Span

MOST_SILENCES = 12
"""Of one unit, before the marks that are left are not asked any more."""
_ENOUGH_WH = 10_000.0
_ROUND_WH = 10.0
_CLOSE_W, _CLOSE = 50.0, 0.05
"""Two polls of a device are not of the same moment."""

_BY_SUNSPEC = "by its SunSpec models "
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


@dataclass(frozen=True, slots=True)
class Values:
    """What a device measures at a moment: enough to recognise it behind another unit id."""

    power_W: float | None
    counter_Wh: float | None
    resolution_Wh: float
    """Of the counter."""

    @classmethod
    def of(cls, scan: Scan, resolution_Wh: float) -> Values:
        """The total power and the largest lifetime counter of a scan."""
        good = [r for r in scan.readings if isinstance(r.value, float) and r.phase is None]
        powers = [r.value for r in good if r.quantity is Quantity.ACTIVE_POWER and r.node in (None, NodeType.SOLAR)]
        counters = [r.value for r in good if r.quantity.nature is Nature.COUNTER]
        largest = max((float(value) for value in counters if value is not None), default=None)
        return cls(float(powers[0]) if powers and powers[0] is not None else None, largest, resolution_Wh)

    def same(self, other: Values) -> bool:
        """Whether both are of one device: no two counters stand at the same watt-hours while both give as much."""
        if None in (self.power_W, other.power_W, self.counter_Wh, other.counter_Wh):
            return False
        power, counter = abs(self.power_W - other.power_W), abs(self.counter_Wh - other.counter_Wh)  # type: ignore[operator]
        enough = max(self.counter_Wh or 0.0, other.counter_Wh or 0.0) >= _ENOUGH_WH
        return (
            enough
            and counter <= max(self.resolution_Wh, other.resolution_Wh, _ROUND_WH)
            and power <= max(_CLOSE_W, _CLOSE * abs(self.power_W or 0.0))
        )


@dataclass(slots=True)
class Identity:
    """All that was found out about one unit."""

    matches: list[Match] = field(default_factory=list)
    """Best first; empty when nothing is known about the device."""
    serial: str = ""
    """Tells devices apart; never shown."""
    labels: tuple[str, ...] = ()
    """What the device calls itself (Modbus function 43/14): vendor, product, revision."""
    tables: frozenset[Table] = frozenset()
    """The tables in which it has any of the registers that it was asked for."""
    values: Values | None = None
    """What it measured when it was asked, to tell whether two units are one device."""
    likely: tuple[str, ...] = ()
    """Drivers of the makers that it names, for one that no mark recognises."""

    @property
    def is_sunspec(self) -> bool:
        """Whether nothing but its SunSpec models tells what it is."""
        return bool(self.matches) and self.matches[0].why.startswith(_BY_SUNSPEC)


class Identifier:
    """Knows the marks of all families."""

    def __init__(self, profiles: Iterable[Profile], now: Callable[[], float]) -> None:
        """`now` gives monotonic seconds."""
        self._now = now
        self._marks: dict[Span, list[tuple[Profile, Mark]]] = defaultdict(list)
        profiles = list(profiles)
        self._profiles = {profile.name: profile for profile in profiles}
        self._families = [profile for profile in profiles if profile.driver is not None]
        """SunSpec devices whose family wants something of its link."""
        marked = [(profile, mark) for profile in profiles if (mark := profile.identify) is not None]
        for profile, mark in sorted(marked, key=lambda pair: (pair[1].encoding.width, len(pair[1].also))):
            self._marks[mark.span].append((profile, mark))

    async def identify(
        self,
        reader: Reader,
        *,
        unit_id: int | None = None,
        sunspec: bool = True,
        most_silences: int = MOST_SILENCES,
    ) -> Identity:
        """Raises LinkError when the link is gone; whatever else goes wrong only means "not this one".

        Marks of families whose usual unit id is `unit_id` are asked first. A device that is silent where it has nothing
        is not asked for all of them: each costs a time-out.
        """
        identity = Identity()
        patience = _Patience(reader, most_silences)
        for span, marked in self._ordered(unit_id):
            words = await patience.read(span)
            if patience.exhausted:
                break
            if words is None:
                continue
            identity.tables |= {span.table}
            for profile, mark in marked:
                if mark.matches(words) and await _all_hold(reader, mark.also):
                    identity.matches.append(_match(profile, (mark, *mark.also)))
        identity.matches.reverse()  # wide marks, and those of several registers, were asked last, and say more
        if sunspec:
            await self._sunspec(reader, identity)
        return identity

    def _ordered(self, unit_id: int | None) -> list[tuple[Span, list[tuple[Profile, Mark]]]]:
        """Marks by their likelihood behind that unit id; narrow ones, which decide less, before wide ones."""

        def unlikely(item: tuple[Span, list[tuple[Profile, Mark]]]) -> int:
            usual = {profile.link.unit_id for profile, _ in item[1]}
            return 0 if unit_id in usual else 1 if None in usual else 2

        return sorted(self._marks.items(), key=unlikely)

    async def measure(self, reader: Reader, identity: Identity) -> None:
        """Ask once for serial number and values, where they are not known yet. Raises LinkError."""
        profile = self._profiles.get(identity.matches[0].driver) if identity.matches else None
        if profile is None or profile.driver is not None or identity.values is not None:
            return
        if profile.serial is not None and (words := await _read(reader, profile.serial.span)) is not None:
            identity.serial = profile.serial.read(words)
        try:
            scan = await driver_of(profile, ReadOptions()).poll(reader, self._now)
        except (RefusedError, NoReplyError, UnsupportedError):
            return
        scales = [abs(p.encoding.scale) for p in profile.points if p.quantity.nature is Nature.COUNTER]
        identity.values = Values.of(scan, max(scales, default=1.0))

    def name_likely(self, identity: Identity) -> None:
        """Find drivers by what a device calls itself."""
        said = _letters(" ".join(identity.labels))
        makers = {p.manufacturer for p in self._profiles.values() if len(_letters(p.manufacturer)) > 2}
        named = {maker for maker in makers if _letters(maker) in said}
        identity.likely = tuple(sorted(p.name for p in self._profiles.values() if p.manufacturer in named))

    async def _sunspec(self, reader: Reader, identity: Identity) -> None:
        from drivers.sunspec import SunSpec, meters

        driver = SunSpec(ReadOptions())
        for _ in range(_SUNSPEC_ATTEMPTS):
            try:
                scan = await driver.poll(reader, self._now)
            except SilentError:
                continue
            except (RefusedError, NoReplyError, UnsupportedError):
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
            why=_BY_SUNSPEC + ", ".join(str(model.id) for model in driver.models),
            further=tuple(f"sunspec-meter:{number}" for number in range(2, len(meters(driver.models)) + 1)),
        )
        identity.serial = made.serial
        identity.tables |= {Table.HOLDING}
        if not identity.matches:
            identity.values = Values.of(scan, 1.0)
        identity.matches += [replace(best, driver=name) for name in self._family_names(made.manufacturer, general)]
        identity.matches.append(best)

    def _family_names(self, manufacturer: str, driver: str) -> Iterator[str]:
        for family in self._families:
            if family.driver == driver and manufacturer.casefold().startswith(family.manufacturer.casefold()):
                yield family.name


class _Patience:
    """Reads of one unit, as long as it does not fall silent too often."""

    def __init__(self, reader: Reader, most_silences: int) -> None:
        self._reader = reader
        self._left = most_silences

    @property
    def exhausted(self) -> bool:
        return self._left <= 0

    async def read(self, span: Span) -> Sequence[int] | None:
        """The words, or None for what it does not answer. Raises LinkError."""
        try:
            return await self._reader.read(span.table, span.address, span.count)
        except SilentError:
            self._left -= 1
        except (RefusedError, NoReplyError):
            pass
        return None


async def _read(reader: Reader, span: Span) -> Sequence[int] | None:
    try:
        return await reader.read(span.table, span.address, span.count)
    except (RefusedError, NoReplyError):
        return None


async def _all_hold(reader: Reader, marks: Iterable[Mark]) -> bool:
    """Only asked of a device whose first mark matched: it costs the others nothing."""
    for mark in marks:
        words = await _read(reader, mark.span)
        if words is None or not mark.matches(words):
            return False
    return True


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


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
