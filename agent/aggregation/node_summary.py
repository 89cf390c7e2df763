"""What is known of a node at the end of a push interval. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import inf
from typing import Literal, NamedTuple

from agent.aggregation.cells import AT, Statistics, mean, statistics
from agent.domain.node import Node
from agent.domain.sleep import Night, may_sleep
from drivers.model import Nature, Phase, Quantity, Value

Key = tuple[Quantity, Phase | None]
Statistic = Literal["last", "mean"]


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
        return max((self.at - self.cells[place + AT] for _, place in self._fresh()), default=None)

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
        return self.cells[place] if place is not None and self.cells[place + AT] >= self.oldest else None

    def chosen(self, quantity: Quantity) -> float | None:
        """As `number`, last or mean as `statistic` says."""
        place = self.totals.get(quantity)
        if place is None or self.cells[place + AT] < self.oldest:
            return None
        return self.cells[place] if self.statistic == "last" else self._chosen(place)

    def statistics(self, quantity: Quantity, phase: Phase | None = None) -> Statistics | None:
        """Over the interval; of its last value alone where nothing was read in it."""
        place = self.places.get((quantity, phase))
        if place is None or self.cells[place + AT] < self.oldest:
            return None
        return statistics(self.cells, place, self.interval)

    def _chosen(self, place: int) -> float:
        return self.cells[place] if self.statistic == "last" else mean(self.cells, place, self.interval)

    def _fresh(self) -> Iterator[tuple[Key, int]]:
        for key, place in self.places.items():
            if self.cells[place + AT] >= self.oldest:
                yield key, place


def _as_read(quantity: Quantity, number: float) -> Value:
    """States as the driver gives them."""
    if quantity.nature is not Nature.STATE:
        return number
    on = number > 0
    return on if quantity is Quantity.ON else "on" if on else "off"
