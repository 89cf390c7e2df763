"""Identifies the device of a unit id.

A device is recognised by a mark (the `[identify]` of a profile) or by its SunSpec models. The matches by marks come
first, because a profile knows more about its family.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from drivers.catalogue import Catalogue, driver_of, letters
from drivers.driver import Driver, Reader, ReadOptions
from drivers.errors import NoReplyError, RefusedError, UnsupportedError
from drivers.model import Kind, Nature, NodeType, Scan, Table
from drivers.profile import Mark, Profile, RegisterDriver
from drivers.protocol import MAX_REGISTERS
from drivers.registers import Span, SplitReader
from drivers.scan.marks import FamilyMark, MarkComparison, RepeatingReader, read
from drivers.scan.values import Values

MOST_SILENCES = 12
"""After this many requests without any reply, the marks of the unit that were not read yet are skipped."""

_BY_SUNSPEC = "by its SunSpec models "
_RELAY = "relay"
"""The profile of relay boards, which have no mark."""
_SUNSPEC_ATTEMPTS = 4
"""Some devices do not reply at an address without the SunSpec marker. So after a missing reply, the next attempt begins
at another of the three possible addresses (`drivers.sunspec.discovery`). The fourth attempt begins at the first address
again, because the first reply may have been lost."""


@dataclass(frozen=True, slots=True)
class Match:
    """A driver that can probably read the device."""

    driver: str
    kind: Kind
    nodes: frozenset[NodeType]
    """For a hybrid, and for SunSpec: the node types that the device feeds. Otherwise empty."""
    device: str
    """Manufacturer and model, for people."""
    why: str
    """The registers or the SunSpec models by which the device was recognised."""
    further: tuple[str, ...] = ()
    """Drivers for other devices with the same unit id, such as a second meter."""
    notes: tuple[str, ...] = ()
    """Advice for the installer."""
    alternatives: tuple[Match, ...] = ()
    """Drivers of other families whose devices have the same mark."""
    named_by: frozenset[int] = frozenset()
    """Other unit ids of the link at which this device has marks, such as its name. The scanner removes a unit with such
    an id, unless the unit is recognised itself."""


@dataclass(slots=True)
class Identity:
    """Everything that is known about one unit."""

    matches: list[Match] = field(default_factory=list)
    """Best match first; empty if the device is unknown."""
    serial: str = ""
    """Used to compare devices. It is never printed."""
    inverters: frozenset[str] = frozenset()
    """The serial numbers of the inverters, if only SunSpec models match and they show several. Otherwise empty."""
    labels: tuple[str, ...] = ()
    """The texts of the device identification (Modbus function 43/14): vendor, product, revision. Read only if the
    device has no match."""
    tables: frozenset[Table] = frozenset()
    """The tables from which the device returned registers or bits."""
    values: Values | None = None
    """Used to check whether two units are one device. None if the values were not read."""
    poll_s: float | None = None
    """Seconds that one poll took. None if the device was not polled."""
    likely: tuple[str, ...] = ()
    """If nothing matches: the drivers of the manufacturer that `labels` names, or the relay board."""
    unanswered: tuple[str, ...] = ()
    """Drivers that may be the right ones: their marks got no reply or were skipped. If other marks match, only drivers
    whose mark has a higher rank than all of those are listed. The alternatives of the listed drivers are listed too."""

    @property
    def serials(self) -> frozenset[str]:
        """The known serial numbers of everything that is read at this unit id."""
        return self.inverters | frozenset(filter(None, [self.serial]))

    @property
    def is_sunspec(self) -> bool:
        """Whether the device is recognised only by its SunSpec models."""
        return bool(self.matches) and self.matches[0].why.startswith(_BY_SUNSPEC)


class Identifier:
    """Identifies devices by the marks of all families, and by SunSpec models."""

    def __init__(self, profiles: Iterable[Profile], now: Callable[[], float]) -> None:
        """`now` returns monotonic seconds."""
        self._now = now
        self._marks: dict[Span, list[FamilyMark]] = defaultdict(list)
        """Registers → the families that have their first mark there."""
        profiles = list(profiles)
        self._profiles = {profile.name: profile for profile in profiles}
        self._alternatives: dict[str, list[Profile]] = defaultdict(list)
        """Name of a profile → other profiles whose devices also have the mark of that profile."""
        for profile in profiles:
            for name in profile.identified_as:
                self._alternatives[name].append(profile)
        self._families = [profile for profile in profiles if profile.driver is not None]
        """Profiles without points: only link settings for a Python driver."""
        marked = [(profile, mark) for profile in profiles if (mark := profile.identify) is not None]
        # A mark with more registers is more reliable, so it has a higher rank. If two marks have the same number of
        # registers, the one with more further marks has the higher rank.
        marked.sort(key=lambda pair: (pair[1].encoding.width, len(pair[1].also)))
        for rank, (profile, mark) in enumerate(marked):
            self._marks[mark.span].append(FamilyMark(rank, profile, mark))

    async def identify(
        self,
        reader: Reader,
        *,
        unit_id: int | None = None,
        sunspec: bool = True,
        most_silences: int = MOST_SILENCES,
        elsewhere: Callable[[int], Reader] | None = None,
    ) -> Identity:
        """Identify one unit by marks, and with `sunspec` also by its SunSpec models. Raises LinkError.

        - A mark whose registers the device refuses does not match.
        - `elsewhere` returns a reader of another unit of the same link. Without it, marks at other unit ids do not
          match.
        - Marks of families whose usual unit id is `unit_id` are read first.
        - After `most_silences` requests without any reply, the marks that were not read yet are skipped, because each
          missing reply costs a time-out.
        """
        identity = Identity()
        comparison = MarkComparison(reader, most_silences, elsewhere)
        await comparison.run(self._ordered(unit_id))
        identity.tables = comparison.tables
        matched = sorted(comparison.matched, key=lambda each: -each.rank)
        identity.matches = [self._match(each.profile, tuple(each.mark.all)) for each in matched]
        least = matched[0].rank if matched else -1
        possible = [each.profile for each in comparison.unknown if each.rank > least]
        also = [other for each in possible for other in self._alternatives[each.name]]
        identity.unanswered = tuple(sorted({each.name for each in (*possible, *also)}))
        if sunspec:
            await self._sunspec(reader, identity)
        if not identity.matches and not identity.tables and not comparison.exhausted:
            await _coils(reader, identity)
        return identity

    def _ordered(self, unit_id: int | None) -> list[list[FamilyMark]]:
        """Return groups of marks in the order in which to read them. The marks of a group are at the same registers.

        First come the groups with a family whose usual unit id is `unit_id`, then those with a family without a usual
        unit id, then the others. The order does not change the ranks.
        """

        def unlikely(group: list[FamilyMark]) -> int:
            usual = {each.profile.link.unit_id for each in group}
            return 0 if unit_id in usual else 1 if None in usual else 2

        return sorted(self._marks.values(), key=unlikely)

    async def read_serial(self, reader: Reader, identity: Identity) -> None:
        """Read the serial number if it is not known yet. Raises LinkError."""
        profile = self._profiles.get(identity.matches[0].driver) if identity.matches else None
        if profile is None or profile.serial is None or identity.serial:
            return
        reader = SplitReader(RepeatingReader(reader), profile.max_registers or MAX_REGISTERS)
        with suppress(NoReplyError):
            if (words := await read(reader, profile.serial.span)) is not None:
                identity.serial = profile.serial.read(words)

    async def measure(self, reader: Reader, identity: Identity) -> None:
        """Read the values, if they are not known yet and a profile has the points. Raises LinkError."""
        profile = self._profiles.get(identity.matches[0].driver) if identity.matches else None
        if profile is not None and profile.driver is None and identity.values is None:
            identity.values = await self.values(reader, identity)

    async def values(self, reader: Reader, identity: Identity) -> Values | None:
        """Poll the device and set `poll_s`. Return the values, or None if they cannot be read. Raises LinkError."""
        reader = RepeatingReader(reader)
        name = identity.matches[0].driver
        profile = self._profiles.get(name)
        if profile is None:
            driver, resolution_Wh = Catalogue().create(name, ReadOptions()), 1.0
        else:
            driver = driver_of(profile, ReadOptions())
            counters = [p.encoding for p in profile.points if p.quantity.nature is Nature.COUNTER]
            steps = [abs(each.scale) for each in counters if not each.type.startswith("float")]
            resolution_Wh = max(steps, default=1.0)
            reader = SplitReader(reader, profile.max_registers or MAX_REGISTERS)
        try:
            scan = await driver.poll(reader, self._now)
        except (RefusedError, NoReplyError, UnsupportedError):
            return None
        identity.poll_s = await self._poll_s(driver, reader, scan)
        return Values.of(scan, resolution_Wh)

    async def _poll_s(self, driver: Driver, reader: Reader, first: Scan) -> float:
        """Return the seconds that a poll takes.

        Poll again if the `first` poll may have made more requests than a later poll.
        """
        if not isinstance(driver, RegisterDriver) or first.requests > len(driver.blocks):
            with suppress(NoReplyError, RefusedError, UnsupportedError):
                first = await driver.poll(reader, self._now)
        return first.finished - first.started

    def name_likely(self, identity: Identity) -> None:
        """Set `likely` to the drivers of the manufacturer that `labels` names, if it names one."""
        said = letters(" ".join(identity.labels))
        makers = {p.manufacturer for p in self._profiles.values() if len(letters(p.manufacturer)) > 2}
        named = {maker for maker in makers if letters(maker) in said}
        likely = sorted(p.name for p in self._profiles.values() if p.manufacturer in named)
        identity.likely = tuple(likely) or identity.likely

    async def _sunspec(self, reader: Reader, identity: Identity) -> None:
        from drivers.sunspec import SunSpec, meters

        driver = SunSpec(ReadOptions())
        for _ in range(_SUNSPEC_ATTEMPTS):
            try:
                scan = await driver.poll(reader, self._now)
            except NoReplyError:
                continue
            except (RefusedError, UnsupportedError):
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
        identity.poll_s = await self._poll_s(driver, reader, scan)
        identity.tables |= {Table.HOLDING}
        if not identity.matches:
            identity.values = Values.of(scan, 1.0)
            identity.inverters = driver.inverters
        identity.matches = [await self._completed(each, best, reader) for each in identity.matches]
        identity.matches += [replace(best, driver=name) for name in self._family_names(made.manufacturer, general)]
        identity.matches.append(best)

    async def _completed(self, match: Match, by_sunspec: Match, reader: Reader) -> Match:
        """Return the `match` of a mark. For a Python driver, add further meters, and the nodes that a poll finds."""
        profile = self._profiles[match.driver]
        if profile.driver is None:
            return match
        driver = driver_of(profile, ReadOptions())
        with suppress(NoReplyError, RefusedError, UnsupportedError):
            await driver.poll(reader, self._now)
        return replace(match, nodes=driver.nodes, further=by_sunspec.further)

    def _match(self, profile: Profile, marks: Sequence[Mark]) -> Match:
        return _match(profile, marks, tuple(_match(other, marks) for other in self._alternatives[profile.name]))

    def _family_names(self, manufacturer: str, driver: str) -> Iterator[str]:
        for family in self._families:
            if family.driver == driver and manufacturer.casefold().startswith(family.manufacturer.casefold()):
                yield family.name


async def _coils(reader: Reader, identity: Identity) -> None:
    """If the device returns a coil, name the relay board as the likely driver.

    Call this only for a device that returned no registers.
    """
    with suppress(NoReplyError):
        if await read(RepeatingReader(reader), Span(Table.COIL, 0, 1)) is not None:
            identity.tables |= {Table.COIL}
            identity.likely = (_RELAY,)


def _where(mark: Mark) -> str:
    span = mark.span
    unit = "" if mark.unit_id is None else f" of unit {mark.unit_id}"
    return f"{span.table} {span.address}" + (f"-{span.end - 1}" if span.count > 1 else "") + unit


def _match(profile: Profile, marks: Sequence[Mark], alternatives: tuple[Match, ...] = ()) -> Match:
    return Match(
        driver=profile.name,
        kind=profile.kind,
        nodes=profile.nodes,
        device=f"{profile.manufacturer} {', '.join(profile.models)}",
        why="by " + ", ".join(map(_where, marks)),
        notes=profile.notes,
        alternatives=alternatives,
        named_by=frozenset(mark.unit_id for mark in marks if mark.unit_id is not None),
    )


def _kind(nodes: frozenset[NodeType]) -> Kind:
    one = {NodeType.GRID: Kind.METER, NodeType.SOLAR: Kind.INVERTER, NodeType.STORAGE: Kind.BATTERY}
    return one[next(iter(nodes))] if len(nodes) == 1 else Kind.HYBRID
