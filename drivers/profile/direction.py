"""`directed = true` in a profile: the `on` point of a node becomes the `negative` mark of the node's power. Pure.

Some devices report the magnitude of a power, for example of a battery, and a bit for the direction of this power. A
profile declares this bit as the `on` point. While the bit is set, the power is negative (`Point.negative`). The
`on` point gives no reading of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drivers.model import Quantity
from drivers.profile.mark import Mark
from drivers.profile.point import Point
from drivers.profile.toml_table import TomlTable


def directed(table: TomlTable, points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points of a profile or of a variant.

    Without `directed = true`, they are not changed. With it, all `on` points are removed, and the active powers of
    their nodes get a `negative` mark. A power that already has one keeps it. Raises ProfileError if no node has both an
    active power and an `on` point.
    """
    if not table.take("directed", bool, False):
        return tuple(points)
    marks = {
        point.node: Mark(point.table, point.address, point.encoding)
        for point in points
        if point.quantity is Quantity.ON
    }
    powers = [point for point in points if point.quantity is Quantity.ACTIVE_POWER and point.node in marks]
    if not powers:
        raise table.wrong("directed", "needs the points active_power and on, both for the same node", True)
    turned = {id(point): replace(point, negative=marks[point.node]) for point in powers if point.negative is None}
    return tuple(turned.get(id(point), point) for point in points if point.quantity is not Quantity.ON)
