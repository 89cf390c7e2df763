"""Readings of single points → readings of quantities: what adds up, and totals of phases. Pure.

Points of the same node, quantity and phase add up: import minus export by negative scales, one MPPT and the next, a
counter's kWh and MWh. Where a device has its power or a counter per phase only, the total is the sum of its phases. A
sum is as old as its oldest part, and is missing or invalid if any part is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from math import fsum

from drivers.model import Nature, NodeType, Phase, Quality, Quantity, Reading

Key = tuple[NodeType | None, Quantity, Phase | None]
Combine = Callable[[Sequence[Reading]], tuple[Reading, ...]]


def by_key(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Where each key stands in `keys`."""
    slots: dict[Key, list[int]] = defaultdict(list)
    for slot, key in enumerate(keys):
        slots[key].append(slot)
    return slots


def combiner(keys: Sequence[Key]) -> Combine:
    """A function from a reading per point, in the order of `keys`, to a reading per quantity."""
    outputs = by_key(keys)
    for (node, quantity, phase), slots in list(outputs.items()):
        total = node, quantity, None
        if phase is not None and total not in keys and _has_total(quantity):
            outputs[total] += slots
    if len(outputs) == len(keys) == len(set(keys)):
        return tuple
    return partial(_combined, [(key, slots, len(slots) == 1 and key in keys) for key, slots in outputs.items()])


def _has_total(quantity: Quantity) -> bool:
    return quantity is Quantity.ACTIVE_POWER or quantity.nature in (Nature.COUNTER, Nature.DAILY)


def _combined(outputs: Sequence[tuple[Key, list[int], bool]], readings: Sequence[Reading]) -> tuple[Reading, ...]:
    return tuple(
        readings[slots[0]] if single else _sum(key, [readings[slot] for slot in slots])
        for key, slots, single in outputs
    )


def _sum(key: Key, parts: Sequence[Reading]) -> Reading:
    node, quantity, phase = key
    at = min(part.at for part in parts)
    for part in parts:
        if part.quality is not Quality.GOOD:
            return Reading(quantity, phase, None, part.quality, at, node)
    value = fsum(part.value for part in parts if isinstance(part.value, float))
    return Reading(quantity, phase, value, Quality.GOOD, at, node)
