"""Hints on readings that look wrong, of one device and of the powers of a whole site. Pure.

Hints, not errors: each names what was seen and what it may mean. Ranges are wide, so that a hint means something.
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
"""Outside is a value that the agent does not use, or that is unlikely."""

_OTHERS = (-1e13, 1e13)
_MAY_BE_ZERO = frozenset({Quantity.VOLTAGE, Quantity.FREQUENCY})
"""A phase that is not connected, a device that sleeps."""

_MANY = 4
"""Fewer values may all be 0 in a device at rest."""

_TINY = 1e-6
"""Numbers this small but not 0 come from words in the wrong order, not from measuring."""

_STANDBY_W = 100.0
_ENOUGH_VA = 500.0
_LEAST_RATIO_UP, _LEAST_RATIO_DOWN, _MOST_RATIO = 2, 5, 1000
"""A power of a half or a third of voltage times current may still be a power factor."""


def possible(reading: Reading) -> bool:
    """Whether the value can be at all; one that is missing can."""
    value = reading.value
    if reading.quality is Quality.INVALID:
        return False
    if not isinstance(value, float) or (value == 0 and reading.quantity in _MAY_BE_ZERO):
        return True
    low, high = _RANGES.get(reading.quantity, _OTHERS)
    return low <= value <= high and not 0 < abs(value) < _TINY


def hints(node: Node, readings: Iterable[Reading]) -> Iterator[str]:
    """What looks wrong with the readings of a node, which are in the sign of its type."""
    values: dict[tuple[Quantity, Phase | None], float] = {}
    for reading in readings:
        if not possible(reading):
            seen = "outside its range" if reading.value is None else f"{reading.value:g} {reading.quantity.unit.value}"
            yield f"{name_of(reading)} is {seen}: is it the right profile, scale and word_order?"
        elif isinstance(reading.value, float):
            values[reading.quantity, reading.phase] = reading.value
    yield from _sign(node, values)
    yield from _turned(values)
    if node.kind is not Kind.HYBRID or node.type is NodeType.GRID:  # else the power is that of the DC side
        yield from _ratio(values)


def blank(readings: Sequence[Reading]) -> str | None:
    """A hint when the device answers and says nothing."""
    if not any(reading.value is not None for reading in readings):
        return "it answers, but has no value for anything: does it sleep, or is it another device?"
    numbers = [reading.value for reading in readings if isinstance(reading.value, float)]
    if len(numbers) >= _MANY and not any(numbers):
        return "everything reads 0: is it another device, or another unit id?"
    return None


def swapped(before: Sequence[Reading], after: Sequence[Reading], order: str) -> str | None:
    """A hint when `after`, read in another word order, is possible where `before` is not."""
    wrong = [reading for reading in before if not possible(reading)]
    if not wrong or not all(map(possible, after)) or not any(reading.value for reading in after):
        return None
    names = ", ".join(sorted({name_of(reading) for reading in wrong}))
    return f'the word order seems swapped: with word_order = "{order}" {names} would be possible'


def name_of(reading: Reading) -> str:
    """Quantity and phase."""
    name: str = reading.quantity.value
    return f"{name}_{reading.phase}" if reading.phase else name


def _sign(node: Node, values: Values) -> Iterator[str]:
    power = values.get((Quantity.ACTIVE_POWER, None))
    if power is None or power > -_STANDBY_W or node.type in (NodeType.GRID, NodeType.STORAGE):
        return
    positive = "production" if node.type is NodeType.SOLAR else "consumption"
    yield f"the sign seems inverted: active_power is {power:g} W, but {positive} is positive; try `invert`"


def _turned(values: Values) -> Iterator[str]:
    """Power against the sign of its own current; against that of its power factor where the phases do not agree."""
    opposed = []
    along: list[Phase] = []
    against: list[Phase] = []
    for phase in Phase:
        power = values.get((Quantity.ACTIVE_POWER, phase), 0.0)
        if abs(power) < _STANDBY_W:
            continue
        # A current without a sign says nothing, so only a negative one does.
        if values.get((Quantity.CURRENT, phase), 0.0) < 0 < power:
            opposed.append(phase)
        if (factor := values.get((Quantity.POWER_FACTOR, phase), 0.0)) != 0:
            (along if factor * power > 0 else against).append(phase)
    # Devices count the sign of a power factor in two ways, but each counts all phases alike.
    if along and against:
        opposed += against if len(against) <= len(along) else along
    if opposed:
        where = ", ".join(sorted(set(opposed)))
        yield f"power and voltage x current disagree in sign on {where}: a current transformer is turned or misplaced"


def _ratio(values: Values) -> Iterator[str]:
    """A whole factor between power and voltage times current is a transformer ratio set on one side only."""
    by_phase = [pair for phase in Phase if (pair := _pair(values, phase)) is not None]
    pairs = by_phase or [pair for pair in (_pair(values, None),) if pair is not None]
    power, product = sum(abs(pair[0]) for pair in pairs), sum(abs(pair[1]) for pair in pairs)
    if max(power, product) < _ENOUGH_VA or not power or not product:
        return
    up, down = _whole(power / product), _whole(product / power)
    if up == len(Phase) and not by_phase:
        return  # the current is that of one phase
    if up >= _LEAST_RATIO_UP:
        yield f"power is {up} times voltage x current: the CT ratio counts twice, or is missing in the current"
    elif down >= _LEAST_RATIO_DOWN:
        yield f"power is voltage x current / {down}: the CT ratio seems to be missing in the power"


def _pair(values: Values, phase: Phase | None) -> tuple[float, float] | None:
    """Active power and what voltage, current and power factor (1 where there is none) make of it."""
    power = values.get((Quantity.ACTIVE_POWER, phase))
    voltage = values.get((Quantity.VOLTAGE, phase))
    current = values.get((Quantity.CURRENT, phase))
    if power is None or voltage is None or current is None:
        return None
    return power, voltage * current * (values.get((Quantity.POWER_FACTOR, phase)) or 1.0)


def _whole(times: float) -> int:
    """The whole number that `times` is, within what rounding makes of it; 0 when it is none."""
    whole = round(times)
    return whole if whole <= _MOST_RATIO and isclose(times, whole, rel_tol=0.05) else 0


_LEAST_W = 300.0
_SHARE = 0.1
"""Devices are not asked in the same moment, and measure what they please."""

_INTO_HOUSE = {NodeType.GRID: 1.0, NodeType.SOLAR: 1.0, NodeType.STORAGE: -1.0, **dict.fromkeys(LOADS, -1.0)}
_METERED = (NodeType.GRID, NodeType.STORAGE)
"""What flows both ways, so that nobody sees it from the sign alone."""


def imbalance(powers: Mapping[NodeType, float]) -> str | None:
    """A hint when more flows out of the site than into it. `powers`: per type, in W, signed as in the contract."""
    if NodeType.GRID not in powers or len(powers) < 2:
        return None
    tolerance = max(_LEAST_W, _SHARE * max(map(abs, powers.values())))
    rest = _rest(powers)
    if rest >= -tolerance:
        return None
    turned = {type_: _rest({**powers, type_: -power}) for type_, power in powers.items() if type_ in _METERED}
    guesses = [f"with {type_} turned around {left:.0f} W" for type_, left in turned.items() if left >= -tolerance]
    terms = [f"{'+' if _INTO_HOUSE[type_] > 0 else '-'} {type_} {power:.0f} W" for type_, power in powers.items()]
    return (
        f"{' '.join(terms).removeprefix('+ ')} leaves {rest:.0f} W for the rest of the house"
        + (f"; {', '.join(guesses)}" if guesses else "")
        + ". Is a sign inverted, is a power counted twice, or is something that generates not measured?"
    )


def _rest(powers: Mapping[NodeType, float]) -> float:
    return sum(_INTO_HOUSE[type_] * power for type_, power in powers.items())
