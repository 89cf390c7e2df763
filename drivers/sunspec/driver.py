"""Reads any SunSpec device: discovers the chain of its models, then polls the models that are used.

- Each poll also reads the headers of the models that are used. If a header differs, or if the device replies with
  exception 2 or 3 to a request that it accepted before, the device has changed. The poll then discovers the chain
  again.
- A request that the device has never accepted is divided after exception 2 or 3 (`drivers.registers.refusals`). Points
  that are still refused are omitted.
- While a device starts, its chain may be shorter, and it may refuse registers. So the driver discovers the chain again
  later, at growing intervals (`Recheck`), in these cases: the chain had no end model, the device refused points, or the
  discovery got exception 4, 8 or an unknown one.

One SunSpec device can be an inverter, a meter and a battery. Each reading has its node type: SOLAR for inverter models,
STORAGE for batteries, GRID for meter models. The power of a meter is positive for import. `SunSpecMeter` reads only one
meter, for any node type.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import structlog

from drivers.driver import LinkDefaults, Reader, ReadOptions
from drivers.errors import IllegalRangeError, ProfileError, RefusedError, UnsupportedError
from drivers.model import Kind, NodeType, Quality, Quantity, Reading, Resolution, Scan
from drivers.profile import RATED_TIMES, bounded
from drivers.protocol import MAX_REGISTERS
from drivers.registers import (
    Block,
    LastingRefusals,
    Limits,
    OnReply,
    PollSession,
    Recheck,
    RefusalMemory,
    SplitReader,
)
from drivers.sunspec.discovery import (
    CommonModel,
    ModelDiscovery,
    channels,
    duplicates,
    identify,
    rated_power,
    serial_numbers,
)
from drivers.sunspec.formulas import Cell
from drivers.sunspec.layout import SunSpecLayout, build, meters, sections
from drivers.sunspec.mapping import CHANNELS, INVERTERS, KNOWN, METERS
from drivers.sunspec.models import Model, of
from drivers.sunspec.requests import Batch, batch_of, spans_of

log = structlog.get_logger(__name__)


class _ChangedError(Exception):
    """The device has changed since its chain was discovered."""


class SunSpec:
    """A `drivers.driver.Driver` for every SunSpec device."""

    _wants = "inverter, meter or battery model"
    """The models of which the device must have at least one, for an error message."""

    def __init__(self, options: ReadOptions, defaults: LinkDefaults | None = None) -> None:
        """`defaults` are the link settings of a device family. Raises ProfileError if the word order is not "big"."""
        if options.word_order not in (None, "big"):
            raise ProfileError(f"driver sunspec: word_order is always 'big' (found {options.word_order!r})")
        self.identity = CommonModel()
        """Manufacturer and model of the device; empty until the chain was discovered."""
        self.models: tuple[Model, ...] = ()
        """Every model of the device; empty until the chain was discovered."""
        self.inverters: frozenset[str] = frozenset()
        """The known serial numbers of the inverters, if the chain has several; otherwise empty."""
        gap = options.max_gap if options.max_gap is not None else options.default_max_gap
        self._options = options
        self._limits = Limits(min(options.max_registers or MAX_REGISTERS, MAX_REGISTERS), gap)
        self._discovery = ModelDiscovery(KNOWN)
        self._refusals = LastingRefusals()
        self._defaults = defaults or LinkDefaults(sleeps=True)  # many SunSpec devices sleep at night
        self._known: _Known | None = None
        self._recheck = Recheck()

    @property
    def kind(self) -> Kind:
        return Kind.HYBRID

    @property
    def nodes(self) -> frozenset[NodeType]:
        """The node types that the device feeds. While its chain is not known, all possible node types."""
        if self._known is None:
            return frozenset({NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE})
        return self._known.layout.nodes

    @property
    def available(self) -> frozenset[NodeType]:
        """The node types that the device has, including those that are not read. Empty while its chain is not known."""
        if self._known is None:
            return frozenset()
        return self.nodes | ({NodeType.GRID} if meters(self.models) else frozenset())

    @property
    def defaults(self) -> LinkDefaults:
        return self._defaults

    @property
    def max_registers(self) -> int:
        return self._limits.max_registers

    @property
    def resolutions(self) -> Mapping[tuple[NodeType | None, Quantity], Resolution]:
        return {}  # scale factors are registers of the device and change while it runs

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """See `drivers.driver.Driver`.

        Raises UnsupportedError if the device has no model that this driver uses, or if its models change after
        this poll has discovered them.
        """
        scan = await self._poll(PollSession(reader, now))
        return scan._replace(readings=tuple(filter(self._wanted, scan.readings)))

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
            raise UnsupportedError(f"the SunSpec models change while they are read: {change}") from None
        if not scan.readings and scan.errors:
            # The device refuses everything, perhaps because it starts, so the new chain is not kept. An error such as
            # busy (`run.errors`) says more than the refusal of a point, so it comes first.
            raise (*run.errors, *scan.errors)[0]
        self._known = known
        self._recheck.start(run.started)
        return scan

    async def _discover(self, run: PollSession, before: _Known | None) -> _Known:
        """Discover the chain. Raises UnsupportedError.

        Return `before` if the new chain is only the beginning of the known chain.
        """
        reader = SplitReader(run, self._limits.max_registers)
        base = await self._discovery.base(reader)
        models = await self._discovery.models(reader, base)
        if before is not None and len(models) < len(self.models) and models == self.models[: len(models)]:
            self._recheck.lengthen()
            return before
        self._refusals.begin()
        identity = await identify(reader, models, self._refusals)
        inverters = [each for each in sections(models) if any(of(each, *INVERTERS))]
        several = inverters if len(inverters) > 1 else []
        serials = await serial_numbers(reader, several, self._refusals)
        duplicated = duplicates(several, serials)
        self.inverters = frozenset(filter(None, serials))
        used = self._used([model for model in models if model not in duplicated])
        inputs = {model: await channels(reader, model, self._refusals) for model in of(used, *CHANNELS)}
        self._refusals.raise_passing()
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
                base=base,
                models=[model.id for model in models],
                nodes=sorted(node.value for node in layout.nodes),
            )
        known = _Known(layout, self._limits, doubtful=self._discovery.open_end or self._refusals.failing)
        if layout.nodes - {NodeType.GRID}:
            known.rated_W = await rated_power(reader, [each for each in inverters if duplicated.isdisjoint(each)])
        known.battery_seen = before is not None and before.battery_seen
        return known

    def _used(self, models: Collection[Model]) -> tuple[Model, ...]:
        """Return the models from which the layout is built."""
        unused = {} if self._options.uses(NodeType.GRID) else METERS
        return tuple(model for model in of(models, *KNOWN) if model.id not in unused)


class SunSpecMeter(SunSpec):
    """One meter of a SunSpec device. It may measure any node type, so its readings have no node."""

    def __init__(self, options: ReadOptions, defaults: LinkDefaults | None = None, channel: int = 1) -> None:
        """`channel` is the number of the meter in the chain, from 1. For the other arguments see `SunSpec`."""
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
        scan = await super().poll(reader, now)
        return scan._replace(readings=tuple(reading._replace(node=None) for reading in scan.readings))

    def _wanted(self, reading: Reading) -> bool:
        return True  # the meter feeds one node, of any type

    def _used(self, models: Collection[Model]) -> tuple[Model, ...]:
        return meters(models)[self._channel - 1 : self._channel]


class _Known:
    """A device with a known chain: its layout, and the requests that it accepts."""

    def __init__(self, layout: SunSpecLayout, limits: Limits, *, doubtful: bool) -> None:
        self.layout = layout
        self._doubtful = doubtful
        self._refusals = RefusalMemory([[span] for span in spans_of(layout)], limits)
        self._batches: dict[Block, Batch] = {}
        """Request → how to read its reply. The device has accepted these requests before."""
        self.rated_W: float | None = None
        """Rated power of the inverters in W; None or 0 if not known. An active or DC power of a solar or storage node
        is invalid above `RATED_TIMES` * this."""
        self.battery_seen = False
        """Whether the battery charged or discharged at any poll since the device last changed."""

    @property
    def doubtful(self) -> bool:
        """Whether the device may have more than is known.

        It may have points that it refused, or models behind a chain without an end model. It may also have texts or
        input types for which the discovery got exception 4, 8 or an unknown one.
        """
        return bool(self._refusals.holes) or self._doubtful

    async def poll(self, run: PollSession) -> Scan:
        """Poll once, and learn which points the device refuses.

        Raises _ChangedError if the device has changed.
        """
        cells: list[Cell] = [None] * len(self.layout.points)
        times = [run.started] * len(cells)

        def use(block: Block, words: Sequence[int], at: float) -> None:
            batch = self._batch(block)
            raws = batch.unpack(words)
            if moved := batch.changed_model(raws):
                raise _ChangedError(f"model {moved.id} is no longer at {moved.address}")
            for slot, number in batch.cells(raws):
                cells[slot], times[slot] = number, at

        accepted = [block for block in self._refusals.blocks if block in self._batches]
        fresh = [block for block in self._refusals.blocks if block not in self._batches]
        if fresh:
            await run.read_blocks(self._refusals, fresh, use)
        for block in accepted:
            await self._read_accepted(run, block, use)
        self._refusals.end(run.now())
        errors = (*self._refusals.holes.values(), *run.errors)
        return Scan(tuple(self._readings(cells, times)), run.started, run.now(), errors, run.requests)

    async def _read_accepted(self, run: PollSession, block: Block, use: OnReply) -> None:
        """Read a block that the device accepted before. Raises _ChangedError after exception 2 or 3."""
        try:
            words = await run.read(block.table, block.address, block.count)
        except IllegalRangeError as error:
            raise _ChangedError(str(error)) from error
        except RefusedError as error:
            run.errors.append(error)
        else:
            use(block, words, run.now())

    def _batch(self, block: Block) -> Batch:
        batch = self._batches.get(block)
        if batch is None:
            batch = self._batches[block] = batch_of(self.layout, block)
        return batch

    def _readings(self, cells: Sequence[Cell], times: Sequence[float]) -> Iterator[Reading]:
        charge = self.layout.battery(cells) if self.layout.battery else Quality.MISSING
        idle = charge == 0 or charge is Quality.MISSING
        # If the charge power of one of several batteries is missing, so is their sum. The other powers then show
        # whether a battery is active.
        powers = [charge] if isinstance(charge, float) else [cells[slot] for slot in self.layout.charges]
        self.battery_seen = self.battery_seen or any(isinstance(each, float) and each != 0 for each in powers)
        # If the battery was idle at every poll so far, the power of the inverter includes no battery power.
        for recipe in self.layout.recipes if idle and not self.battery_seen else self.layout.hybrid:
            number = recipe.formula(cells)
            value, quality = (None, number) if isinstance(number, Quality) else (number, Quality.GOOD)
            if number is not None:
                reading = Reading(recipe.quantity, recipe.phase, value, quality, times[recipe.slot], recipe.node)
                yield bounded(reading, Kind.HYBRID, RATED_TIMES * self.rated_W) if self.rated_W else reading
