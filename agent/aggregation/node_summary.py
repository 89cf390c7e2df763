"""The values of a node at the end of a push interval. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Literal, NamedTuple

from agent.aggregation.cells import AT, mean
from agent.domain.node import Node
from agent.domain.sleep import Night, may_sleep
from drivers.model import Nature, Phase, Quantity, Value

ValueKey = tuple[Quantity, Phase | None]
Statistic = Literal["last", "mean"]


class NodeSummary(NamedTuple):
    """One node at the end of a push interval. The properties and methods leave out stale values."""

    node: Node
    at: float
    """Monotonic seconds of the tick."""
    oldest: float
    """Values from before this monotonic second are stale."""
    statistic: Statistic
    """Which of last value and mean is sent."""
    interval: int
    """The number of the push interval. The cell `INTERVAL` of `agent.aggregation.cells` has the same numbers."""
    cells_of: dict[ValueKey, int]
    """(quantity, phase) → index in `cells` of the first cell of this quantity and phase."""
    totals: dict[Quantity, int]
    """Quantity → index in `cells` of its first cell, only for readings without a phase."""
    cells: array[float]
    """The cells of all quantities, as `agent.aggregation.cells` describes them."""
    newest: float
    """Monotonic second of the last value of any quantity; minus infinity if there is none."""
    expected: int
    """Polls that were due in the interval."""
    got: int
    """Polls of the interval with a usable value."""
    powerless: float
    """Monotonic second of the end of the last complete scan without a power; minus infinity if there was no such
    scan."""
    night: Night | None

    @property
    def offline(self) -> bool:
        """Whether all values are stale."""
        return self.newest < self.oldest

    @property
    def silent(self) -> bool:
        """Whether all values are stale, or the device answers without a power: a complete scan had no power, this scan
        is not stale yet, and no later scan had a power."""
        return self.offline or (self.powerless >= self.oldest and self.number(Quantity.ACTIVE_POWER) is None)

    @property
    def sleeps(self) -> bool:
        """Whether the node is silent and counts 0 W: the device may be asleep, or `when_offline` is "zero".

        The counters of the node then remain valid.
        """
        return self.node.when_offline != "missing" and self.silent and may_sleep(self.node, self.night, self.at)

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest value in use, in seconds; None without a value."""
        return max((self.at - self.cells[cell + AT] for _, cell in self._fresh()), default=None)

    @property
    def values(self) -> dict[ValueKey, Value]:
        """The last value of each quantity; for the active power, the last value or the mean, as set by `statistic`."""
        return {
            key: self._chosen(key[0], cell) if key[0] is Quantity.ACTIVE_POWER else _as_read(key[0], self.cells[cell])
            for key, cell in self._fresh()
        }

    def number(self, quantity: Quantity) -> float | None:
        """Return the last value of the quantity without a phase; None if it is stale or there is none."""
        cell = self.totals.get(quantity)
        return self.cells[cell] if cell is not None and self.cells[cell + AT] >= self.oldest else None

    def chosen(self, quantity: Quantity) -> float | None:
        """Return the last value or the mean, as set by `statistic`; None in the same cases as `number`."""
        cell = self.totals.get(quantity)
        if cell is None or self.cells[cell + AT] < self.oldest:
            return None
        return self.cells[cell] if self.statistic == "last" else self._chosen(quantity, cell)

    def _chosen(self, quantity: Quantity, cell: int) -> float:
        """Return the last value, or the mean rounded to the step of the register, as set by `statistic`."""
        if self.statistic == "last":
            return self.cells[cell]
        number, resolution = mean(self.cells, cell, self.interval), self.node.resolutions.get(quantity)
        return number if resolution is None else round(number / resolution.step) * resolution.step

    def _fresh(self) -> Iterator[tuple[ValueKey, int]]:
        for key, cell in self.cells_of.items():
            if self.cells[cell + AT] >= self.oldest:
                yield key, cell


def _as_read(quantity: Quantity, number: float) -> Value:
    """Return a number as the value of the driver: a bool for `ON`, "on" or "off" for `OPERATION_MODE`."""
    if quantity.nature is not Nature.STATE:
        return number
    on = number > 0
    return on if quantity is Quantity.ON else "on" if on else "off"
