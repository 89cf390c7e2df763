"""The numbers of a push: collects scans per node, keeps the days of counters, closes each interval to a Summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Literal

from agent.aggregate import Fields, NodeSummary, Summary, Window, fields_of, total
from agent.energy import Day, advance, of_today
from agent.energy_store import EnergyStore
from agent.node import Node
from drivers.model import Nature, NodeType, Quality, Quantity, Reading, Scan

# Field of the contract -> the lifetime counter it comes from, and the device's own daily register.
TODAY: dict[NodeType, dict[str, tuple[Quantity, Quantity]]] = {
    NodeType.GRID: {
        "today_imported_energy_Wh": (Quantity.IMPORTED_ENERGY, Quantity.TODAY_IMPORTED_ENERGY),
        "today_exported_energy_Wh": (Quantity.EXPORTED_ENERGY, Quantity.TODAY_EXPORTED_ENERGY),
    },
    NodeType.SOLAR: {"today_energy_Wh": (Quantity.PRODUCED_ENERGY, Quantity.TODAY_PRODUCED_ENERGY)},
    NodeType.STORAGE: {
        "today_charged_Wh": (Quantity.CHARGED_ENERGY, Quantity.TODAY_CHARGED_ENERGY),
        "today_discharged_Wh": (Quantity.DISCHARGED_ENERGY, Quantity.TODAY_DISCHARGED_ENERGY),
    },
}


@dataclass(frozen=True, slots=True)
class TotalsSettings:
    """How to aggregate."""

    timezone: tzinfo | None = None
    statistic: Literal["last", "mean"] = "last"
    stale_after_s: float = 30.0
    partial_totals: Literal["omit", "sum"] = "omit"
    sign: Mapping[NodeType, int] = field(default_factory=dict)


class Totals:
    """Not thread-safe but for `save`, which works on a copy."""

    def __init__(self, nodes: Sequence[Node], settings: TotalsSettings, store: EnergyStore) -> None:
        self._settings = settings
        self._store = store
        self._windows = {node.node_id: Window(node) for node in nodes}
        self._days: dict[str, Day] = store.load()

    def reconfigure(self, nodes: Sequence[Node], settings: TotalsSettings) -> None:
        """Go on with these nodes; what is known of one that did not change is kept, and so is every energy."""
        self._settings = settings
        before = self._windows
        self._windows = {node.node_id: before.get(node.node_id, Window(node)) for node in nodes}
        for node in nodes:
            if self._windows[node.node_id].node != node:
                self._windows[node.node_id] = Window(node)

    def observe(self, nodes: Sequence[Node], scan: Scan, wall: float) -> None:
        """One finished poll of the device behind `nodes`; `wall` is the Unix time of `scan.finished`."""
        for node in nodes:
            for reading in self._windows[node.node_id].add(scan.readings):
                if reading.quantity.nature is Nature.COUNTER and reading.phase is None:
                    self._count(node, reading, wall - (scan.finished - reading.at))

    def missed(self, nodes: Sequence[Node], at: float) -> None:
        """A poll that failed."""
        for node in nodes:
            self._windows[node.node_id].missed()

    def close(self, at: float, wall: int) -> Summary:
        """End the push interval at monotonic `at`, Unix second `wall`."""
        settings = self._settings
        nodes = []
        for window in self._windows.values():
            summary = window.close(at, settings.stale_after_s, settings.statistic)
            nodes.append((summary, self._signed(window.node, fields_of(summary, self._today(summary, wall)))))
        groups: dict[NodeType, Fields] = {}
        for type_ in NodeType:
            members = [fields for summary, fields in nodes if summary.node.type is type_ and summary.node.push]
            groups[type_] = total(members, settings.partial_totals)
        return Summary(wall, tuple(nodes), groups)

    def save(self) -> None:
        """Keep the energies; waits for the disk."""
        self._store.save(dict(self._days))

    def _count(self, node: Node, reading: Reading, at: float) -> None:
        if reading.quality is not Quality.GOOD or not isinstance(reading.value, float):
            return
        counter = f"{node.node_id}/{reading.quantity.value}"
        self._days[counter] = advance(self._days.get(counter), reading.value, at, self._settings.timezone)

    def _today(self, summary: NodeSummary, wall: int) -> dict[str, float]:
        node = summary.node
        if summary.offline and node.when_offline != "zero":
            return {}
        energies: dict[str, float] = {}
        for name, (counter, daily) in TODAY.get(node.type, {}).items():
            own = summary.values.get((daily, None))
            fresh = summary.offline or (counter, None) in summary.values
            day = self._days.get(f"{node.node_id}/{counter.value}")
            energy = of_today(day, wall, self._settings.timezone) if fresh else None
            if isinstance(own, float):
                energies[name] = own
            elif energy is not None:
                energies[name] = energy
        return energies

    def _signed(self, node: Node, fields: Fields) -> Fields:
        power = fields.get("active_power_W")
        if self._settings.sign.get(node.type, 1) == -1 and isinstance(power, float):
            fields["active_power_W"] = -power
        return fields
