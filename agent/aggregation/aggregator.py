"""The numbers of a push: collects scans per node, keeps the ledgers of counters, closes each interval to a Summary."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from math import inf
from typing import Literal, NamedTuple

import structlog

from agent.aggregation.groups import Fields, NodeResult, Summary, fields_of, total
from agent.aggregation.window import NodeSummary, Statistic, Window
from agent.domain.night import Night, all_sleep, on_disk, restored, why_not
from agent.domain.node import Node
from agent.domain.ranges import largest_power, ranges
from agent.energy.days import Basis, DayEnergy, day_of
from agent.energy.ledger import POWER_W, RELABEL_S, Ledger, advance, of_day, resumed, shifted
from agent.energy.store import EnergyStore
from drivers.model import Nature, NodeType, Quantity, Reading, Scan

log = structlog.get_logger(__name__)

SAVE_EVERY_S = 900.0
"""Counters go on by themselves: a power cut costs what is known of a midnight or a reset since the last save, and no
energy. One save is a page or two of the SD card per dozen counters: about 1.2 MB a day for 20,
and half as much again for the nights of inverters."""

# Scheduling moves the wall time of a scan by less than this.
_STEP_S = 5.0
# So near to where it was before it leapt, the clock is back.
_BACK_S = 60.0

# Field of the contract -> the counters it can come from: the device's own daily register, its lifetime counter.
TODAY: dict[NodeType, dict[str, tuple[Quantity, Quantity]]] = {
    NodeType.GRID: {
        "today_imported_energy_Wh": (Quantity.TODAY_IMPORTED_ENERGY, Quantity.IMPORTED_ENERGY),
        "today_exported_energy_Wh": (Quantity.TODAY_EXPORTED_ENERGY, Quantity.EXPORTED_ENERGY),
    },
    NodeType.SOLAR: {"today_energy_Wh": (Quantity.TODAY_PRODUCED_ENERGY, Quantity.PRODUCED_ENERGY)},
    NodeType.STORAGE: {
        "today_charged_Wh": (Quantity.TODAY_CHARGED_ENERGY, Quantity.CHARGED_ENERGY),
        "today_discharged_Wh": (Quantity.TODAY_DISCHARGED_ENERGY, Quantity.DISCHARGED_ENERGY),
    },
}
_FOLLOWED = {
    type_: frozenset(quantity for pair in fields.values() for quantity in pair) for type_, fields in TODAY.items()
}

# Before 3.12, iterating over an Enum is Python code.
_TYPES = tuple(NodeType)

CounterId = tuple[str, Quantity]


@dataclass(frozen=True, slots=True)
class TotalsSettings:
    """How to aggregate."""

    timezone: tzinfo | None = None
    statistic: Statistic = "last"
    stale_after_s: float = 30.0
    partial_totals: Literal["omit", "sum"] = "omit"
    sign: Mapping[NodeType, int] = field(default_factory=dict)


class _Account:
    """A ledger, and when it last believed a reading (monotonic seconds)."""

    __slots__ = ("_date", "_today", "ledger", "seen")

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.seen = -inf
        self.ledger: Ledger | None = None
        self._date = ""
        self._today: DayEnergy | None = None
        if ledger is not None:
            self.keep(ledger)

    def keep(self, ledger: Ledger) -> None:
        self.ledger = ledger
        # A push asks for this and little else, of every counter of the site at once.
        self._date = ledger.day.date
        self._today = of_day(ledger, self._date)

    def of_day(self, date: str) -> DayEnergy | None:
        if date == self._date:
            return self._today
        return None if self.ledger is None else of_day(self.ledger, date)


class _Tracked(NamedTuple):
    """What is kept of a node."""

    window: Window
    power_W: float
    """The most that it can turn over."""
    sources: list[tuple[str, list[_Account]]]
    """Each field of its energies of the day with the accounts it can come from, in that order."""


class Totals:
    """Not thread-safe but for `save`, which works on a copy."""

    def __init__(self, nodes: Sequence[Node], settings: TotalsSettings, store: EnergyStore) -> None:
        self._settings = settings
        self._store = store
        self._nodes: dict[str, _Tracked] = {}
        self._accounts = {counter: _Account(ledger) for counter, ledger in store.load().items()}
        self._redate(0.0, settings.timezone)  # the zone may be another than before
        self.reconfigure(nodes, settings)
        self._saved_at, self._saved_date, self._date = -inf, "", ""
        self._offset = -inf
        self._left: deque[tuple[float, dict[CounterId, Ledger]]] = deque(maxlen=4)
        """Where the clock stood before it leapt, and the ledgers of then."""
        self._kept = store.load_nights()
        """Of nodes that were not heard since the start; Unix seconds."""
        self._rest: dict[str, str] = {}
        """Of nodes that may sleep: "awake", "asleep" or "missing" at the last push."""
        self.dropped: Counter[str] = Counter()
        """Readings outside the range of their device, by node id."""
        self._reported: set[tuple[str, Quantity]] = set()

    def reconfigure(self, nodes: Sequence[Node], settings: TotalsSettings) -> None:
        """Go on with these nodes; what is known of one that did not change is kept, and so is every energy."""
        if settings.timezone != self._settings.timezone:
            self._redate(0.0, settings.timezone)
        self._day = inf, inf  # of the zone as it was
        self._turned = frozenset(type_ for type_, sign in settings.sign.items() if sign == -1)
        same_age = settings.stale_after_s == self._settings.stale_after_s
        before = {window.node: window for window, _, _ in self._nodes.values() if same_age}
        nights = {node_id: tracked.window.night for node_id, tracked in self._nodes.items()}
        self._settings = settings
        self._nodes = {
            node.node_id: _Tracked(
                before.get(node) or Window(node, settings.stale_after_s, night=nights.get(node.node_id)),
                largest_power(node.limits) or POWER_W,
                self._sources_of(node),
            )
            for node in nodes
        }

    def observe(self, nodes: Sequence[Node], scan: Scan, wall: float | None) -> None:
        """One finished poll of the device behind `nodes`; `wall` is the Unix time of `scan.finished`, None while the
        clock is known to be wrong: counters lose nothing by waiting for it."""
        if wall is not None:
            self.follow_clock(wall - scan.finished)
        if self._kept:
            self._place(scan.finished)
        for node in nodes:
            self._kept.pop(node.node_id, None)
            taken = self._nodes[node.node_id].window.add(scan)
            for reading in taken.dropped:
                self._drop(node, reading)
            if wall is not None and node.type in TODAY:
                for quantity, value, at in taken.counters:
                    if quantity in _FOLLOWED[node.type]:
                        self._count(node, quantity, value, at, wall - (scan.finished - at))

    def missed(self, nodes: Sequence[Node], at: float) -> None:
        """A poll that failed."""
        for node in nodes:
            self._nodes[node.node_id].window.missed()

    def close(self, at: float, wall: int) -> Summary:
        """End the push interval at monotonic `at`, Unix second `wall`."""
        settings = self._settings
        self._follow_day(wall)
        self._place(at)
        turned = self._turned
        results = []
        members: dict[NodeType, list[Fields]] = {type_: [] for type_ in _TYPES}
        for window, _, sources in self._nodes.values():
            summary = window.close(at, settings.statistic)
            node, fields = summary.node, fields_of(summary)
            basis = self._today(summary, sources, fields)
            if node.when_offline == "sleep":
                self._tell_rest(summary)
            if node.type in turned and isinstance(power := fields.get("active_power_W"), float):
                fields["active_power_W"] = -power
            results.append(NodeResult(summary, fields, basis, node.type in turned))
            if node.counted:
                members[node.type].append(fields)
        groups = {type_: total(fields, settings.partial_totals) for type_, fields in members.items()}
        return Summary(wall, tuple(results), groups)

    def nights(self, at: float) -> dict[str, Night]:
        """What is known of the nodes' nights at monotonic `at`, by node id; see `agent.domain.night`."""
        self._place(at)
        return {node_id: window.night for node_id, (window, _, _) in self._nodes.items() if window.night is not None}

    def asleep(self, nodes: Sequence[Node], at: float) -> bool:
        """Whether a silent device with these nodes is asleep."""
        return all_sleep(nodes, self.nights(at), at)

    def follow_clock(self, offset: float) -> None:
        """Take `offset`, wall minus monotonic time, once the clock is known.

        After a step back the ledgers would wait for their own future; a step forward only makes a gap longer than it
        was, and looks the same as a host that slept.
        """
        step = offset - self._offset
        if abs(step) > RELABEL_S and self._offset > -inf:
            self._leap(step, offset)
        elif step < -_STEP_S:
            self._redate(step, self._settings.timezone)
        self._offset = offset

    def save_due(self, at: float) -> bool:
        """Whether it is time to `save`: each `SAVE_EVERY_S`, and when a day has begun."""
        return at - self._saved_at >= SAVE_EVERY_S or self._date != self._saved_date

    def save(self, at: float = inf) -> None:
        """Keep the energies; waits for the disk. `at` is the monotonic time."""
        self._saved_at, self._saved_date = at, self._date
        accounts, nights = dict(self._accounts), dict(self._kept)
        if self._offset > -inf:
            for node_id, (window, _, _) in self._nodes.items():
                if window.night is not None and node_id not in nights:
                    nights[node_id] = on_disk(window.night, self._offset)
        self._store.save({counter: account.ledger for counter, account in accounts.items() if account.ledger}, nights)

    def _sources_of(self, node: Node) -> list[tuple[str, list[_Account]]]:
        return [
            (name, [self._accounts.setdefault((node.node_id, quantity), _Account()) for quantity in counters])
            for name, counters in TODAY.get(node.type, {}).items()
        ]

    def _follow_day(self, wall: int) -> None:
        start, end = self._day
        if not start <= wall < end:
            self._date, start, end = day_of(wall, self._settings.timezone)
            self._day = start, end

    def _leap(self, step: float, offset: float) -> None:
        """To another day: perhaps by a mistake of the time service, and then it comes back to the one that it left."""
        then = next((ledgers for left, ledgers in self._left if abs(left - offset) < _BACK_S), {})
        if not then:
            self._left.append(
                (self._offset, {name: each.ledger for name, each in self._accounts.items() if each.ledger})
            )
        if then or step < 0:
            self._redate(step, self._settings.timezone)
        for name, ledger in then.items():
            account = self._accounts[name]
            account.keep(resumed(account.ledger or ledger, ledger))

    def _redate(self, seconds: float, zone: tzinfo | None) -> None:
        for account in self._accounts.values():
            if account.ledger is not None:
                account.keep(shifted(account.ledger, seconds if account.seen > -inf else 0.0, zone))

    def _count(self, node: Node, quantity: Quantity, value: float, at: float, wall: float) -> None:
        account = self._accounts[node.node_id, quantity]
        ledger = advance(
            account.ledger,
            value,
            wall,
            self._settings.timezone,
            power_W=self._nodes[node.node_id].power_W,
            daily=quantity.nature is Nature.DAILY,
        )
        account.keep(ledger)
        if ledger.at == wall:
            account.seen = at

    def _today(self, summary: NodeSummary, sources: list[tuple[str, list[_Account]]], fields: Fields) -> Basis | None:
        """Adds the energies of the day to `fields`; how well the worst of them is known."""
        oldest = -inf if summary.sleeps else summary.oldest  # the counters of a sleeper hold
        worst: Basis | None = None
        for name, accounts in sources:
            best: DayEnergy | None = None
            for account in accounts:
                if account.seen >= oldest:
                    energy = account.of_day(self._date)
                    if energy is not None and (best is None or energy.basis < best.basis):
                        best = energy
            if best is not None:
                fields[name], basis = best
                worst = basis if worst is None else max(worst, basis)
        return worst

    def _place(self, at: float) -> None:
        """The nights from before the start, by what the clock says now."""
        for node_id, kept in self._kept.items():
            if node_id in self._nodes:
                self._nodes[node_id].window.night = restored(kept, self._offset, at)

    def _tell_rest(self, summary: NodeSummary) -> None:
        """Falling asleep is kept at once, as a restart is to know of it; that it cannot be sleep is told once."""
        if summary.silent and not summary.expected:
            return  # not asked yet
        rest = "awake" if not summary.silent else "asleep" if summary.sleeps else "missing"
        node_id = summary.node.node_id
        if rest == self._rest.get(node_id):
            return
        self._rest[node_id] = rest
        if rest == "asleep":
            self._saved_at = -inf
        elif rest == "missing":
            reason = why_not(summary.night, summary.at)
            log.warning("sleeper_missing", node=node_id, reason=f"{reason}: it counts as missing")

    def _drop(self, node: Node, reading: Reading) -> None:
        """Count it; the first of a kind is worth a line, the next ones are not."""
        self.dropped[node.node_id] += 1
        what = (node.node_id, reading.quantity)
        first = what not in self._reported
        self._reported.add(what)
        low, high = ranges(node.limits)[reading.quantity]
        (log.warning if first else log.debug)(
            "implausible_value",
            node=node.node_id,
            quantity=reading.quantity.label(reading.phase),
            value=reading.value,
            low=low,
            high=high,
        )
