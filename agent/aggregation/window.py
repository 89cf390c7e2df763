"""Collects the readings of a node, and returns a summary at the end of a push interval. Pure.

Several endpoints can use one window. Each endpoint has a view: the cells (`agent.aggregation.cells`) and the poll
counts of its own push interval. All views share the night and the indexes of the cells.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from agent.aggregation.cells import AT, EMPTY, EMPTY_AVERAGED, forget, update
from agent.aggregation.node_summary import NodeSummary, Statistic, ValueKey
from agent.domain.node import Node, use_of
from agent.domain.ranges import ranges
from agent.domain.sleep import Night, after_reading
from drivers.model import Key, Nature, NodeType, Phase, Quality, Quantity, ReadingColumns, Scan, Value

# Looked up once: before Python 3.12, access to a member of an Enum is slow.
_GOOD, _MISSING = Quality.GOOD, Quality.MISSING
_POWER, _SOLAR = Quantity.ACTIVE_POWER, NodeType.SOLAR
_COUNTERS = frozenset({Nature.COUNTER, Nature.DAILY})


class Dropped(NamedTuple):
    """An invalid reading: it is outside its range (`agent.domain.ranges`), or the driver says that it is invalid."""

    key: Key
    value: Value | None
    """None if the driver says that the reading is invalid."""
    low: float
    """The lowest valid value. `low`, `high` and `value` have the sign of the device."""
    high: float
    """The highest valid value."""


class Collected(NamedTuple):
    """The readings of a scan that the caller of `Window.add` must handle: counters and invalid readings."""

    counters: list[tuple[Quantity, float, float]]
    """(quantity, Wh, monotonic seconds)."""
    dropped: list[Dropped]
    power_W: float | None
    """The power of the node in this scan, in the sign of its type; None if the scan has no valid one."""


_Source = tuple[int, float, float, float, Quantity | None, bool]
"""How a node uses a reading: (index of the first cell, sign 1 or -1, lowest valid value, highest valid value, quantity
of the counter, whether a mean is calculated). The bounds are in the sign of the device. The quantity is None if the
reading has a phase, or is neither a counter nor a daily register. A NamedTuple takes longer to unpack."""


@dataclass(slots=True)
class View:
    """The push interval of one endpoint."""

    cells: array[float] = field(default_factory=lambda: array("d"))
    interval: int = 0
    """The number of the push interval, for the cell `INTERVAL`. It rises at the end of each push interval, and when the
    means begin anew."""
    expected: int = 0
    """Polls that were due in the interval."""
    got: int = 0
    """Polls of the interval with a usable value."""
    handed_over: bool = False
    """Whether the last summary uses the array `cells`. Replace the array by a copy before writing to it."""

    def copy(self) -> View:
        """Return a view with the same last values for another endpoint. Its push interval begins now."""
        return View(self.cells[:], self.interval + 1)


@dataclass(slots=True)
class Window:
    """Collects the readings of one node between two pushes."""

    node: Node
    stale_after_s: float
    averages: bool = True
    """Whether means are calculated."""
    newest: float = -inf
    """Monotonic second of the last usable reading."""
    night: Night | None = None
    """The night of a solar node; None if there is none yet."""
    views: dict[str, View] = field(default_factory=lambda: {"": View()})
    """Name of the endpoint → view; never empty."""
    _powerless: float = -inf
    """As `NodeSummary.powerless`."""
    _cells_of: dict[ValueKey, int] = field(default_factory=dict)
    _totals: dict[Quantity, int] = field(default_factory=dict)
    _sources: dict[Key, _Source | None] = field(default_factory=dict)
    """Key → use of the reading; None if the node does not use it."""
    _keys: Sequence[Key] = ()
    """The keys of the last scan."""
    _row: Sequence[_Source | None] = ()
    """The use of each of `_keys`, kept because most scans have the keys of the scan before."""

    def serve(self, endpoints: Mapping[str, str | None]) -> None:
        """Have one view for each of these endpoints; without endpoints, one view.

        `endpoints`: name → former name; None if the endpoint was not renamed.
        """
        views, some = self.views, next(iter(self.views.values()))
        self.views = {
            name: views.get(name) or (views.get(former) if former is not None else None) or some.copy()
            for name, former in endpoints.items()
        } or {"": some}

    def average(self, *, wanted: bool) -> None:
        """Set `averages`."""
        if wanted != self.averages:
            self.averages = wanted
            self._sources.clear()
            self._keys = self._row = ()
            for view in self.views.values():
                view.interval += 1  # so that each mean begins anew

    def add(self, scan: Scan) -> Collected | None:
        """Add the readings that the node uses. Return the counters and invalid readings; None if there are none."""
        views = self.views.values()
        for view in views:
            view.expected += 1
            if view.handed_over:
                view.handed_over = False
                view.cells = view.cells[:]
        counters: list[tuple[Quantity, float, float]] = []
        dropped: list[Dropped] = []
        readings = scan.readings
        columns = readings if isinstance(readings, ReadingColumns) else ReadingColumns.of(readings)
        if columns.keys is not self._keys:
            self._use(columns.keys)
        if self._add_readings(columns, views, counters, dropped):
            for view in views:
                view.got += 1
        power, power_W = self._totals.get(_POWER), None
        if power is not None:
            cells = next(iter(views)).cells
            last_W, at = cells[power], cells[power + AT]
            if at > -inf:
                self._powerless = -inf
            if at == -inf or self.node.type is _SOLAR:
                self._update_night(last_W, at, scan)
            power_W = last_W if at >= scan.started else None
        return Collected(counters, dropped, power_W) if counters or dropped else None

    def missed(self, count: int = 1) -> None:
        """Count `count` due polls that gave no reading."""
        for view in self.views.values():
            view.expected += count

    def close(self, at: float, statistic: Statistic, endpoint: str = "") -> NodeSummary:
        """Return the endpoint's summary at monotonic `at`, and begin its next interval."""
        view = self.views[endpoint]
        summary = NodeSummary(
            self.node,
            at,
            at - self.stale_after_s,
            statistic,
            view.interval,
            self._cells_of,
            self._totals,
            view.cells,
            self.newest,
            view.expected,
            view.got,
            self._powerless,
            self.night,
        )
        view.handed_over = True
        view.interval += 1
        view.expected = view.got = 0
        return summary

    def _update_night(self, power_W: float, at: float, scan: Scan) -> None:
        """Update the night and `_powerless` after `scan`.

        `power_W` is the last power, and `at` is the monotonic time of this power. If the node has no last power, `at`
        is minus infinity. In that case, a complete scan counts as no answer. If a solar node has no night yet, such a
        scan begins its night with 0 W.
        """
        powerless = at == -inf and scan.complete  # in a partial scan, the power may not have been read
        if powerless:
            self._powerless = scan.finished
        if self.node.type is _SOLAR:
            if at > -inf:
                self.night = after_reading(self.night, power_W, at)
            elif powerless and self.night is None:
                self.night = after_reading(None, 0.0, scan.finished)

    def _use(self, keys: Sequence[Key]) -> None:
        """Look up how the node uses the readings with these keys."""
        for key in keys:
            if key not in self._sources:
                self._sources[key] = self._source(*key)
        self._keys, self._row = keys, [self._sources[key] for key in keys]

    def _source(self, marked: NodeType | None, quantity: Quantity, phase: Phase | None) -> _Source | None:
        """Return how the node uses the readings with this key; None if it does not. Add cells if necessary.

        `marked` is `Reading.node`.
        """
        use = use_of(self.node, quantity, marked)
        if use is None:
            return None
        key = use.quantity, phase
        if key not in self._cells_of:
            empty = EMPTY_AVERAGED if _is_averaged(use.quantity) else EMPTY
            cell = len(next(iter(self.views.values())).cells)
            for view in self.views.values():
                view.cells.extend(empty)
            self._cells_of = self._cells_of | {key: cell}  # a summary may use the old dict
            if phase is None:
                self._totals = self._totals | {use.quantity: cell}
        counter = use.quantity if phase is None and use.quantity.nature in _COUNTERS else None
        low, high = ranges(self.node.limits)[quantity]
        averaged = self.averages and _is_averaged(use.quantity)
        return self._cells_of[key], use.sign, low, high, counter, averaged

    def _add_readings(
        self,
        columns: ReadingColumns,
        views: Collection[View],
        counters: list[tuple[Quantity, float, float]],
        dropped: list[Dropped],
    ) -> bool:
        """Add the readings. Append to `counters` and `dropped`. Return whether at least one reading is usable."""
        newest, arrays = -inf, [view.cells for view in views]
        rows = zip(columns.keys, self._row, columns.values, columns.qualities, columns.times, strict=True)
        for key, source, value, quality, at in rows:
            if source is None:
                continue
            cell, sign, low, high, counter, averaged = source
            number = value if isinstance(value, float) else float(value in (True, "on"))
            if quality is not _GOOD or value is None or not low <= number <= high:
                if quality is _MISSING or (quality is _GOOD and value is None):
                    self._forget(views, cell, at, averaged=averaged)
                else:  # the last value is used until it is stale
                    dropped.append(Dropped(key, value, low, high))
                continue
            number *= sign
            if averaged:
                for view in views:
                    update(view.cells, cell, number, at, view.interval, self.stale_after_s)
            else:
                for cells in arrays:
                    cells[cell] = number
                    cells[cell + AT] = at
            if at > newest:
                newest = at
            if counter is not None:
                counters.append((counter, number, at))
        self.newest = max(self.newest, newest)
        return newest > -inf

    def _forget(self, views: Collection[View], cell: int, at: float, *, averaged: bool) -> None:
        """End the last value of a quantity, because its reading at monotonic `at` has no value."""
        for view in views:
            if averaged:
                forget(view.cells, cell, at, view.interval, self.stale_after_s)
            else:
                view.cells[cell + AT] = -inf


def _is_averaged(quantity: Quantity) -> bool:
    return quantity is Quantity.ACTIVE_POWER or quantity.nature is Nature.STATE
