"""Collects scans per node, follows energies, and calculates a Summary at the end of each push interval.

Each endpoint has its own push intervals, with their own means and poll counts. The energies of the day are the same for
all endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from math import inf
from typing import Literal, NamedTuple

import structlog

from agent.aggregation.energy_tracker import EVENTS, FOLLOWED, EnergyTracker, Sources
from agent.aggregation.groups import Fields, NodeResult, Summary, fields_of, total
from agent.aggregation.node_summary import Statistic
from agent.aggregation.sleep_book import Nights, SleepBook
from agent.aggregation.window import Dropped, Window
from agent.domain import Node, counted_in
from agent.energy import EnergyStore
from drivers.model import NodeType, Quantity, Scan

log = structlog.get_logger(__name__)

SAVE_EVERY_S = 900.0
"""Seconds between two saves. `Aggregator.save_due` has the reasons for an earlier save.

A power cut loses no energy, because the devices count it. But the agent forgets what it saw since the last save, such
as a midnight or the reset of a counter. The saves write about 1.2 MB a day for 20 counters, and 0.6 MB more for the
nights of inverters."""

_LATE_CLOSE_S = 60
"""A tick that is earlier than `last_time` by less than this many seconds does not change `last_time`: the push of a
later tick to another endpoint ended first. If the tick is earlier by this many seconds or more, the clock was set back,
and the tick becomes `last_time`."""

# Before Python 3.12, iterating over an Enum is slow.
_TYPES = tuple(NodeType)


@dataclass(frozen=True, slots=True)
class SummarySettings:
    """What the summaries of one endpoint contain."""

    node_ids: frozenset[str] | None = None
    """The nodes of the endpoint; None for all."""
    partial_totals: Literal["omit", "sum"] = "omit"
    """What to do with a total if a member lacks the field; see `total`."""
    sign: Mapping[NodeType, int] = field(default_factory=dict)
    """-1 for a type whose power is sent with the inverted sign; 1 or no entry for the others."""
    formerly: str | None = None
    """The name of the endpoint before a rename. The endpoint continues the push interval that began under this name."""


@dataclass(frozen=True, slots=True)
class AggregationSettings:
    """The settings of the aggregation."""

    timezone: tzinfo | None = None
    """The time zone of the days; None for the zone of the system."""
    statistic: Statistic = "last"
    stale_after_s: float = 30.0
    endpoints: Mapping[str, SummarySettings] = field(default_factory=lambda: {"default": SummarySettings()})
    """Name of the endpoint → settings."""
    connection_W: float = 0.0
    """The largest power of a device that the site's connection allows, in W; 0 if no connection limit is configured."""


class _Tracked(NamedTuple):
    """The state of a node."""

    window: Window
    sources: Sources
    """The energy fields of the node; empty if its type has none."""


class _Selection(NamedTuple):
    """The nodes of one endpoint."""

    nodes: tuple[tuple[_Tracked, bool], ...]
    """(node, whether the total of its type includes the node)."""
    turned: frozenset[NodeType]
    """The types whose power is sent with the inverted sign."""
    partial_totals: Literal["omit", "sum"]


class Aggregator:
    """Aggregates scans to summaries. Not thread-safe, except `save`, which works on a copy."""

    def __init__(self, nodes: Sequence[Node], settings: AggregationSettings, store: EnergyStore) -> None:
        self._settings = settings
        self._store = store
        self._nodes: dict[str, _Tracked] = {}
        self._windows: dict[str, Window] = {}
        self.nights = Nights(self._windows)
        """For the poller and the status."""
        self._energies = EnergyTracker(store.load(), settings.timezone, store.load_published())
        self._sleep_book = SleepBook(store.load_nights())
        self.reconfigure(nodes, settings)
        self._saved_at, self._saved_date = -inf, ""
        self.last_time = store.load_time()
        """Unix second of the last tick, saved with the energies; 0 if there was none. A tick counts only after
        the clock was trusted at least once since the start."""
        self.dropped: Counter[str] = Counter()
        """Node id → number of invalid readings."""
        self._reported: set[tuple[str, Quantity]] = set()
        """(node id, quantity) of the invalid readings so far. Only the first one of a pair is logged as a warning."""

    def reconfigure(self, nodes: Sequence[Node], settings: AggregationSettings) -> None:
        """Continue with these nodes. Every node keeps its energies and its night.

        An unchanged node keeps its window, except after a change of `settings.stale_after_s`.
        """
        self._energies.use_zone(settings.timezone)
        same_age = settings.stale_after_s == self._settings.stale_after_s
        before = {window.node: window for window in self._windows.values() if same_age}
        nights = {node_id: window.night for node_id, window in self._windows.items()}
        self._settings = settings
        windows = {
            node.node_id: before.get(node)
            or Window(node, node.stale_after_s or settings.stale_after_s, night=nights.get(node.node_id))
            for node in nodes
        }
        self._windows.clear()
        self._windows.update(windows)
        self._nodes = {
            node.node_id: _Tracked(self._windows[node.node_id], self._energies.sources_of(node, settings.connection_W))
            for node in nodes
        }
        selected_ids = {name: _selected(nodes, each.node_ids) for name, each in settings.endpoints.items()}
        for node_id, window in windows.items():
            window.average(wanted=settings.statistic == "mean")
            window.serve(
                {name: each.formerly for name, each in settings.endpoints.items() if node_id in selected_ids[name]}
            )
        self._selections = {
            name: self._selection(nodes, selected_ids[name], each) for name, each in settings.endpoints.items()
        }

    def _selection(self, nodes: Sequence[Node], selected_ids: frozenset[str], settings: SummarySettings) -> _Selection:
        counted = counted_in(nodes, selected_ids)
        return _Selection(
            tuple(
                (self._nodes[node.node_id], node.node_id in counted) for node in nodes if node.node_id in selected_ids
            ),
            frozenset(type_ for type_, sign in settings.sign.items() if sign == -1),
            settings.partial_totals,
        )

    def observe(self, nodes: Sequence[Node], scan: Scan, wall: float | None) -> None:
        """Add one finished poll of the device that feeds `nodes`.

        `wall` is the Unix time of `scan.finished`. While the clock is not trusted, `wall` is None, and the counters of
        the scan are ignored. No energy is lost, because a later reading of a counter includes its growth until then.
        """
        if wall is not None:
            self._energies.follow_clock(wall - scan.finished)
        if self._sleep_book.pending:
            self.restore_nights(scan.finished)
        for node in nodes:
            found = self._windows[node.node_id].add(scan)
            if found is None:
                continue
            for dropped in found.dropped:
                self._drop(node, dropped)
            if wall is not None and node.type in FOLLOWED:
                for quantity, value, at in found.counters:
                    if quantity in FOLLOWED[node.type]:
                        self._energies.count(node, quantity, value, at, wall - (scan.finished - at), found.power_W)
        if self._sleep_book.pending:
            self._sleep_book.answered(nodes, self._windows)

    def missed(self, nodes: Sequence[Node]) -> None:
        """Count a due poll of the device that feeds `nodes`.

        The poll failed, or it was not made because the device is lost.
        """
        for node in nodes:
            self._windows[node.node_id].missed()

    def skipped(self, nodes: Sequence[Node], count: int) -> None:
        """Count `count` due polls of the device that feeds `nodes`, for which the link or the process had no time."""
        for node in nodes:
            self._windows[node.node_id].missed(count)

    def close(self, at: float, wall: int, endpoint: str = "default") -> Summary:
        """End the push interval of an endpoint. Return its summary.

        The interval ends at the tick, which is at monotonic `at` and Unix second `wall`.
        """
        statistic = self._settings.statistic
        selected, turned, partial_totals = self._selections[endpoint]
        self._energies.follow_day(wall)
        if self._energies.offset > -inf and not 0 < self.last_time - wall < _LATE_CLOSE_S:
            self.last_time = wall
        if self._sleep_book.pending:
            self.restore_nights(at)
        results = []
        members: dict[NodeType, list[Fields]] = {type_: [] for type_ in _TYPES}
        for (window, sources), counted in selected:
            summary = window.close(at, statistic, endpoint)
            node, fields = summary.node, fields_of(summary)
            oldest = summary.oldest
            if node.when_offline != "missing" and summary.sleeps:
                oldest = -inf  # the counters of a device that counts 0 W remain valid
            basis = self._energies.add_today(sources, oldest, fields)
            if node.when_offline == "sleep" and self._sleep_book.report(summary):
                self._saved_at = -inf  # `save` is due at once
            if node.type in turned and isinstance(power := fields.get("active_power_W"), float):
                fields["active_power_W"] = -power
            results.append(NodeResult(summary, fields, basis, node.type in turned, counted))
            if counted:
                members[node.type].append(fields)
        groups = {type_: total(fields, partial_totals) for type_, fields in members.items()}
        return Summary(wall, tuple(results), groups)

    def restore_nights(self, at: float) -> None:
        """Restore the saved nights of nodes whose power was not read since the start.

        `at` is the present monotonic time.
        """
        self._sleep_book.restore(self._windows, self._energies.offset, at)

    def follow_clock(self, offset: float) -> None:
        """Set `offset`: wall minus monotonic time, in seconds. Call this only while the clock is trusted."""
        self._energies.follow_clock(offset)

    @property
    def counter_events(self) -> dict[str, dict[str, int]]:
        """Node id → kind of event → number since the start. It has only the nodes whose counters are followed."""
        return {
            node.node_id: {kind: self._energies.events[node.node_id, kind] for kind in EVENTS}
            for node in (window.node for window in self._windows.values())
            if node.type in FOLLOWED
        }

    def save_due(self, at: float) -> bool:
        """Whether to `save` at monotonic `at`.

        True before the first save, `SAVE_EVERY_S` seconds after the last one, when a new day has begun, when an
        inverter fell asleep, and while the file cannot be written.
        """
        return at - self._saved_at >= SAVE_EVERY_S or self._energies.date != self._saved_date or self._store.in_memory

    def save(self, at: float = inf) -> None:
        """Save energies, nights and `last_time`. Wait for the disk.

        `at` is the present monotonic time. Omit it for the last save.
        """
        self._saved_at, self._saved_date = at, self._energies.date
        nights = self._sleep_book.to_save(list(self._windows.items()), self._energies.offset)
        self._store.save(self._energies.ledgers(), nights, self._energies.published(), self.last_time)

    def _drop(self, node: Node, reading: Dropped) -> None:
        """Count and log an invalid reading: as a warning if it is the first of its node and quantity, else as debug.

        If the driver says that the reading is invalid, the event has no value and no range. A driver does not test the
        ranges of `agent.domain.ranges`. Its reasons are the limits of the profile, the rated power, a state without a
        name, or an impossible scale factor of SunSpec.
        """
        self.dropped[node.node_id] += 1
        _, quantity, phase = reading.key
        what = (node.node_id, quantity)
        first = what not in self._reported
        self._reported.add(what)
        (log.warning if first else log.debug)(
            "implausible_value",
            node=node.node_id,
            quantity=quantity.label(phase),
            **({} if reading.value is None else {"value": reading.value, "low": reading.low, "high": reading.high}),
        )


def _selected(nodes: Sequence[Node], node_ids: frozenset[str] | None) -> frozenset[str]:
    return frozenset(node.node_id for node in nodes) if node_ids is None else node_ids
