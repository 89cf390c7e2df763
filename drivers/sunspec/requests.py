"""Lists the registers that a layout needs, and converts the words of a request to cells. Pure.

`drivers.sunspec.formulas` explains what a cell is. `RefusalMemory` plans the requests. A value and its scale factor
always come from the same request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.model import Table
from drivers.registers.read_plan import Block, Span
from drivers.sunspec.formulas import Cell, PointAddress
from drivers.sunspec.layout import SunSpecLayout
from drivers.sunspec.models import HEADER, Model


@dataclass(frozen=True, slots=True)
class _Item:
    slot: int
    """Index of the cell."""
    raw: int
    """Index of the raw value among the unpacked numbers."""
    factor: int | None
    """Index of the scale factor among the unpacked numbers; None if the point has no factor."""
    point: PointAddress


@dataclass(frozen=True, slots=True)
class Batch:
    """One request and the meaning of its words."""

    _struct: struct.Struct
    _items: tuple[_Item, ...]
    _headers: tuple[tuple[int, int, Model], ...]
    """Indices of id and length among the unpacked numbers, and the model."""

    def unpack(self, words: Sequence[int]) -> tuple[float, ...]:
        """Return the raw numbers in `words`, the words of the block."""
        return self._struct.unpack(struct.pack(f">{len(words)}H", *words))

    def changed_model(self, raws: Sequence[float]) -> Model | None:
        """Return a model whose header differs, or None."""
        return next((model for a, b, model in self._headers if (raws[a], raws[b]) != (model.id, model.length)), None)

    def cells(self, raws: Sequence[float]) -> Iterator[tuple[int, Cell]]:
        """Yield the index and the value of each cell of this request."""
        for item in self._items:
            factor = None if item.factor is None else int(raws[item.factor])
            yield item.slot, item.point.decode(raws[item.raw], factor)


def spans_of(layout: SunSpecLayout) -> list[Span]:
    """Return the spans to read: the points with their factors, and the headers of their models."""
    points = {Span(Table.HOLDING, low, high - low) for low, high in (point.span for point in layout.points)}
    return sorted(points | {Span(Table.HOLDING, model.address, HEADER) for model in layout.models})


def batch_of(layout: SunSpecLayout, block: Block) -> Batch:
    """Return the meaning of the words of `block`: all points and headers that are entirely in it."""
    kept = {(span.address, span.end) for span in spans_of(layout) if block.holds(span)}
    chosen = [(slot, point) for slot, point in enumerate(layout.points) if point.span in kept]
    headers = [model for model in layout.models if (model.address, model.address + HEADER) in kept]
    formats = {point.address: point.point.format for _, point in chosen}
    formats |= {point.factor_address: "h" for _, point in chosen if point.factor_address is not None}
    formats |= {model.address + register: "H" for model in headers for register in range(HEADER)}
    index = {address: position for position, address in enumerate(sorted(formats))}
    items = tuple(
        _Item(slot, index[point.address], None if point.factor_address is None else index[point.factor_address], point)
        for slot, point in chosen
    )
    header_items = tuple((index[model.address], index[model.address + 1], model) for model in headers)
    return Batch(_compiled(block, formats), items, header_items)


def _compiled(block: Block, formats: dict[int, str]) -> struct.Struct:
    """Return a struct for the numbers at the addresses of `formats`, with padding between them."""
    text, at = ">", block.address
    for address in sorted(formats):
        text += f"{2 * (address - at)}x{formats[address]}"
        at = address + struct.calcsize(f">{formats[address]}") // 2
    return struct.Struct(f"{text}{2 * (block.end - at)}x")
