"""Runs any profile: plans the reads once, and again when the device teaches a hole or a limit.

- Exception 2 on a block splits it in halves; a single span that is refused is a hole: missing, and asked again after
  `RECHECK_S`.
- Exception 3 on a block that can be smaller halves the request size for this device, also until `RECHECK_S`.
- Silence, a lost link, a dead gateway or a reply that is not ours end the poll: nothing of it is used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from drivers.base import LinkDefaults, Reader, ReadOptions
from drivers.codec import MISSING, Decoded, decoder
from drivers.errors import BusyError, ExceptionReply, IllegalAddressError, IllegalValueError
from drivers.model import Kind, Nature, NodeType, Phase, Quality, Quantity, Reading, Scan, Table, Value
from drivers.plan import MAX_REGISTERS, Block, Limits, Span, plan
from drivers.profile import Point, Profile

RECHECK_S = 6 * 3600.0

Key = tuple[NodeType | None, Quantity, Phase | None]


@dataclass(frozen=True, slots=True)
class _Part:
    """One point, ready to be decoded."""

    table: Table
    address: int
    end: int
    decode: Callable[[Sequence[int]], Decoded]


class Registers:
    """A `drivers.base.Driver` for a profile."""

    def __init__(self, profile: Profile, options: ReadOptions) -> None:
        self.profile = profile
        self._sums = [(key, tuple(_part(point) for point in points)) for key, points in _keys(profile.points).items()]
        self._totals = _totals_of_phases([key for key, _ in self._sums])
        self._spans = [_span(point) for point in profile.points]
        max_gap = _first(options.max_gap, profile.max_gap, options.default_max_gap)
        self._given = Limits(
            max(
                _first(options.max_registers, profile.max_registers, MAX_REGISTERS),
                max((span.count for span in self._spans if span.table in (Table.INPUT, Table.HOLDING)), default=1),
            ),
            max_gap,
        )
        self._limits = self._given
        self._holes: dict[Span, ExceptionReply] = {}
        self._learned_at = 0.0
        self._blocks = plan(self._spans, self._limits)

    @property
    def kind(self) -> Kind:
        return self.profile.kind

    @property
    def nodes(self) -> frozenset[NodeType]:
        return self.profile.nodes

    @property
    def defaults(self) -> LinkDefaults:
        return self.profile.link

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The requests of one poll, as planned now."""
        return self._blocks

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        started = now()
        if (self._holes or self._limits != self._given) and started - self._learned_at >= RECHECK_S:
            self._holes.clear()
            self._limits = self._given
            self._replan(started)
        run = _Run(reader, now)
        for block in self._blocks:
            await self._read(run, block)
        return Scan(
            readings=tuple(self._readings(run)),
            started=started,
            finished=now(),
            errors=tuple(self._holes.values()) + tuple(run.errors),
            requests=run.requests,
        )

    async def _read(self, run: _Run, block: Block) -> None:
        try:
            await run.fetch(block)
        except IllegalAddressError as error:
            spans = self._inside(block)
            if len(spans) == 1:
                self._holes[spans[0]] = error
            else:
                for part in self._halves(spans):
                    await self._read(run, part)
            self._learn(run)
        except IllegalValueError as error:
            spans = self._inside(block)
            if len(spans) == 1:
                self._holes[spans[0]] = error
            else:
                widest = max(span.count for span in self._spans)
                self._limits = replace(self._limits, max_registers=max(widest, block.count // 2))
                for part in plan(spans, self._limits):
                    await self._read(run, part)
            self._learn(run)
        except ExceptionReply as error:
            run.errors.append(error)

    def _inside(self, block: Block) -> list[Span]:
        return sorted(
            {
                span
                for span in self._spans
                if span.table is block.table and block.address <= span.address and span.end <= block.end
            }
        )

    def _halves(self, spans: Sequence[Span]) -> Iterable[Block]:
        middle = len(spans) // 2
        return (*plan(spans[:middle], self._limits), *plan(spans[middle:], self._limits))

    def _learn(self, run: _Run) -> None:
        """Plan the next polls without what was refused. Between spans that can be read apart lies no hole of ours,
        but what this block reached through may be: two spans whose joint block was refused are not joined again."""
        refused = {(span.table, address) for span in self._holes for address in range(span.address, span.end)}
        gaps = {
            (block.table, address)
            for block in self._blocks
            for address in range(block.address, block.end)
            if (block.table, address) not in run.words
        }
        self._limits = replace(self._limits, holes=frozenset(refused | gaps | self._limits.holes))
        self._replan(run.started)

    def _replan(self, at: float) -> None:
        self._learned_at = at
        self._blocks = plan((span for span in self._spans if span not in self._holes), self._limits)

    def _readings(self, run: _Run) -> Iterable[Reading]:
        found: dict[Key, Reading] = {}
        for key, parts in self._sums:
            node, quantity, phase = key
            value, quality, at = run.value(parts)
            found[key] = reading = Reading(quantity, phase, value, quality, at, node)
            yield reading
        for (node, quantity, _), phases in self._totals:
            yield _total(quantity, node, [found[key] for key in phases])


class _Run:
    """The words of one poll."""

    def __init__(self, reader: Reader, now: Callable[[], float]) -> None:
        self._reader = reader
        self._now = now
        self.started = now()
        self.requests = 0
        self.errors: list[Exception] = []
        self._blocks: list[tuple[Table, int, int, Sequence[int], float]] = []

    @property
    def words(self) -> set[tuple[Table, int]]:
        """Every address that was read."""
        return {(table, address) for table, first, end, _, _ in self._blocks for address in range(first, end)}

    async def fetch(self, block: Block) -> None:
        try:
            words = await self._once(block)
        except BusyError:
            words = await self._once(block)
        self._blocks.append((block.table, block.address, block.end, words, self._now()))

    async def _once(self, block: Block) -> Sequence[int]:
        self.requests += 1
        return await self._reader.read(block.table, block.address, block.count)

    def value(self, parts: Sequence[_Part]) -> tuple[Value | None, Quality, float]:
        """The sum of the parts, or the reason why there is none; as old as its oldest part."""
        total, quality, oldest = self._one(parts[0])
        for part in parts[1:]:
            value, part_quality, at = self._one(part)
            oldest = min(oldest, at)
            if part_quality is not Quality.GOOD:
                quality = part_quality
            elif isinstance(total, float) and isinstance(value, float):
                total += value
        return (total if quality is Quality.GOOD else None), quality, oldest

    def _one(self, part: _Part) -> tuple[Value | None, Quality, float]:
        for table, first, end, words, at in self._blocks:
            if table is part.table and first <= part.address and part.end <= end:
                value, quality = part.decode(words[part.address - first : part.end - first])
                return value, quality, at
        return (*MISSING, self.started)


def _keys(points: Iterable[Point]) -> dict[Key, list[Point]]:
    keys: dict[Key, list[Point]] = defaultdict(list)
    for point in points:
        keys[point.node, point.quantity, point.phase].append(point)
    return keys


def _totals_of_phases(keys: Sequence[Key]) -> list[tuple[Key, list[Key]]]:
    """The totals that the profile leaves to the sum of its phases: powers and lifetime counters."""
    phases: dict[Key, list[Key]] = defaultdict(list)
    for key in keys:
        node, quantity, phase = key
        additive = quantity is Quantity.ACTIVE_POWER or quantity.nature is Nature.COUNTER
        if phase is not None and additive and (node, quantity, None) not in keys:
            phases[node, quantity, None].append(key)
    return list(phases.items())


def _total(quantity: Quantity, node: NodeType | None, phases: Sequence[Reading]) -> Reading:
    oldest = min(reading.at for reading in phases)
    for reading in phases:
        if reading.quality is not Quality.GOOD:
            return Reading(quantity, None, None, reading.quality, oldest, node)
    value = sum(reading.value for reading in phases if isinstance(reading.value, float))
    return Reading(quantity, None, float(value), Quality.GOOD, oldest, node)


def _part(point: Point) -> _Part:
    return _Part(point.table, point.address, point.address + point.encoding.width, decoder(point.encoding))


def _span(point: Point) -> Span:
    return Span(point.table, point.address, point.encoding.width, point.barrier)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
