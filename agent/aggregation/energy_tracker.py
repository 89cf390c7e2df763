"""Follows all counters of the site and returns the energies of the day at each push.

In this module, "counter" also means a daily register. Each counter has a ledger (`agent.energy.ledger`), which
calculates its energy of the day. The tracker gives each ledger the readings with their wall time, and handles steps of
the wall clock and changes of the time zone.

A leap is a step of the wall clock by more than `RELABEL_S`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from datetime import tzinfo
from math import inf

import structlog

from agent.aggregation.groups import Fields
from agent.domain import Node, largest_power
from agent.energy import (
    RELABEL_S,
    Basis,
    DayEnergy,
    EnergyEvent,
    Ledger,
    Published,
    Register,
    advance,
    day_of,
    flow_of,
    minute_of,
    of_day,
    of_today,
    publish,
    resumed,
    shifted,
)
from drivers.model import Nature, NodeType, Quantity

log = structlog.get_logger(__name__)

# A step back by at most this many seconds moves no times in the ledgers. If there is a delay between the end of a scan
# and the moment when the wall clock is read, the next scan seems to show such a step.
_STEP_S = 5.0
# A leap undoes an earlier leap if the new offset (wall minus monotonic time) differs by less than this many seconds
# from the offset before the earlier leap. `_before_leap` has the earlier leaps that can be undone.
_BACK_S = 60.0

# Energy field of the contract → the quantities that can give its value: first the daily register, then the energy
# since installation.
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
FOLLOWED = {
    type_: frozenset(quantity for pair in fields.values() for quantity in pair) for type_, fields in TODAY.items()
}
"""The counters of each node type that have a ledger."""

_OF_NEGATIVE_POWER = frozenset(
    {
        *(Quantity.EXPORTED_ENERGY, Quantity.TODAY_EXPORTED_ENERGY),
        *(Quantity.DISCHARGED_ENERGY, Quantity.TODAY_DISCHARGED_ENERGY),
    }
)
"""Counters that grow while the power of their node is negative."""
EVENTS = ("reset", "replaced", "rolled_over", "glitch_removed")
"""Kinds of counter events. The log event of a kind is `counter_` and the kind, such as `counter_reset`."""
_LOSSES = frozenset({"counter_reset", "counter_replaced"})
"""Log events that are warnings, because some energy may not be counted. The other events are info."""

CounterId = tuple[str, Quantity]
"""(node id, quantity)."""
FieldId = tuple[str, str]
"""(node id, name of the energy field)."""


class Account:
    """A counter: its register, its ledger, and its energy of one day."""

    __slots__ = ("basis", "date", "direction", "energy_Wh", "ledger", "register", "seen", "step_Wh")

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.seen = -inf
        """Monotonic second of the last reading since the start; minus infinity if none.

        A reading that the ledger ignores because of its time does not count.
        """
        self.ledger: Ledger | None = None
        """None before the first reading."""
        self.register = Register()
        self.step_Wh = 0.0
        """The step of the register; 0 if unknown."""
        self.direction = 1.0
        """-1 for a counter that grows while the power of its node is negative."""
        self.date, self.energy_Wh, self.basis = "", 0.0, Basis.SEEN
        """A local day (YYYY-MM-DD; empty without a ledger), its energy and the `Basis` of this energy.

        `set_ledger` sets them for the day of the last reading on the cheapest path, `follow_day` for another day.
        """
        if ledger is not None:
            self.set_ledger(ledger)

    def set_ledger(self, ledger: Ledger) -> None:
        """Replace the ledger. Calculate the energy of its day once for all pushes until the next reading."""
        self.ledger = ledger
        self.date, self.energy_Wh, self.basis = of_today(ledger)

    def follow_day(self, date: str) -> bool:
        """Change to local day `date`. If the energy of this day is unknown, change nothing and return False."""
        found = None if self.ledger is None else of_day(self.ledger, date)
        if found is not None:
            self.date, self.energy_Wh, self.basis = date, *found
        return found is not None


class EnergyField:
    """An energy field of a node: the accounts that can give it, the preferred one first; its last published energy."""

    __slots__ = ("_before", "accounts", "name", "published", "rising_on", "shown_Wh")

    def __init__(self, name: str, published: Published) -> None:
        self.name = name
        self.accounts: list[Account] = []
        self.published = published
        self.shown_Wh = published.energy
        """The last published energy of day `published.date`; newer than `published.energy` while the energy rises."""
        self.rising_on = ""
        """On this day, an energy of `shown_Wh` or more is published without a call of `publish`.

        This day is `published.date`. `rising_on` is empty before the first `publish` since the start, and if
        `published.fell`.
        """
        self._before = Published()
        """The last published energy of the previous day. With several endpoints, a push of the previous day can end
        after the first push of the new day. `publish` then compares the energy of that push with this energy."""

    def publish(self, source: Account, date: str, found: DayEnergy) -> DayEnergy:
        """Return the energy to publish. `found` is the energy of `source` on local day `date`."""
        if source.ledger is None:
            return found  # for the type checker: a source has a ledger, because it has the day of the push
        step_Wh, minute_Wh, flow_W = source.step_Wh, minute_of(source.ledger), flow_of(source.ledger)
        if date == self._before.date < self.published.date:
            self._before, found = publish(self._before, date, found, step_Wh, minute_Wh, flow_W, 0.0)
            return found
        left_s = source.ledger.best.day.end - source.ledger.at
        last = self.published._replace(energy=self.shown_Wh)
        if last.date < date:
            self._before = last
        self.published, found = publish(last, date, found, step_Wh, minute_Wh, flow_W, left_s)
        self.shown_Wh = self.published.energy
        self.rising_on = "" if self.published.fell else date
        return found


Sources = list[EnergyField]


class EnergyTracker:
    """Follows the counters of all nodes. Only `published` and `ledgers` are thread-safe."""

    def __init__(
        self, ledgers: Mapping[CounterId, Ledger], zone: tzinfo | None, published: Mapping[FieldId, Published]
    ) -> None:
        self._zone = zone
        self._fields = {key: EnergyField(key[1], each) for key, each in published.items()}
        self.events: Counter[tuple[str, str]] = Counter()
        """(node id, kind) → number of counter events."""
        self._accounts = {counter: Account(ledger) for counter, ledger in ledgers.items()}
        self._move_times()  # the zone can differ from that of the saved ledgers
        self.offset = -inf
        """Wall minus monotonic time in seconds at the last `follow_clock`; minus infinity before the first one."""
        self.date = ""
        """The local day of the last push."""
        self._day: tuple[float, float] = inf, inf
        """Beginning and end of `date` in Unix seconds; infinite until `follow_day` calculates `date` again."""
        self._before_leap: deque[tuple[float, dict[CounterId, Ledger]]] = deque(maxlen=4)
        """(offset, ledgers) before each of the last four leaps that undid no other leap."""

    def sources_of(self, node: Node, connection_W: float) -> Sources:
        """Return the energy fields of a node; empty if its type has none. Their counters are followed from now on.

        `connection_W`: as in `AggregationSettings`.
        """
        sources = []
        for name, counters in TODAY.get(node.type, {}).items():
            field = self._fields.setdefault((node.node_id, name), EnergyField(name, Published()))
            field.accounts = [self._account(node, quantity, connection_W) for quantity in counters]
            sources.append(field)
        return sources

    def _account(self, node: Node, quantity: Quantity, connection_W: float) -> Account:
        account = self._accounts.setdefault((node.node_id, quantity), Account())
        known = node.resolutions.get(quantity)
        register = Register(
            daily=quantity.nature is Nature.DAILY,
            limit_W=largest_power(node.limits) or 0.0,
            connection_W=connection_W,
        )
        account.step_Wh = 0.0 if known is None else known.step
        account.register = register if known is None else register._replace(step_Wh=known.step, range_Wh=known.range)
        account.direction = -1.0 if quantity in _OF_NEGATIVE_POWER else 1.0
        return account

    def use_zone(self, zone: tzinfo | None) -> None:
        """Move all ledgers to time zone `zone`; None is the zone of the system."""
        if zone != self._zone:
            self._zone = zone
            self._move_times()
        self._day = inf, inf

    def count(
        self, node: Node, quantity: Quantity, value: float, at: float, wall: float, power_W: float | None
    ) -> None:
        """Add a reading of a counter: `value` in Wh at monotonic `at`, Unix second `wall`.

        `power_W` is the power of the node in the same scan, with the sign that the contract defines for the type of the
        node; None if it was not read.
        """
        account = self._accounts[node.node_id, quantity]
        if power_W is not None:
            power_W *= account.direction
            if power_W < 0.0:
                power_W = 0.0
        ledger = advance(account.ledger, value, wall, self._zone, account.register, power_W)
        account.set_ledger(ledger)
        if ledger.at == wall:
            account.seen = at
        for event in ledger.decided:
            self._report(node, quantity, event)

    def add_today(self, sources: Sources, oldest: float, fields: Fields) -> Basis | None:
        """Add the energies of the day to `fields`. Return the worst `Basis` of these energies; None if there are none.

        An account can give the energy of a field if it has a reading since monotonic `oldest` and its energy of the day
        is known. Of two such accounts, the one with the better `Basis` is used; if both have the same, the daily
        register. A field without such an account is omitted. Each energy is rounded to a multiple of the step of its
        register, if the step is known.
        """
        worst: Basis | None = None
        date = self.date
        for field in sources:
            source: Account | None = None
            for account in field.accounts:
                known = account.seen >= oldest and (account.date == date or account.follow_day(date))
                if known and (source is None or account.basis < source.basis):
                    source = account
            if source is None:
                continue
            energy_Wh, basis = source.energy_Wh, source.basis
            if energy_Wh >= field.shown_Wh and date == field.rising_on:
                field.shown_Wh = energy_Wh
            else:
                energy_Wh, basis = field.publish(source, date, DayEnergy(energy_Wh, basis))
            step = source.step_Wh
            fields[field.name] = round(energy_Wh / step) * step if step else energy_Wh
            if worst is None or basis > worst:
                worst = basis
        return worst

    def follow_day(self, wall: int) -> None:
        """Set `date` to the local day of Unix second `wall`."""
        start, end = self._day
        if not start <= wall < end:
            self.date, start, end = day_of(wall, self._zone)
            self._day = start, end

    def follow_clock(self, offset: float) -> None:
        """Set `offset`: wall minus monotonic time, in seconds. Call this only while the clock is trusted.

        A step back by more than `_STEP_S` that is no leap moves the times in the ledgers. Without this, the last
        readings would be in the future. A step forward that is no leap moves nothing: it only makes the gap between
        two readings longer.
        """
        step = offset - self.offset
        if abs(step) > RELABEL_S and self.offset > -inf:
            self._leap(step, offset)
        elif step < -_STEP_S:
            self._move_times(step)
        self.offset = offset

    def published(self) -> dict[FieldId, Published]:
        """Return the last published energies, to save them. Thread-safe: works on a copy."""
        return {
            key: field.published._replace(energy=field.shown_Wh)
            for key, field in list(self._fields.items())
            if field.published.date
        }

    def ledgers(self) -> dict[CounterId, Ledger]:
        """Return all ledgers, to save them. Thread-safe: works on a copy."""
        return {counter: account.ledger for counter, account in list(self._accounts.items()) if account.ledger}

    def _leap(self, step: float, offset: float) -> None:
        """Handle a leap by `step` seconds to `offset`.

        A wrong time service can cause a leap that a later leap undoes. The ledgers then continue with the days that
        they had before the first of these two leaps. The times in the ledgers are moved by `step`, except after a leap
        forward that undoes no other leap.
        """
        then = next((ledgers for left, ledgers in self._before_leap if abs(left - offset) < _BACK_S), None)
        if then is None:
            self._before_leap.append((self.offset, self.ledgers()))
        if then is not None or step < 0:
            self._move_times(step)
        for counter, ledger in (then or {}).items():
            account = self._accounts[counter]
            account.set_ledger(resumed(account.ledger or ledger, ledger))

    def _move_times(self, seconds: float = 0.0) -> None:
        """Move the times in all ledgers by `seconds`, and their days into the present time zone.

        The times of a ledger without a reading since the start are not moved, because they are from an earlier run.
        """
        for account in self._accounts.values():
            if account.ledger is not None:
                account.set_ledger(shifted(account.ledger, seconds if account.seen > -inf else 0.0, self._zone))

    def _report(self, node: Node, quantity: Quantity, event: EnergyEvent) -> None:
        kind = event.name.removeprefix("counter_")
        self.events[node.node_id, kind] += 1
        (log.warning if event.name in _LOSSES else log.info)(
            event.name,
            device=node.node_id,
            quantity=quantity.label(),
            before=event.before,
            after=event.after,
        )
