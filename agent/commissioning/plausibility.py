"""Hints about readings that look wrong, for one device and for the powers of a whole site. Pure.

A hint names the observation and a possible cause. The ranges are wide, so that hints are rarely wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isclose

from agent.domain.node import Node
from agent.domain.ranges import WIDEST, Range
from drivers.model import LOADS, Kind, Nature, NodeType, Phase, Quality, Quantity, Reading

Values = Mapping[tuple[Quantity, Phase | None], float]

_COUNTERS = (Nature.COUNTER, Nature.DAILY)
_RANGES: dict[Quantity, Range] = WIDEST | {
    Quantity.VOLTAGE: (50.0, 800.0),
    Quantity.CURRENT: (-1e4, 1e4),
    Quantity.FREQUENCY: (40.0, 70.0),
    Quantity.POWER_FACTOR: (-1.0, 1.0),
    Quantity.SOC: (0.0, 100.0),
    Quantity.SOH: (0.0, 110.0),
    Quantity.TEMPERATURE: (-60.0, 200.0),
    Quantity.DC_VOLTAGE: (0.0, 2000.0),
    **{quantity: (0.0, range_[1]) for quantity, range_ in WIDEST.items() if quantity.nature in _COUNTERS},
}
"""The ranges of possible values, in the unit of the quantity. Some are narrower than the ranges of valid readings."""

_OTHER_RANGE = (-1e13, 1e13)
"""The range of every quantity that is not in `_RANGES`."""
_MAY_BE_ZERO = frozenset({Quantity.VOLTAGE, Quantity.FREQUENCY})
"""0 is outside the range of these quantities, but possible: a phase is not connected, or the device sleeps."""

_MIN_VALUES = 4
"""A device with fewer numbers than this gets no hint if all are 0, because it may be idle."""

_TINY = 1e-6
"""A number closer to 0 than this is impossible, except 0 itself. A wrong word order gives such numbers."""

_STANDBY_W = 100.0
"""Below this absolute value, the sign of a power is not checked: the device may be idle and consume a little."""
_ENOUGH_VA = 500.0
"""If power and voltage times current are both smaller than this, they are not compared."""
_LEAST_RATIO_UP, _LEAST_RATIO_DOWN, _MOST_RATIO = 2, 5, 1000
"""The ratio of a current transformer (CT) can explain a power that is one of these:

- `_LEAST_RATIO_UP` to `_MOST_RATIO` times the product voltage x current
- this product divided by `_LEAST_RATIO_DOWN` to `_MOST_RATIO`

A lower divisor may have another cause: if the device does not report a power factor of 0.3, the power is the product
divided by 3.3.
"""


def possible(reading: Reading) -> bool:
    """Whether the value is possible. A missing value is possible, an invalid one is not."""
    value = reading.value
    if reading.quality is Quality.INVALID:
        return False
    if not isinstance(value, float) or (value == 0 and reading.quantity in _MAY_BE_ZERO):
        return True
    low, high = _RANGES.get(reading.quantity, _OTHER_RANGE)
    return low <= value <= high and not 0 < abs(value) < _TINY


def hints(node: Node, readings: Iterable[Reading]) -> Iterator[str]:
    """Yield hints about the readings of a node. The readings have the sign of the node's type."""
    values: dict[tuple[Quantity, Phase | None], float] = {}
    for reading in readings:
        if reading.quality is Quality.INVALID and reading.quantity.nature is Nature.STATE:
            yield f"{name_of(reading)} is a number that the profile does not name: is the profile correct?"
        elif not possible(reading):
            seen = "outside its range" if reading.value is None else f"{reading.value:g} {reading.quantity.unit.value}"
            yield f"{name_of(reading)} is {seen}: are profile, scale and word_order correct?"
        elif isinstance(reading.value, float):
            values[reading.quantity, reading.phase] = reading.value
    yield from _sign(node, values)
    yield from _reversed(values)
    if node.kind is not Kind.HYBRID or node.type is NodeType.GRID:  # the other nodes of a hybrid have DC powers
        yield from _ratio(values)


def empty_hint(readings: Sequence[Reading]) -> str | None:
    """Return a hint if the device answers without any value, or with `_MIN_VALUES` or more numbers that are all 0."""
    if not any(reading.value is not None for reading in readings):
        return "it answers, but it has no values: does it sleep, or is the driver wrong?"
    numbers = [reading.value for reading in readings if isinstance(reading.value, float)]
    if len(numbers) >= _MIN_VALUES and not any(numbers):
        return "all values are 0: are the driver and the unit id correct?"
    return None


def word_order_hint(before: Sequence[Reading], after: Sequence[Reading], order: str) -> str | None:
    """Return a hint if `order` seems to be the correct word order; else None.

    `after` are the readings of `before` in this word order. The hint needs all of these:

    - `before` has an impossible value.
    - All values of `after` are possible.
    - At least one value of `after` is not 0.
    """
    wrong = [reading for reading in before if not possible(reading)]
    if not wrong or not all(map(possible, after)) or not any(reading.value for reading in after):
        return None
    names = ", ".join(sorted({name_of(reading) for reading in wrong}))
    return f'the word order seems wrong: with word_order = "{order}" the values of {names} would be possible'


def name_of(reading: Reading) -> str:
    """Return the name of a quantity, with its phase."""
    name: str = reading.quantity.value
    return f"{name}_{reading.phase}" if reading.phase else name


def _sign(node: Node, values: Values) -> Iterator[str]:
    power = values.get((Quantity.ACTIVE_POWER, None))
    if power is None or power > -_STANDBY_W or node.type in (NodeType.GRID, NodeType.STORAGE):
        return
    positive = "production" if node.type is NodeType.SOLAR else "consumption"
    yield f"the sign seems inverted: active_power is {power:g} W, but {positive} is positive; try invert = true"


def _reversed(values: Values) -> Iterator[str]:
    """Yield a hint if the power of a phase and its voltage times current have opposite signs.

    Either of these shows it:

    - The current of the phase is negative, and its power is positive.
    - Power and power factor have the same sign on some phases and opposite signs on others. The hint names the smaller
      group of phases. If both groups have the same size, the hint names the phases with opposite signs.
    """
    opposed = []
    along: list[Phase] = []
    against: list[Phase] = []
    for phase in Phase:
        power = values.get((Quantity.ACTIVE_POWER, phase), 0.0)
        if abs(power) < _STANDBY_W:
            continue
        # Many devices report the current without a sign, so only a negative current is information.
        if values.get((Quantity.CURRENT, phase), 0.0) < 0 < power:
            opposed.append(phase)
        if (factor := values.get((Quantity.POWER_FACTOR, phase), 0.0)) != 0:
            (along if factor * power > 0 else against).append(phase)
    # A device uses one of two sign conventions for the power factor, the same one for all phases.
    if along and against:
        opposed += against if len(against) <= len(along) else along
    if opposed:
        where = ", ".join(sorted(set(opposed)))
        yield (
            f"the signs of power and voltage x current differ on {where}:"
            " a current transformer is reversed or on the wrong phase"
        )


def _ratio(values: Values) -> Iterator[str]:
    """Yield a hint if a CT ratio can explain the difference between the power and voltage times current."""
    by_phase = [pair for phase in Phase if (pair := _pair(values, phase)) is not None]
    pairs = by_phase or [pair for pair in (_pair(values, None),) if pair is not None]
    power, product = sum(abs(pair[0]) for pair in pairs), sum(abs(pair[1]) for pair in pairs)
    if max(power, product) < _ENOUGH_VA or not power or not product:
        return
    up, down = _whole(power / product), _whole(product / power)
    if up == len(Phase) and not by_phase:
        return  # the current is the current of one phase
    if up >= _LEAST_RATIO_UP:
        yield f"power is {up} times voltage x current: the CT ratio is applied twice, or not applied to the current"
    elif down >= _LEAST_RATIO_DOWN:
        yield f"power is voltage x current / {down}: the CT ratio seems not to be applied to the power"


def _pair(values: Values, phase: Phase | None) -> tuple[float, float] | None:
    """Return active power, and voltage times current times power factor; None without power, voltage or current.

    A power factor that is 0 or not reported counts as 1.
    """
    power = values.get((Quantity.ACTIVE_POWER, phase))
    voltage = values.get((Quantity.VOLTAGE, phase))
    current = values.get((Quantity.CURRENT, phase))
    if power is None or voltage is None or current is None:
        return None
    return power, voltage * current * (values.get((Quantity.POWER_FACTOR, phase)) or 1.0)


def _whole(times: float) -> int:
    """Return the integer nearest to `times`; 0 if they differ by more than 5 %, or if it is above `_MOST_RATIO`."""
    whole = round(times)
    return whole if whole <= _MOST_RATIO and isclose(times, whole, rel_tol=0.05) else 0


_LEAST_W = 300.0
_SHARE = 0.1
"""The sum of all powers has a tolerance of `_LEAST_W`, or of this share of the largest power if this share is more.
Devices are polled at different moments, and their measurements are not exact."""

_SIGN_INTO_SITE = {NodeType.GRID: 1.0, NodeType.SOLAR: 1.0, NodeType.STORAGE: -1.0, **dict.fromkeys(LOADS, -1.0)}
"""1: a positive power of the type is supplied to the site. -1: a positive power is taken by a battery or a load."""
_BIDIRECTIONAL = (NodeType.GRID, NodeType.STORAGE)
"""The power of these types flows in both directions, so its sign alone does not show a mistake."""


def imbalance(powers: Mapping[NodeType, float]) -> str | None:
    """Return a hint if batteries, loads and export take more power than grid, solar and batteries supply.

    None if the difference is within the tolerance, or if `powers` has no grid, or only the grid.
    `powers`: type → W, with the signs of the contract.
    """
    if NodeType.GRID not in powers or len(powers) < 2:
        return None
    tolerance = max(_LEAST_W, _SHARE * max(map(abs, powers.values())))
    left_W = remaining_power(powers)
    if left_W >= -tolerance:
        return None
    turned = {
        type_: remaining_power({**powers, type_: -power}) for type_, power in powers.items() if type_ in _BIDIRECTIONAL
    }
    guesses = [f"with {type_} inverted {round(left)} W" for type_, left in turned.items() if left >= -tolerance]
    terms = [
        f"{'+' if _SIGN_INTO_SITE[type_] > 0 else '-'} {type_} {round(power)} W" for type_, power in powers.items()
    ]
    return (
        f"{' '.join(terms).removeprefix('+ ')} leaves {round(left_W)} W for the rest of the house"
        + (f"; {', '.join(guesses)}" if guesses else "")
        + ". Is a sign inverted, is a power counted twice, or is a generator not measured?"
    )


def remaining_power(powers: Mapping[NodeType, float]) -> float:
    """Return the power in W that these types supply to the site, minus the power that they take from it.

    `powers`: type → W, with the signs of the contract.
    """
    return sum(_SIGN_INTO_SITE[type_] * power for type_, power in powers.items())
