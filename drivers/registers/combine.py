"""Readings of single points → readings of quantities: what adds up, and totals of phases. Pure.

Points of the same node, quantity and phase add up: import minus export by negative scales, one MPPT and the next.
Several percentages are a mean. Where a device has its power or a counter per phase only, the total is the sum of its
phases. A sum is as old as its oldest part, and is missing or invalid if any part is; a part that is None is not there
and counts as nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from math import fsum
from typing import cast

from drivers.model import Nature, NodeType, Phase, Quality, Quantity, Reading, Resolution, Unit

Key = tuple[NodeType | None, Quantity, Phase | None]
Part = Reading | None
Combine = Callable[[Sequence[Part], float], tuple[Reading, ...]]


def by_key(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Where each key stands in `keys`."""
    slots: dict[Key, list[int]] = defaultdict(list)
    for slot, key in enumerate(keys):
        slots[key].append(slot)
    return slots


def combiner(keys: Sequence[Key]) -> Combine:
    """A function from a part per point, in the order of `keys`, and the time of the poll to a reading per quantity."""
    outputs = _outputs(keys)
    if len(outputs) == len(keys) == len(set(keys)):
        return _as_they_are(keys)
    return partial(_combined, [(key, slots, len(slots) == 1 and key in keys) for key, slots in outputs.items()])


def _outputs(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """The slots behind each quantity that leaves; a total of phases where the device has none."""
    outputs = by_key(keys)
    for (node, quantity, phase), slots in list(outputs.items()):
        total = node, quantity, None
        if phase is not None and total not in keys and _has_total(quantity):
            outputs[total] += slots
    return outputs


def resolutions(
    keys: Sequence[Key], parts: Sequence[Resolution | None]
) -> dict[tuple[NodeType | None, Quantity], Resolution]:
    """What totals of a device can tell, of the resolutions of its points; a sum has the step of its finest part."""
    found: dict[tuple[NodeType | None, Quantity], Resolution] = {}
    for (node, quantity, phase), slots in _outputs(keys).items():
        own = [parts[slot] for slot in slots]
        steps = [each.step for each in own if each is not None]
        if phase is None and len(steps) == len(own):
            single = own[0] if len(own) == 1 else None
            found[node, quantity] = single or Resolution(min(steps))
    return found


def _as_they_are(keys: Sequence[Key]) -> Combine:
    def combined(parts: Sequence[Part], at: float) -> tuple[Reading, ...]:
        if all(parts):
            return tuple(cast("Sequence[Reading]", parts))
        return tuple(part or _sum(key, [], at) for key, part in zip(keys, parts, strict=True))

    return combined


def _has_total(quantity: Quantity) -> bool:
    return quantity is Quantity.ACTIVE_POWER or quantity.nature in (Nature.COUNTER, Nature.DAILY)


def _combined(outputs: Sequence[tuple[Key, list[int], bool]], parts: Sequence[Part], at: float) -> tuple[Reading, ...]:
    return tuple(
        (parts[slots[0]] if single else None) or _sum(key, [parts[slot] for slot in slots], at)
        for key, slots, single in outputs
    )


def _sum(key: Key, parts: Sequence[Part], at: float) -> Reading:
    node, quantity, phase = key
    found = [part for part in parts if part is not None]
    if not found:
        return Reading(quantity, phase, None, Quality.MISSING, at, node)
    oldest = min(part.at for part in found)
    for part in found:
        if part.quality is not Quality.GOOD:
            return Reading(quantity, phase, None, part.quality, oldest, node)
    value = fsum(part.value for part in found if isinstance(part.value, float))
    if quantity.unit is Unit.PERCENT:
        value /= len(found)
    return Reading(quantity, phase, value, Quality.GOOD, oldest, node)
