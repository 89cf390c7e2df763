"""Scans → a summary per node, summaries → totals per type. Pure.

Every quantity has its last value and a mean, minimum and maximum over the push interval. The mean is weighted by time,
each value standing until the next; intervals meet at their last readings, so that means add up to the integral. A state
counts as 1 while it is on. `agent.energy` makes days of counters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf
from typing import Literal, NamedTuple

from agent.energy_day import Basis
from agent.limits import ranges
from agent.node import Node, Use, use_of
from drivers.model import Nature, NodeType, Phase, Quality, Quantity, Reading, Scan, Value

Key = tuple[Quantity, Phase | None]
Statistic = Literal["last", "mean"]
Fields = dict[str, float | list[str]]

_COUNTERS = frozenset({Nature.COUNTER, Nature.DAILY})


class Gauge(NamedTuple):
    """One quantity of one node since the interval began. Immutable: a summary keeps it while the next one begins."""

    last: Value
    at: float
    interval: int
    start: float
    area: float
    """The integral since `start`: value times seconds."""
    minimum: float
    maximum: float


class Statistics(NamedTuple):
    """One quantity over a push interval."""

    last: Value
    mean: float
    minimum: float
    maximum: float


class Taken(NamedTuple):
    """What a node took of a scan, beyond its gauges."""

    counters: list[tuple[Quantity, float, float]]
    """(quantity, Wh, monotonic seconds)."""
    dropped: list[Reading]
    """Outside the range of the device."""


class NodeSummary(NamedTuple):
    """One node at the end of a push interval. Values that are too old are not there."""

    node: Node
    at: float
    """Monotonic seconds of the tick."""
    stale_after_s: float
    statistic: Statistic
    interval: int
    gauges: dict[Key, Gauge]
    newest: float
    """When its last value was read."""
    expected: int
    """Polls in the interval."""
    got: int
    """Polls that brought a usable value."""

    @property
    def offline(self) -> bool:
        """No fresh value at all."""
        return self.newest < self.at - self.stale_after_s

    @property
    def fresh(self) -> dict[Key, Gauge]:
        return {key: gauge for key, gauge in self.gauges.items() if self.at - gauge.at <= self.stale_after_s}

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest value that is used."""
        return max((self.at - gauge.at for gauge in self.fresh.values()), default=None)

    def gauge(self, quantity: Quantity, phase: Phase | None = None) -> Gauge | None:
        found = self.gauges.get((quantity, phase))
        return found if found is not None and self.at - found.at <= self.stale_after_s else None

    def number(self, quantity: Quantity) -> float | None:
        """The total of a quantity as a number, if it is fresh."""
        gauge = self.gauge(quantity)
        return gauge.last if gauge is not None and isinstance(gauge.last, float) else None

    def statistics(self, gauge: Gauge) -> Statistics:
        """Over the interval; of its last value alone where nothing was read in it."""
        seconds = gauge.at - gauge.start
        if gauge.interval != self.interval or seconds <= 0:
            number = _number(gauge.last)
            return Statistics(gauge.last, number, number, number)
        return Statistics(gauge.last, gauge.area / seconds, gauge.minimum, gauge.maximum)

    def chosen(self, gauge: Gauge) -> float:
        """Last value or mean, as a number, by `poll.statistic`."""
        return _number(gauge.last) if self.statistic == "last" else self.statistics(gauge).mean


def _number(value: Value) -> float:
    return value if isinstance(value, float) else float(value in (True, "on"))


@dataclass(slots=True)
class Window:
    """Collects the readings of one node between two pushes."""

    node: Node
    stale_after_s: float
    gauges: dict[Key, Gauge] = field(default_factory=dict)
    newest: float = -inf
    interval: int = 0
    expected: int = 0
    got: int = 0
    _handed_over: bool = False
    """A summary has `gauges` now; the next reading goes into a copy."""
    _uses: dict[tuple[Quantity, NodeType | None], Use | None] = field(default_factory=dict)
    _ranges: dict[Quantity, tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self._ranges = ranges(self.node.limits)

    def add(self, scan: Scan) -> Taken:
        """Take what belongs to the node."""
        self.expected += 1
        if self._handed_over:
            self.gauges = self.gauges.copy()
            self._handed_over = False
        taken = Taken([], [])
        usable = False
        for reading in scan.readings:
            key = reading.quantity, reading.node
            try:
                use = self._uses[key]
            except KeyError:
                use = self._uses[key] = use_of(self.node, *key)
            if use is not None:
                usable |= self._take(reading, use, taken)
        self.got += usable
        return taken

    def missed(self) -> None:
        """A poll that brought nothing."""
        self.expected += 1

    def close(self, at: float, statistic: Statistic) -> NodeSummary:
        """The node at `at`; the next interval begins."""
        summary = NodeSummary(
            self.node,
            at,
            self.stale_after_s,
            statistic,
            self.interval,
            self.gauges,
            self.newest,
            self.expected,
            self.got,
        )
        self._handed_over = True
        self.interval += 1
        self.expected = self.got = 0
        return summary

    def _take(self, reading: Reading, use: Use, taken: Taken) -> bool:
        value, quality, at = reading.value, reading.quality, reading.at
        if isinstance(value, float):
            low, high = self._ranges[reading.quantity]
            if not low <= value <= high:
                quality = Quality.INVALID
            value *= use.sign
        if quality is Quality.INVALID:  # not the device's word: what it said before stands until it is too old
            taken.dropped.append(reading)
            return False
        key = use.quantity, reading.phase
        if quality is not Quality.GOOD or value is None:
            self.gauges.pop(key, None)
            return False
        self.gauges[key] = self._continued(self.gauges.get(key), value, at)
        self.newest = max(self.newest, at)
        if reading.phase is None and isinstance(value, float) and use.quantity.nature in _COUNTERS:
            taken.counters.append((use.quantity, value, at))
        return True

    def _continued(self, gauge: Gauge | None, value: Value, at: float) -> Gauge:
        number = _number(value)
        if gauge is None or at - gauge.at > self.stale_after_s:  # nobody knows what was in between
            return Gauge(value, at, self.interval, at, 0.0, number, number)
        before = _number(gauge.last)
        area = before * (at - gauge.at)
        if gauge.interval != self.interval:
            return Gauge(value, at, self.interval, gauge.at, area, min(before, number), max(before, number))
        return Gauge(
            value,
            at,
            self.interval,
            gauge.start,
            gauge.area + area,
            min(gauge.minimum, number),
            max(gauge.maximum, number),
        )


class NodeResult(NamedTuple):
    """A node of a push: what is known of it, its fields of the contract, and how well its energies of the day are known
    (None where it has none)."""

    summary: NodeSummary
    fields: Fields
    basis: Basis | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One push: its Unix second, its nodes, and the group of each type."""

    time: int
    nodes: tuple[NodeResult, ...]
    groups: dict[NodeType, Fields]

    def members(self, type_: NodeType) -> list[NodeResult]:
        """The nodes that make the total of a type."""
        return [each for each in self.nodes if each.summary.node.type is type_ and each.summary.node.counted]


def fields_of(summary: NodeSummary) -> Fields:
    """The contract's fields of one node, but for its energies of the day."""
    node = summary.node
    power = _power(summary)
    fields: Fields = {} if power is None else {"active_power_W": power}
    if node.type is NodeType.STORAGE and not summary.offline:
        fields |= _storage(summary)
    if node.type is NodeType.HEAT_PUMP and (state := _state(summary)) is not None:
        fields["operation_modes"] = ["on" if _number(state.last) else "off"]
    return fields


def _power(summary: NodeSummary) -> float | None:
    node = summary.node
    power = summary.gauge(Quantity.ACTIVE_POWER)
    if power is not None:
        return summary.chosen(power)
    if summary.offline and node.when_offline == "zero":
        return 0.0
    if node.nominal_power_W is not None and (state := _state(summary)) is not None:
        return node.nominal_power_W * summary.chosen(state)
    return None


def _state(summary: NodeSummary) -> Gauge | None:
    return summary.gauge(Quantity.OPERATION_MODE) or summary.gauge(Quantity.ON)


def _storage(summary: NodeSummary) -> Fields:
    soc = _percent(summary.number(Quantity.SOC))
    stored = summary.number(Quantity.ENERGY_STORED)
    capacity = summary.number(Quantity.ENERGY_CAPACITY)
    if capacity is None:
        capacity = summary.node.energy_capacity_Wh
    if stored is None and soc is not None and capacity is not None:
        stored = capacity * soc / 100
    if soc is None and stored is not None and capacity:
        soc = _percent(100 * stored / capacity)
    named = {"energy_stored_Wh": stored, "energy_capacity_Wh": capacity, "mean_soc_perc": soc}
    return {name: value for name, value in named.items() if value is not None}


def _percent(value: float | None) -> float | None:
    return None if value is None else min(100.0, max(0.0, value))


def total(members: Sequence[Fields], partial: Literal["omit", "sum"]) -> Fields:
    """The group of a type: sums, the charge weighted by capacity, a field with a missing member left out."""
    values: dict[str, list[float | list[str]]] = defaultdict(list)
    for member in members:
        for name, value in member.items():
            values[name].append(value)
    fields: Fields = {}
    for name, present in values.items():
        if len(present) < len(members) and partial == "omit":
            continue
        if name == "operation_modes":
            fields[name] = [mode for modes in present if isinstance(modes, list) for mode in modes]
        elif name == "mean_soc_perc":
            fields[name] = _mean_soc([member for member in members if name in member])
        else:
            fields[name] = fsum(value for value in present if not isinstance(value, list))
    return fields


def _mean_soc(members: Sequence[Fields]) -> float:
    stored, capacity, charge = (
        [value for member in members if isinstance(value := member.get(name), float)]
        for name in ("energy_stored_Wh", "energy_capacity_Wh", "mean_soc_perc")
    )
    if len(stored) == len(capacity) == len(members) and sum(capacity) > 0:
        return min(100.0, 100 * fsum(stored) / fsum(capacity))
    return fsum(charge) / len(charge)
