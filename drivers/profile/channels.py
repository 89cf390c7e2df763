"""Channels are the identical parts of one device, such as the outputs of a relay board. Pure.

The configuration has a [[device]] table for each channel in use. Driver `NAME:2` reads the second channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from drivers.profile.point import Point
from drivers.profile.toml_table import TomlTable
from drivers.protocol import ADDRESSES


@dataclass(frozen=True, slots=True)
class Channels:
    """The identical parts of one device. The points of a profile are those of the first part."""

    count: int
    step: int
    """Distance from one channel to the next in addresses. For a point that is a bit of a register, it is in bits."""

    def moved(self, point: Point, number: int) -> Point:
        """Return the point of channel `number` for a point of the first channel, which has number 1."""
        distance = (number - 1) * self.step
        if point.encoding.bit is None:
            return point.moved(distance)
        return replace(point, encoding=replace(point.encoding, bit=point.encoding.bit + distance))


def channels_from(table: TomlTable, points: Sequence[Point]) -> Channels | None:
    """Return the `[channels]` of a profile, or None if the profile has no such table. Raises ProfileError.

    `points` are the points of the first channel, including those of all variants.
    """
    content = table.take("channels", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [channels]")
    count = entry.whole("count", 2, 256)
    channels = Channels(count, step=entry.whole("step", 1, 4096, 1))
    entry.done()
    for point in points:
        if point.encoding.bit is not None and (point.marks or point.fallback):
            raise entry.wrong("count", "cannot be used with a point that is a bit and has marks or fallbacks", count)
        if point.repeat is not None and point.repeat.has_count:
            raise entry.wrong("count", "cannot be used with a repetition whose number of blocks is read", count)
        last = channels.moved(point, count)
        outside = max(span.end for span in last.all_spans) > ADDRESSES
        if outside or (last.encoding.bit or 0) >= last.encoding.bits:
            rule = "is too large: the last channel needs an address above 65535, or a bit that its register lacks"
            raise entry.wrong("count", rule, count)
    return channels
