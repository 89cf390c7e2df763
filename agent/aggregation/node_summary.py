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
    """Whether `chosen` returns the last value or the mean. In `values`, only the active power depends on it."""
    interval: int
    """The number of the push interval, as in the cell `INTERVAL` of `agent.aggregation.cells`."""
    cells_of: dict[ValueKey, int]
    """(quantity, phase) → index of its first cell in `cells`."""
    totals: dict[Quantity, int]
    """Quantity → index of its first cell in `cells`, for readings without a phase."""
    cells: array[float]
    """The cells of all quantities, as `agent.aggregation.cells` describes them."""
    newest: float
    """Monotonic second of the last usable reading; minus infinity if there was none."""
    expected: int
    """Polls that were due in the interval."""
    got: int
    """Polls of the interval with a usable value."""
    powerless: float
    """Monotonic second at which the last complete scan without a power ended. Minus infinity if there was none, if a
    later scan had a power, or if the device never reports a power, such as a relay."""
    night: Night | None

    @property
    def offline(self) -> bool:
        """Whether the last usable reading is stale, or there was none."""
        return self.newest < self.oldest

    @property
    def silent(self) -> bool:
        """Whether the node is offline, or its device answers without a value for the power.

        A device that never reports a power, such as a relay, is silent only while it is offline.
        """
        return self.offline or (self.powerless >= self.oldest and self.number(Quantity.ACTIVE_POWER) is None)

    @property
    def sleeps(self) -> bool:
        """Whether the node is silent and counts 0 W: it is asleep, or `when_offline` is "zero"."""
        return self.node.when_offline != "missing" and self.silent and may_sleep(self.node, self.night, self.at)

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest value in use, in seconds; None without a value."""
        return max((self.at - self.cells[cell + AT] for _, cell in self._fresh()), default=None)

    @property
    def values(self) -> dict[ValueKey, Value]:
        """The last value of each quantity. If `statistic` is "mean", an active power has its mean instead."""
        return {
            key: self._chosen(key[0], cell) if key[0] is Quantity.ACTIVE_POWER else _as_read(key[0], self.cells[cell])
            for key, cell in self._fresh()
        }

    def number(self, quantity: Quantity) -> float | None:
        """Return the last value of the quantity without a phase; None if it is stale or missing."""
        cell = self.totals.get(quantity)
        return self.cells[cell] if cell is not None and self.cells[cell + AT] >= self.oldest else None

    def chosen(self, quantity: Quantity) -> float | None:
        """Return the last value or the mean, as `statistic` says; None if `number` returns None.

        `quantity` must be a state or the active power.
        """
        cell = self.totals.get(quantity)
        if cell is None or self.cells[cell + AT] < self.oldest:
            return None
        return self.cells[cell] if self.statistic == "last" else self._chosen(quantity, cell)

    def _chosen(self, quantity: Quantity, cell: int) -> float:
        """Return the last value or the mean. A mean is rounded to the step of the register, if the step is known."""
        if self.statistic == "last":
            return self.cells[cell]
        number, resolution = mean(self.cells, cell, self.interval), self.node.resolutions.get(quantity)
        return number if resolution is None else round(number / resolution.step) * resolution.step

    def _fresh(self) -> Iterator[tuple[ValueKey, int]]:
        for key, cell in self.cells_of.items():
            if self.cells[cell + AT] >= self.oldest:
                yield key, cell


def _as_read(quantity: Quantity, number: float) -> Value:
    """Return a number as a value: a bool for `ON`, "on" or "off" for `OPERATION_MODE`, otherwise the number."""
    if quantity.nature is not Nature.STATE:
        return number
    on = number > 0
    return on if quantity is Quantity.ON else "on" if on else "off"
