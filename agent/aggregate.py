"""Scans → a Summary per node, Summaries → totals per type. Pure.

Gauges have a last value and a mean, minimum and maximum over the push interval; the mean is weighted by time, each
value standing until the next. Counters and states have their last value; `agent.energy` makes days of counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agent.node import Node, readings_of
from drivers.model import Nature, NodeType, Phase, Quality, Quantity, Reading, Value

Key = tuple[Quantity, Phase | None]


@dataclass(slots=True)
class Gauge:
    """One quantity over the push interval."""

    last: Value
    at: float
    first_at: float
    area: float = 0.0
    """The integral since `first_at`: value times seconds."""
    minimum: float = 0.0
    maximum: float = 0.0

    @property
    def mean(self) -> Value:
        seconds = self.at - self.first_at
        return self.area / seconds if seconds > 0 else self.last


@dataclass(frozen=True, slots=True)
class NodeSummary:
    """One node at the end of a push interval: only values fresh enough to be sent."""

    node: Node
    values: dict[Key, Value]
    expected: int
    """Polls in the interval."""
    got: int
    """Polls that brought a usable power or state."""
    oldest_s: float | None
    """Age of the oldest value that is used."""
    offline: bool
    """No fresh reading at all."""


@dataclass(slots=True)
class Window:
    """Collects the readings of one node between two pushes."""

    node: Node
    gauges: dict[Key, Gauge] = field(default_factory=dict)
    expected: int = 0
    got: int = 0

    def add(self, readings: Iterable[Reading]) -> list[Reading]:
        """Take one scan; returns the node's own readings, for the energies."""
        self.expected += 1
        own = list(readings_of(self.node, readings))
        usable = False
        for reading in own:
            key = reading.quantity, reading.phase
            value = reading.value
            if reading.quality is not Quality.GOOD or value is None:
                self.gauges.pop(key, None)
                continue
            usable = True
            gauge = self.gauges.get(key)
            if gauge is None:
                number = value if isinstance(value, float) else 0.0
                self.gauges[key] = Gauge(value, reading.at, reading.at, 0.0, number, number)
                continue
            if isinstance(value, float) and isinstance(gauge.last, float):
                gauge.area += gauge.last * (reading.at - gauge.at)
                gauge.minimum = min(gauge.minimum, value)
                gauge.maximum = max(gauge.maximum, value)
            gauge.last = value
            gauge.at = reading.at
        self.got += usable
        return own

    def missed(self) -> None:
        """A poll that brought nothing."""
        self.expected += 1

    def close(self, at: float, stale_after_s: float, statistic: Literal["last", "mean"]) -> NodeSummary:
        """The node at `at`; the next interval begins."""
        values: dict[Key, Value] = {}
        oldest: float | None = None
        for key, gauge in self.gauges.items():
            age = at - gauge.at
            if age > stale_after_s:
                continue
            mean = statistic == "mean" and key[0].nature is Nature.GAUGE and key[0] is Quantity.ACTIVE_POWER
            values[key] = gauge.mean if mean else gauge.last
            oldest = max(oldest or 0.0, age)
            gauge.first_at, gauge.area = gauge.at, 0.0
            if isinstance(gauge.last, float):
                gauge.minimum = gauge.maximum = gauge.last
        summary = NodeSummary(self.node, values, self.expected, self.got, oldest, not values)
        self.expected = self.got = 0
        return summary


Fields = dict[str, float | list[str]]


@dataclass(frozen=True, slots=True)
class Summary:
    """One push: its Unix second, each node with its fields, and the group of each type."""

    time: int
    nodes: tuple[tuple[NodeSummary, Fields], ...]
    groups: dict[NodeType, Fields]


def fields_of(summary: NodeSummary, today: dict[str, float]) -> Fields:
    """The contract's fields of one node; `today` are its energies of the day by field name."""
    node = summary.node
    fields: Fields = {}
    power = _power(summary)
    if power is not None:
        fields["active_power_W"] = power
    if node.type is NodeType.STORAGE:
        fields |= _storage(summary)
    if node.type is NodeType.HEAT_PUMP and (mode := _mode(summary)) is not None:
        fields["operation_modes"] = [mode]
    return fields | today


def _power(summary: NodeSummary) -> float | None:
    node = summary.node
    power = summary.values.get((Quantity.ACTIVE_POWER, None))
    if isinstance(power, float):
        return power
    if summary.offline and node.when_offline == "zero":
        return 0.0
    state = _mode(summary)
    if state is not None and node.nominal_power_W is not None:
        return node.nominal_power_W if state == "on" else 0.0
    return None


def _mode(summary: NodeSummary) -> str | None:
    mode = summary.values.get((Quantity.OPERATION_MODE, None))
    if isinstance(mode, str):
        return mode
    on = summary.values.get((Quantity.ON, None))
    return None if on is None else "on" if on else "off"


def _storage(summary: NodeSummary) -> Fields:
    values = summary.values
    soc = values.get((Quantity.SOC, None))
    stored = values.get((Quantity.ENERGY_STORED, None))
    capacity = values.get((Quantity.ENERGY_CAPACITY, None), summary.node.energy_capacity_Wh)
    if not isinstance(stored, float) and isinstance(soc, float) and isinstance(capacity, float):
        stored = capacity * soc / 100
    if not isinstance(soc, float) and isinstance(stored, float) and isinstance(capacity, float) and capacity > 0:
        soc = 100 * stored / capacity
    named = {"energy_stored_Wh": stored, "energy_capacity_Wh": capacity, "mean_soc_perc": soc}
    # A capacity from the configuration alone is no reading of a battery that is silent.
    if summary.offline:
        return {}
    return {name: value for name, value in named.items() if isinstance(value, float)}


def total(members: Sequence[Fields], partial: Literal["omit", "sum"]) -> Fields:
    """The group of a type: sums, the charge weighted by capacity, a field with a missing member left out."""
    fields: Fields = {}
    for name in dict.fromkeys(name for member in members for name in member):
        present = [member[name] for member in members if name in member]
        if len(present) < len(members) and partial == "omit":
            continue
        if name == "operation_modes":
            fields[name] = [mode for modes in present if isinstance(modes, list) for mode in modes]
        elif name == "mean_soc_perc":
            fields[name] = _mean_soc(members)
        else:
            fields[name] = sum(value for value in present if not isinstance(value, list))
    return fields


def _mean_soc(members: Sequence[Fields]) -> float:
    stored = [member.get("energy_stored_Wh") for member in members]
    capacity = [member.get("energy_capacity_Wh") for member in members]
    energies = [value for value in stored if isinstance(value, float)]
    capacities = [value for value in capacity if isinstance(value, float)]
    if len(energies) == len(capacities) == len(members) and sum(capacities) > 0:
        return 100 * sum(energies) / sum(capacities)
    charges = [member["mean_soc_perc"] for member in members if "mean_soc_perc" in member]
    numbers = [value for value in charges if isinstance(value, float)]
    return sum(numbers) / len(numbers)
