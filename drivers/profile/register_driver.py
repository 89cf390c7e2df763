"""Runs any profile: a poll is the fewest block reads, each decoded as it arrives.

What a device refuses costs only what cannot be read otherwise (see `refusals`): the reading is missing, and the
refusal stands in the errors of every scan. A busy device is asked once more, a little later. Silence, a lost link, a
dead gateway or a reply that is not ours end the poll at once, and nothing of it is used: a device that falls silent
half-way is polled again as a whole, so that all of a scan is from one moment.

The site's `ReadOptions` win over the profile's defaults, which win over those of the transport. A word order of the
site is that of every point, since it is a setting of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from drivers.driver import LinkDefaults, Reader, ReadOptions
from drivers.errors import ExceptionReply, GatewayError, IllegalAddressError, IllegalValueError
from drivers.model import Kind, NodeType, Quality, Reading, Scan
from drivers.profile.loader import Profile
from drivers.profile.point import Point
from drivers.protocol import MAX_REGISTERS
from drivers.registers import (
    Block,
    Cell,
    Fill,
    Limits,
    PollSession,
    RefusalMemory,
    block_decoder,
    by_key,
    combiner,
)


class RegisterDriver:
    """A `drivers.catalogue.Driver` for a profile."""

    def __init__(self, profile: Profile, options: ReadOptions) -> None:
        self.profile = profile
        self.points = tuple(_ordered(point, options) for point in profile.points)
        """The profile's points as this device wants them read."""
        keys = [point.key for point in self.points]
        self._combine = combiner(keys)
        self._learned = RefusalMemory(
            [[self.points[slot].span for slot in slots] for slots in by_key(keys).values()],
            Limits(
                _first(options.max_registers, profile.max_registers, MAX_REGISTERS),
                _first(options.max_gap, profile.max_gap, options.default_max_gap),
            ),
        )
        self._decoders: dict[Block, Fill] = {}

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
        """The requests of the next poll."""
        return self._learned.blocks

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """See `drivers.catalogue.Driver`. Raises the refusal itself when the device refuses everything."""
        run = _ProfileSession(reader, now, len(self.points))
        self._learned.begin(run.started)
        try:
            for block in self.blocks:
                await self._read(run, block)
            if not run.answered and self._learned.holes:
                error = next(iter(self._learned.holes.values()))
                self._learned.forget()  # a device that is starting, or the wrong profile: nothing to learn from
                raise error
        finally:
            self._learned.end(now())
        return Scan(
            readings=self._combine(self._complete(run)),
            started=run.started,
            finished=now(),
            errors=(*self._learned.holes.values(), *run.errors),
            requests=run.requests,
        )

    async def _read(self, run: _ProfileSession, block: Block) -> bool:
        """Read and decode a block, in parts where it is refused; whether all of it was answered."""
        if not self._learned.allows(block):
            return await self._read_all(run, self._learned.parts(block))
        try:
            words = await run.read(block.table, block.address, block.count)
        except (IllegalAddressError, IllegalValueError) as error:
            known = len(self._learned.holes)
            parts = self._learned.divide(block, error)
            answered = await self._read_all(run, parts) and len(self._learned.holes) == known
            if answered:
                self._learned.cut(block, parts)
            return answered
        except GatewayError:
            raise
        except ExceptionReply as error:
            run.errors.append(error)
            return False
        self._decoder(block)(words, run.now(), run.readings)
        return True

    async def _read_all(self, run: _ProfileSession, blocks: Sequence[Block]) -> bool:
        return all([await self._read(run, block) for block in blocks])

    def _decoder(self, block: Block) -> Fill:
        decoder = self._decoders.get(block)
        if decoder is None:
            cells = tuple(
                Cell(point.address - block.address, point.encoding, slot, point.quantity, point.phase, point.node)
                for slot, point in enumerate(self.points)
                if block.holds(point.span)
            )
            decoder = self._decoders[block] = block_decoder(cells, block.count)
        return decoder

    def _complete(self, run: _ProfileSession) -> list[Reading]:
        """The readings, with what could not be read as missing."""
        if all(run.readings):
            return cast("list[Reading]", run.readings)
        return [
            reading or Reading(point.quantity, point.phase, None, Quality.MISSING, run.started, point.node)
            for reading, point in zip(run.readings, self.points, strict=True)
        ]


class _ProfileSession(PollSession):
    """One poll: a reading per point, None where there is none yet."""

    def __init__(self, reader: Reader, now: Callable[[], float], points: int) -> None:
        super().__init__(reader, now)
        self.readings: list[Reading | None] = [None] * points

    @property
    def answered(self) -> bool:
        return any(self.readings)


def _ordered(point: Point, options: ReadOptions) -> Point:
    if options.word_order is None:
        return point
    return replace(point, encoding=replace(point.encoding, word_order=options.word_order))


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
