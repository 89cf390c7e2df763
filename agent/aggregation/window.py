"""Scans → what is known of a node at the end of a push interval. Pure.

Every quantity has its last value and a mean, minimum and maximum over the push interval. The mean is weighted by time,
each value standing until the next; intervals meet at their last readings, so that means add up to the integral. A state
counts as 1 while it is on. `agent.energy.ledger` makes days of counters.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple

from agent.domain.night import Night, heard, may_sleep
from agent.domain.node import Node, use_of
from agent.domain.ranges import ranges
from drivers.model import Nature, NodeType, Phase, Quality, Quantity, Reading, Scan, Value

Key = tuple[Quantity, Phase | None]
Statistic = Literal["last", "mean"]

_COUNTERS = frozenset({Nature.COUNTER, Nature.DAILY})

# The cells of one quantity, in an array of all: a summary keeps the array and the next interval begins with a copy,
# which costs less than an object per quantity would.
_LAST, _AT, _INTERVAL, _START, _AREA, _MINIMUM, _MAXIMUM = range(7)
_NOTHING = (0.0, -inf, 0.0, 0.0, 0.0, 0.0, 0.0)


class Statistics(NamedTuple):
    """One quantity over a push interval; a state is 1 while it is on."""

    last: float
    mean: float
    minimum: float
    maximum: float


class Taken(NamedTuple):
    """What a node took of a scan, beyond what the window keeps."""

    counters: list[tuple[Quantity, float, float]]
    """(quantity, Wh, monotonic seconds)."""
    dropped: list[Reading]
    """Outside the range of the device."""


class NodeSummary(NamedTuple):
    """One node at the end of a push interval. Values that are too old are not there."""

    node: Node
    at: float
    """Monotonic seconds of the tick."""
    oldest: float
    """Values from before are too old."""
    statistic: Statistic
    interval: int
    places: dict[Key, int]
    """Where the cells of each quantity begin."""
    totals: dict[Quantity, int]
    """As `places`, without those of phases."""
    cells: array[float]
    newest: float
    """When its last value was read."""
    expected: int
    """Polls in the interval."""
    got: int
    """Polls that brought a usable value."""
    powerless: float = -inf
    """When it last answered in full, but had no power to tell."""
    night: Night | None = None

    @property
    def offline(self) -> bool:
        """No fresh value at all."""
        return self.newest < self.oldest

    @property
    def silent(self) -> bool:
        """It says nothing, or that it has no power to tell."""
        return self.offline or self.powerless >= self.oldest

    @property
    def sleeps(self) -> bool:
        """It is silent, as is right for it now: its power is 0 and its counters hold."""
        return self.node.when_offline != "missing" and self.silent and may_sleep(self.node, self.night, self.at)

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest value that is used."""
        return max((self.at - self.cells[place + _AT] for _, place in self._fresh()), default=None)

    @property
    def values(self) -> dict[Key, Value]:
        """The last value of every quantity; of `statistic` for power."""
        return {
            key: self._chosen(place) if key[0] is Quantity.ACTIVE_POWER else _as_read(key[0], self.cells[place])
            for key, place in self._fresh()
        }

    def number(self, quantity: Quantity) -> float | None:
        """The last value of the device's total, if it is fresh."""
        place = self.totals.get(quantity)
        return self.cells[place] if place is not None and self.cells[place + _AT] >= self.oldest else None

    def chosen(self, quantity: Quantity) -> float | None:
        """As `number`, last or mean as `statistic` says."""
        place = self.totals.get(quantity)
        if place is None or self.cells[place + _AT] < self.oldest:
            return None
        return self.cells[place] if self.statistic == "last" else self._chosen(place)

    def statistics(self, quantity: Quantity, phase: Phase | None = None) -> Statistics | None:
        """Over the interval; of its last value alone where nothing was read in it."""
        place = self.places.get((quantity, phase))
        if place is None or self.cells[place + _AT] < self.oldest:
            return None
        last, at, interval, start, area, minimum, maximum = self.cells[place : place + len(_NOTHING)]
        if interval != self.interval or at <= start:
            return Statistics(last, last, last, last)
        return Statistics(last, area / (at - start), minimum, maximum)

    def _chosen(self, place: int) -> float:
        cells = self.cells
        seconds = cells[place + _AT] - cells[place + _START]
        if self.statistic == "last" or cells[place + _INTERVAL] != self.interval or seconds <= 0:
            return cells[place]
        return cells[place + _AREA] / seconds

    def _fresh(self) -> Iterator[tuple[Key, int]]:
        for key, place in self.places.items():
            if self.cells[place + _AT] >= self.oldest:
                yield key, place


class _Source(NamedTuple):
    """What a reading is to the node: where it goes, and what it may be."""

    place: int
    sign: float
    low: float
    high: float
    counter: Quantity | None
    """The counter that it is, for the energies of the day."""


@dataclass(slots=True)
class Window:
    """Collects the readings of one node between two pushes."""

    node: Node
    stale_after_s: float
    newest: float = -inf
    night: Night | None = None
    """Of a solar node."""
    interval: int = 0
    expected: int = 0
    got: int = 0
    _powerless: float = -inf
    _places: dict[Key, int] = field(default_factory=dict)
    _totals: dict[Quantity, int] = field(default_factory=dict)
    _handed_over: bool = False
    """A summary has all this now: what comes next goes into a copy."""
    _cells: array[float] = field(default_factory=lambda: array("d"))
    _sources: dict[tuple[Quantity, Phase | None, NodeType | None], _Source | None] = field(default_factory=dict)

    def add(self, scan: Scan) -> Taken:
        """Take what belongs to the node."""
        self.expected += 1
        if self._handed_over:
            self._handed_over = False
            self._cells = self._cells[:]
        taken = Taken([], [])
        usable = False
        for reading in scan.readings:
            key = reading.quantity, reading.phase, reading.node
            try:
                source = self._sources[key]
            except KeyError:
                source = self._sources[key] = self._source(*key)
            if source is not None:
                usable |= self._take(reading, source, taken)
        self.got += usable
        power = self._totals.get(Quantity.ACTIVE_POWER)
        if power is not None:
            self._heard(self._cells[power], self._cells[power + _AT], scan)
        return taken

    def missed(self) -> None:
        """A poll that brought nothing."""
        self.expected += 1

    def close(self, at: float, statistic: Statistic) -> NodeSummary:
        """The node at `at`; the next interval begins."""
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
        """What the last power that it told, and a scan without one, say of day and night."""
        powerless = at == -inf and scan.complete  # in a scan with holes, power may be what is missing
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
            self._cells.extend(_NOTHING)
            self._places = self._places | {key: place}  # a summary may have the ones before
            if phase is None:
                self._totals = self._totals | {use.quantity: place}
        counter = use.quantity if phase is None and use.quantity.nature in _COUNTERS else None
        return _Source(self._places[key], use.sign, *ranges(self.node.limits)[quantity], counter)

    def _take(self, reading: Reading, source: _Source, taken: Taken) -> bool:
        place, sign, low, high, counter = source
        value, at = reading.value, reading.at
        if reading.quality is Quality.MISSING or (value is None and reading.quality is Quality.GOOD):
            self._cells[place + _AT] = -inf
            return False
        number = value if isinstance(value, float) else float(value in (True, "on"))
        if reading.quality is Quality.INVALID or not low <= number <= high:
            taken.dropped.append(reading)  # not the device's word: what it said before stands until it is too old
            return False
        number *= sign
        self._continue(place, number, at)
        if at > self.newest:
            self.newest = at
        if counter is not None:
            taken.counters.append((counter, number, at))
        return True

    def _continue(self, place: int, number: float, at: float) -> None:
        cells = self._cells
        before_at = cells[place + _AT]
        if at - before_at > self.stale_after_s:  # nobody knows what was in between
            cells[place : place + len(_NOTHING)] = array("d", (number, at, self.interval, at, 0.0, number, number))
            return
        before = cells[place]
        if cells[place + _INTERVAL] != self.interval:
            cells[place + _INTERVAL] = self.interval
            cells[place + _START] = before_at
            cells[place + _AREA] = 0.0
            cells[place + _MINIMUM] = cells[place + _MAXIMUM] = before
        cells[place] = number
        cells[place + _AT] = at
        cells[place + _AREA] += before * (at - before_at)
        if number < cells[place + _MINIMUM]:
            cells[place + _MINIMUM] = number
        elif number > cells[place + _MAXIMUM]:
            cells[place + _MAXIMUM] = number


def _as_read(quantity: Quantity, number: float) -> Value:
    """States as the driver gives them."""
    if quantity.nature is not Nature.STATE:
        return number
    on = number > 0
    return on if quantity is Quantity.ON else "on" if on else "off"
