"""Combines the readings of points into readings of quantities. Pure.

A part is the reading of one point. It is None if the point is optional and the device does not have it.

- The parts of the same node, quantity and phase are added, such as the MPPTs of an inverter. A part whose point has a
  negative scale is subtracted, such as export from import. Percentages are averaged.
- A device may have its active power, a counter or a daily register only per phase. The result then also contains a
  total: the sum of the phases.
- The time of a sum is the time of its oldest part. A sum is invalid if one of its parts is. Otherwise, it is missing if
  one of its parts is.
- A sum omits a part that is None. If all its parts are None, the sum is missing. Exception: a total active power is
  then the sum of its phases, if the device has them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import fsum
from typing import NamedTuple, cast

from drivers.model import Key, Nature, NodeType, Phase, Quality, Quantity, Reading, Resolution, Unit

Part = Reading | None
Combine = Callable[[Sequence[Part], float], tuple[Reading, ...]]


class _Output(NamedTuple):
    """One reading of the result."""

    key: Key
    slots: list[int]
    """The indexes of the parts that are added."""
    single: bool
    """Whether the result is one part, unchanged. False for several parts. Also False if the result is the total of one
    phase: this part has a phase, and the total has none."""
    phases: list[int]
    """The indexes of the parts that are added if all parts of `slots` are None."""


def by_key(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Return key → its indexes (slots) in `keys`."""
    slots: dict[Key, list[int]] = defaultdict(list)
    for slot, key in enumerate(keys):
        slots[key].append(slot)
    return slots


def combiner(keys: Sequence[Key]) -> Combine:
    """Return a function (parts, monotonic time of the poll) that returns one reading for each key and for each total.

    `parts` has one part per point, in the order of `keys`.
    """
    found = _outputs(keys)
    outputs = [
        _Output(key, slots, len(slots) == 1 and key in keys, _phases(key, found) if key in keys else [])
        for key, slots in found.items()
    ]
    combined = partial(_combined, outputs)
    return _direct(combined) if is_direct(keys) else combined


def is_direct(keys: Sequence[Key]) -> bool:
    """Whether nothing is combined: all keys are different, and no total is added."""
    return len(_outputs(keys)) == len(keys) == len(set(keys))


def _outputs(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Return the slots of each output, including the totals that are added."""
    outputs = by_key(keys)
    for (node, quantity, _), slots in list(outputs.items()):
        total = node, quantity, None
        if total not in keys and _has_total(quantity):
            outputs[total] += slots
    return outputs


def _phases(total: Key, outputs: Mapping[Key, list[int]]) -> list[int]:
    """If `total` is the key of a total active power, return the slots of its phases; otherwise no slots."""
    node, quantity, phase = total
    if phase is not None or quantity is not Quantity.ACTIVE_POWER:
        return []
    return [slot for each in Phase for slot in outputs.get((node, quantity, each), ())]


def resolutions(
    keys: Sequence[Key], parts: Sequence[Resolution | None]
) -> dict[tuple[NodeType | None, Quantity], Resolution]:
    """Return the resolution of each total. A total is left out if one of its parts has no resolution.

    A sum has the smallest step of its parts, and the range 0 (unknown).
    """
    found: dict[tuple[NodeType | None, Quantity], Resolution] = {}
    for (node, quantity, phase), slots in _outputs(keys).items():
        own = [parts[slot] for slot in slots]
        steps = [each.step for each in own if each is not None]
        if phase is None and len(steps) == len(own):
            single = own[0] if len(own) == 1 else None
            found[node, quantity] = single or Resolution(min(steps))
    return found


def _direct(otherwise: Combine) -> Combine:
    """Return a function that returns the parts, or calls `otherwise` if one of them is None."""

    def combined(parts: Sequence[Part], at: float) -> tuple[Reading, ...]:
        if all(parts):
            return tuple(cast("Sequence[Reading]", parts))
        return otherwise(parts, at)

    return combined


def _has_total(quantity: Quantity) -> bool:
    return quantity is Quantity.ACTIVE_POWER or quantity.nature in (Nature.COUNTER, Nature.DAILY)


def _combined(outputs: Sequence[_Output], parts: Sequence[Part], at: float) -> tuple[Reading, ...]:
    return tuple(
        (parts[slots[0]] if single else None) or _sum(key, _own(parts, slots, phases), at)
        for key, slots, single, phases in outputs
    )


def _own(parts: Sequence[Part], slots: list[int], phases: list[int]) -> list[Part]:
    own = [parts[slot] for slot in slots]
    return [parts[slot] for slot in phases] if own.count(None) == len(own) else own


def _sum(key: Key, parts: Sequence[Part], at: float) -> Reading:
    node, quantity, phase = key
    found = [part for part in parts if part is not None]
    if not found:
        return Reading(quantity, phase, None, Quality.MISSING, at, node)
    oldest = min(part.at for part in found)
    qualities = {part.quality for part in found}
    for quality in (Quality.INVALID, Quality.MISSING):
        if quality in qualities:
            return Reading(quantity, phase, None, quality, oldest, node)
    value = fsum(part.value for part in found if isinstance(part.value, float))
    if quantity.unit is Unit.PERCENT:
        value /= len(found)
    return Reading(quantity, phase, value, Quality.GOOD, oldest, node)
