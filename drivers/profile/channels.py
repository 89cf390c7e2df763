"""Like outputs of one device, each a device of its own to the site: `NAME:2` is the second. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from drivers.profile.point import Point
from drivers.profile.toml_table import TomlTable
from drivers.protocol import ADDRESSES


@dataclass(frozen=True, slots=True)
class Channels:
    """Like outputs of one device: the points of a profile are those of the first."""

    count: int
    step: int
    """Addresses from one channel to the next; for points that are bits, bits of their register."""

    def moved(self, point: Point, number: int) -> Point:
        """The point of channel `number`, 1 being the first."""
        distance = (number - 1) * self.step
        if point.encoding.bit is None:
            return point.moved(distance)
        return replace(point, encoding=replace(point.encoding, bit=point.encoding.bit + distance))


def channels_from(table: TomlTable, points: Sequence[Point]) -> Channels | None:
    """The `[channels]` of a profile; None for one output. Raises ProfileError."""
    content = table.take("channels", dict, None)
    if content is None:
        return None
    entry = TomlTable(content, f"{table.where}: [channels]")
    channels = Channels(count=entry.whole("count", 2, 256), step=entry.whole("step", 1, 4096, 1))
    entry.done()
    for last in (channels.moved(point, channels.count) for point in points):
        if max(last.words) >= ADDRESSES or (last.encoding.bit or 0) >= 16 * last.encoding.width:
            raise entry.wrong("count", "must leave each point inside its register and below 65536", channels.count)
    return channels
