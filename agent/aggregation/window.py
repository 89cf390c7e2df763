"""Collects the scans of a node, and returns a summary at the end of a push interval. Pure."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from agent.aggregation.cells import AT, EMPTY, update
from agent.aggregation.node_summary import Key, NodeSummary, Statistic
from agent.domain.node import Node, use_of
from agent.domain.ranges import ranges
from agent.domain.sleep import Night, heard
from drivers.model import Nature, NodeType, Phase, Quality, Quantity, Reading, Scan

_COUNTERS = frozenset({Nature.COUNTER, Nature.DAILY})


class Collected(NamedTuple):
    """The readings of a scan that the caller handles: counters, and readings outside the range."""

    counters: list[tuple[Quantity, float, float]]
    """(quantity, Wh, monotonic seconds)."""
    dropped: list[Reading]
    """Readings outside the range of the device."""
    power_W: float | None
    """The power of the node in this scan, in the sign of its type."""


class _Source(NamedTuple):
    """How a node uses a reading: the index of its cells, its sign and its valid range."""

    place: int
    sign: float
    low: float
    high: float
    counter: Quantity | None
    """The counter of the reading, for the energies of the day; None if it is not a counter."""


@dataclass(slots=True)
class Window:
    """Collects the readings of one node between two pushes."""

    node: Node
    stale_after_s: float
    newest: float = -inf
    night: Night | None = None
    """The night of a solar node."""
    interval: int = 0
    expected: int = 0
    got: int = 0
    _powerless: float = -inf
    _places: dict[Key, int] = field(default_factory=dict)
    _totals: dict[Quantity, int] = field(default_factory=dict)
    _handed_over: bool = False
    """The last summary uses `_cells`, so the next reading must first copy it."""
    _cells: array[float] = field(default_factory=lambda: array("d"))
    _sources: dict[tuple[Quantity, Phase | None, NodeType | None], _Source | None] = field(default_factory=dict)

    def add(self, scan: Scan) -> Collected:
        """Add the readings of the node."""
        self.expected += 1
        if self._handed_over:
            self._handed_over = False
            self._cells = self._cells[:]
        counters: list[tuple[Quantity, float, float]] = []
        dropped: list[Reading] = []
        usable = False
        for reading in scan.readings:
            key = reading.quantity, reading.phase, reading.node
            try:
                source = self._sources[key]
            except KeyError:
                source = self._sources[key] = self._source(*key)
            if source is not None:
                usable |= self._take(reading, source, counters, dropped)
        self.got += usable
        power = self._totals.get(Quantity.ACTIVE_POWER)
        if power is None:
            return Collected(counters, dropped, None)
        power_W, at = self._cells[power], self._cells[power + AT]
        self._heard(power_W, at, scan)
        return Collected(counters, dropped, power_W if at >= scan.started else None)

    def missed(self, count: int = 1) -> None:
        """Count polls that were due and gave nothing."""
        self.expected += count

    def close(self, at: float, statistic: Statistic) -> NodeSummary:
        """Return the summary at monotonic `at` and begin the next interval."""
        summary = NodeSummary(
            self.node,
            at,
            at - self.stale_after_s,
            statistic,
            self.interval,
            self._places,
            self._totals,
            self._cells,
            self.newest,
            self.expected,
            self.got,
            self._powerless,
            self.night,
        )
        self._handed_over = True
        self.interval += 1
        self.expected = self.got = 0
        return summary

    def _heard(self, power_W: float, at: float, scan: Scan) -> None:
        """Update the night by the last power, or by a scan without a power."""
        powerless = at == -inf and scan.complete  # in a partial scan, the power may only be unread
        if powerless:
            self._powerless = scan.finished
        if self.node.type is NodeType.SOLAR:
            if at > -inf:
                self.night = heard(self.night, power_W, at)
            elif powerless and self.night is None:
                self.night = heard(None, 0.0, scan.finished)

    def _source(self, quantity: Quantity, phase: Phase | None, marked: NodeType | None) -> _Source | None:
        use = use_of(self.node, quantity, marked)
        if use is None:
            return None
        key = use.quantity, phase
        if key not in self._places:
            place = len(self._cells)
            self._cells.extend(EMPTY)
            self._places = self._places | {key: place}  # a summary may use the old dict
            if phase is None:
                self._totals = self._totals | {use.quantity: place}
        counter = use.quantity if phase is None and use.quantity.nature in _COUNTERS else None
        return _Source(self._places[key], use.sign, *ranges(self.node.limits)[quantity], counter)

    def _take(
        self,
        reading: Reading,
        source: _Source,
        counters: list[tuple[Quantity, float, float]],
        dropped: list[Reading],
    ) -> bool:
        place, sign, low, high, counter = source
        value, at = reading.value, reading.at
        if reading.quality is Quality.MISSING or (value is None and reading.quality is Quality.GOOD):
            self._cells[place + AT] = -inf
            return False
        number = value if isinstance(value, float) else float(value in (True, "on"))
        if reading.quality is Quality.INVALID or not low <= number <= high:
            dropped.append(reading)  # the previous value is used until it is stale
            return False
        number *= sign
        update(self._cells, place, number, at, self.interval, self.stale_after_s)
        if at > self.newest:
            self.newest = at
        if counter is not None:
            counters.append((counter, number, at))
        return True
