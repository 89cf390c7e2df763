"""Reads any SunSpec device: finds out once which models it offers, then polls those it can use.

What is remembered is where the models stand, never a value. The headers of the models are read along with the
points: when one of them, or an exception 2 or 3, says that the device is no longer the same, the poll walks the chain
anew. A request that is refused right after a walk is split (`drivers.registers.refusals`); what stays refused is left
out. The chain is walked again after a while, more and more rarely, for what was refused and where it had no end model:
a device that is waking up may have cut it short.

One SunSpec device can be an inverter, a meter and a battery. Every reading carries the node to which it belongs:
SOLAR for inverter models, STORAGE for batteries, GRID for meter models, counted positive for import. `SunSpecMeter`
reads one meter alone, for a node of any type.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import structlog

from drivers.driver import LinkDefaults, Reader, ReadOptions
from drivers.errors import IllegalRangeError, ProfileError, RefusedError, UnsupportedError
from drivers.model import Kind, NodeType, Quality, Quantity, Reading, Resolution, Scan
from drivers.protocol import MAX_REGISTERS
from drivers.registers import Block, Limits, PollSession, Recheck, RefusalMemory, SplitReader
from drivers.sunspec.discovery import CommonModel, ModelDiscovery, channels, doubles, identify
from drivers.sunspec.formulas import Cell
from drivers.sunspec.layout import Layout, build, meters, sections
from drivers.sunspec.mapping import CHANNELS, INVERTERS, KNOWN, METERS
from drivers.sunspec.models import Model, of
from drivers.sunspec.requests import Batch, batch_of, spans_of

log = structlog.get_logger(__name__)


class _ChangedError(Exception):
    """The device is no longer what it was when its chain was walked."""


class SunSpec:
    """A `drivers.catalogue.Driver` for every device that speaks SunSpec."""

    _wants = "inverter, meter or battery model"

    def __init__(self, options: ReadOptions, defaults: LinkDefaults | None = None) -> None:
        """`defaults` are those of a device family. Raises ProfileError for what the standard leaves no room for."""
        if options.word_order not in (None, "big"):
            raise ProfileError(f"driver sunspec: word_order is always 'big' (found {options.word_order!r})")
        self.identity = CommonModel()
        """Who made the device; empty before the first poll."""
        self.models: tuple[Model, ...] = ()
        """Every model that the device offers; empty before the first poll."""
        gap = options.max_gap if options.max_gap is not None else options.default_max_gap
        self._options = options
        self._limits = Limits(min(options.max_registers or MAX_REGISTERS, MAX_REGISTERS), gap)
        self._walk = ModelDiscovery(KNOWN)
        self._defaults = defaults or LinkDefaults(sleeps=True)  # many do; one that never did is not believed to
        self._known: _Known | None = None
        self._recheck = Recheck()

    @property
    def kind(self) -> Kind:
        return Kind.HYBRID

    @property
    def nodes(self) -> frozenset[NodeType]:
        """The nodes that the device fills; before the first poll, all that any device could."""
        if self._known is None:
            return frozenset({NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE})
        return self._known.layout.nodes

    @property
    def defaults(self) -> LinkDefaults:
        return self._defaults

    @property
    def resolutions(self) -> Mapping[tuple[NodeType | None, Quantity], Resolution]:
        return {}  # scale factors are registers of the device, and change while it runs

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """See `drivers.catalogue.Driver`. Raises UnsupportedError for a device that offers nothing we know."""
        scan = await self._poll(PollSession(reader, now))
        return replace(scan, readings=tuple(filter(self._wanted, scan.readings)))

    def _wanted(self, reading: Reading) -> bool:
        return self._options.uses(reading.node)

    async def _poll(self, run: PollSession) -> Scan:
        known = self._known
        if known is not None and not (known.doubtful and self._recheck.due(run.started)):
            try:
                return await known.poll(run)
            except _ChangedError as change:
                log.info("sunspec_changed", manufacturer=self.identity.manufacturer, reason=str(change))
                self._known = known = None
        known = await self._discover(run, known)
        try:
            scan = await known.poll(run)
        except _ChangedError as change:
            self._known = None
            raise UnsupportedError(f"SunSpec models move while they are read: {change}") from None
        if not scan.readings and scan.errors:
            raise scan.errors[0]  # it refuses everything just now: nothing to learn from that
        self._known = known
        self._recheck.start(run.started)
        return scan

    async def _discover(self, run: PollSession, before: _Known | None) -> _Known:
        """Walk the chain; what was known `before` stays where the chain is only cut shorter than it was."""
        reader = SplitReader(run, self._limits.max_registers)
        base = await self._walk.base(reader)
        models = await self._walk.models(reader, base)
        if before is not None and len(models) < len(self.models) and models == self.models[: len(models)]:
            return before
        identity = await identify(reader, models)
        inverters = [each for each in sections(models) if any(of(each, *INVERTERS))]
        twice = await doubles(reader, inverters) if len(inverters) > 1 else set()
        used = self._used([model for model in models if model not in twice])
        inputs = {model: await channels(reader, model) for model in of(used, *CHANNELS)}
        layout = build(used, inputs, identity.manufacturer, self._limits.max_registers)
        if not layout.recipes:
            offered = ", ".join(str(model.id) for model in models) or "none"
            raise UnsupportedError(f"SunSpec at {base} offers no {self._wants} (found: {offered})")
        if (models, identity) == (self.models, self.identity):
            self._recheck.lengthen()
        else:
            self.models, self.identity = models, identity
            self._recheck.reset()
            log.info(
                "sunspec_discovered",
                manufacturer=identity.manufacturer,
                model=identity.model,
                serial=identity.serial,
                base=base,
                models=[model.id for model in models],
                nodes=sorted(node.value for node in layout.nodes),
            )
        known = _Known(layout, self._limits, open_end=self._walk.open_end)
        known.battery_seen = before is not None and before.battery_seen
        return known

    def _used(self, models: Collection[Model]) -> tuple[Model, ...]:
        """Of the models that a device offers, those that are read."""
        unused = {} if self._options.uses(NodeType.GRID) else METERS
        return tuple(model for model in of(models, *KNOWN) if model.id not in unused)


class SunSpecMeter(SunSpec):
    """One meter of a SunSpec device, which may measure anything: its readings belong to no node yet."""

    def __init__(self, options: ReadOptions, defaults: LinkDefaults | None = None, channel: int = 1) -> None:
        """`channel` counts the meters of a device along its chain, from 1. Otherwise see `SunSpec`."""
        super().__init__(options, defaults or LinkDefaults())
        self._channel = channel
        self._wants = "meter model" if channel == 1 else f"meter {channel}"

    @property
    def kind(self) -> Kind:
        return Kind.METER

    @property
    def nodes(self) -> frozenset[NodeType]:
        return frozenset()

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """See `SunSpec.poll`."""
        scan = await super().poll(reader, now)
        return replace(scan, readings=tuple(reading._replace(node=None) for reading in scan.readings))

    def _wanted(self, reading: Reading) -> bool:
        return True  # it has but one node, of any type

    def _used(self, models: Collection[Model]) -> tuple[Model, ...]:
        return meters(models)[self._channel - 1 : self._channel]


class _Known:
    """A device whose chain was walked: what to ask it, as it taught us."""

    def __init__(self, layout: Layout, limits: Limits, *, open_end: bool) -> None:
        self.layout = layout
        self._open_end = open_end
        self._refusals = RefusalMemory([[span] for span in spans_of(layout)], limits)
        self._batches: dict[Block, Batch] = {}
        self._learning = True
        """The last poll had refusals, or there was none yet: a refusal now says nothing of the chain."""
        self.battery_seen = False
        """Its battery has given or taken power since the device was found."""

    @property
    def doubtful(self) -> bool:
        """Something was refused, or more may stand behind a chain without an end."""
        return bool(self._refusals.holes) or self._open_end

    async def poll(self, run: PollSession) -> Scan:
        """One scan; the first ones learn what the device refuses. Raises _ChangedError."""
        cells: list[Cell] = [None] * len(self.layout.places)
        times = [run.started] * len(cells)

        def use(block: Block, words: Sequence[int]) -> None:
            batch = self._batch(block)
            raws = batch.unpack(words)
            if stranger := batch.stranger(raws):
                raise _ChangedError(f"model {stranger.id} no longer stands at {stranger.address}")
            at = run.now()
            for slot, number in batch.cells(raws):
                cells[slot], times[slot] = number, at

        for block in self._refusals.blocks:
            if self._learning:
                await run.read_block(self._refusals, block, use)
            else:
                await self._read_known(run, block, use)
        self._learning = self._refusals.changed
        self._refusals.end(run.now())
        errors = (*self._refusals.holes.values(), *run.errors)
        return Scan(tuple(self._readings(cells, times)), run.started, run.now(), errors, run.requests)

    async def _read_known(self, run: PollSession, block: Block, use: Callable[[Block, Sequence[int]], None]) -> None:
        """Read a block that the device gave before. Raises _ChangedError where it does not exist any more."""
        try:
            words = await run.read(block.table, block.address, block.count)
        except IllegalRangeError as error:
            raise _ChangedError(str(error)) from error
        except RefusedError as error:
            run.errors.append(error)
        else:
            use(block, words)

    def _batch(self, block: Block) -> Batch:
        batch = self._batches.get(block)
        if batch is None:
            batch = self._batches[block] = batch_of(self.layout, block)
        return batch

    def _readings(self, cells: Sequence[Cell], times: Sequence[float]) -> Iterator[Reading]:
        charge = self.layout.battery(cells) if self.layout.battery else Quality.MISSING
        idle = charge == 0 or charge is Quality.MISSING
        self.battery_seen = self.battery_seen or (isinstance(charge, float) and not idle)
        # Whatever is not known to be idle may stand in the inverter's power.
        for recipe in self.layout.recipes if idle and not self.battery_seen else self.layout.hybrid:
            number = recipe.formula(cells)
            value, quality = (None, number) if isinstance(number, Quality) else (number, Quality.GOOD)
            if number is not None:
                yield Reading(recipe.quantity, recipe.phase, value, quality, times[recipe.slot], recipe.node)
