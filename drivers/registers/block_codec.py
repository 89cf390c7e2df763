"""Decodes the words of one request to one value per point, with little CPU time per point. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from drivers.model import Quality, Value
from drivers.registers.codec import Decoded, Encoding, Linear, Raw, converter, linear


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a request."""

    offset: int
    """Number of registers or bits of the request before this value."""
    encoding: Encoding
    slot: int
    """Index of this value in the lists that a `Fill` function fills."""

    @property
    def end(self) -> int:
        return self.offset + self.encoding.width


Item = tuple[int, Linear | None, Callable[[Raw], Decoded]]
"""The slot of a value, and how to convert its raw number: see `linear` and `converter`."""
Fill = Callable[[Sequence[int], list[Value | None], list[Quality]], None]
"""The function that `block_decoder` returns."""


@lru_cache(maxsize=256)
def block_decoder(cells: tuple[Cell, ...], count: int) -> Fill:
    """Return a function (words, values, qualities) that writes the value and the quality of each cell to its slot.

    `words` are the `count` registers or bits of one request. The caller fills `qualities` with `Quality.GOOD`; the
    function writes only other qualities. Devices of one family share the function (`lru_cache`), because it needs more
    memory than all other data of a device.
    """
    layers = [_layer(layer, count) for layer in _layers(cells)]
    good = Quality.GOOD

    def fill(words: Sequence[int], values: list[Value | None], qualities: list[Quality]) -> None:
        for pack, unpack, items in layers:
            for raw, (slot, number, convert) in zip(unpack(pack(*words)), items, strict=True):
                if number is not None:  # most values; a call of `convert` would double the time of the loop
                    low, high, offset, scale = number
                    value = raw + offset if scale is None else raw * scale[0] / scale[1] + offset
                    if low <= value <= high:
                        values[slot] = value
                        continue
                values[slot], quality = convert(raw)
                if quality is not good:
                    qualities[slot] = quality

    return fill


def _layers(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Divide the cells into layers. The cells of a layer do not overlap and have the same byte orders.

    So one struct can unpack a layer.
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
    """Return a function that packs the words of a request, one that unpacks the raw numbers, and an item per cell."""
    packed, text = cells[0].encoding.byte_orders
    at = 0
    for cell in cells:
        text += f"{2 * (cell.offset - at)}x{cell.encoding.raw_format}"
        at = cell.end
    text += f"{2 * (count - at)}x"
    items = tuple((cell.slot, linear(cell.encoding), converter(cell.encoding)) for cell in cells)
    return struct.Struct(f"{packed}{count}H").pack, struct.Struct(text).unpack, items
