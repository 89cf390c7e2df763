"""Decodes the words of one request to one Reading per point, with little CPU time per point. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from drivers.model import NodeType, Phase, Quality, Quantity, Reading
from drivers.registers.codec import Decoded, Encoding, Linear, Raw, converter, linear

# Creates a Reading without `Reading.__new__`, which is Python code and would take a third of the decoding time of a
# poll.
_new = tuple.__new__


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a request."""

    offset: int
    """Number of registers or bits of the request before this value."""
    encoding: Encoding
    slot: int
    """Index of the reading of this value in the list of readings."""
    quantity: Quantity
    phase: Phase | None = None
    node: NodeType | None = None

    @property
    def end(self) -> int:
        return self.offset + self.encoding.width


Item = tuple[int, Quantity, Phase | None, NodeType | None, Linear | None, Callable[[Raw], Decoded]]
"""Slot, quantity, phase and node of a value, and how to convert its raw number: see `linear` and `converter`."""
Fill = Callable[[Sequence[int], float, list[Reading | None]], None]
"""The function that `block_decoder` returns."""


@lru_cache(maxsize=256)
def block_decoder(cells: tuple[Cell, ...], count: int) -> Fill:
    """Return a function (words, monotonic time, readings) that writes each cell's reading to its slot in `readings`.

    `words` are the `count` registers or bits of one request. Devices of one family share the function, because it needs
    more memory than all other data of a device.
    """
    layers = [_layer(layer, count) for layer in _layers(cells)]
    good = Quality.GOOD

    def fill(words: Sequence[int], at: float, readings: list[Reading | None]) -> None:
        for pack, unpack, items in layers:
            for raw, (slot, quantity, phase, node, number, convert) in zip(unpack(pack(*words)), items, strict=True):
                if number is not None:  # most values; to call `convert` here would double the time of the loop
                    times, divisor, offset, low, high = number
                    value = raw * times / divisor + offset
                    if low <= value <= high:
                        readings[slot] = _new(Reading, (quantity, phase, value, good, at, node))
                        continue
                value, quality = convert(raw)
                readings[slot] = _new(Reading, (quantity, phase, value, quality, at, node))

    return fill


def _layers(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Divide the cells into layers, so that one struct can unpack all cells of a layer.

    The cells of a layer do not overlap and have the same byte orders.
    """
    layers: list[list[Cell]] = []
    for cell in sorted(cells, key=lambda cell: cell.offset):
        for layer in layers:
            if layer[-1].end <= cell.offset and layer[-1].encoding.byte_orders == cell.encoding.byte_orders:
                layer.append(cell)
                break
        else:
            layers.append([cell])
    return layers


def _layer(
    cells: Sequence[Cell], count: int
) -> tuple[Callable[..., bytes], Callable[[bytes], tuple[Raw, ...]], tuple[Item, ...]]:
    """Return functions that pack the words of a request and unpack the raw numbers, and an item for each cell."""
    packed, text = cells[0].encoding.byte_orders
    at = 0
    for cell in cells:
        text += f"{2 * (cell.offset - at)}x{cell.encoding.raw_format}"
        at = cell.end
    text += f"{2 * (count - at)}x"
    items = tuple(
        (cell.slot, cell.quantity, cell.phase, cell.node, linear(cell.encoding), converter(cell.encoding))
        for cell in cells
    )
    return struct.Struct(f"{packed}{count}H").pack, struct.Struct(text).unpack, items
