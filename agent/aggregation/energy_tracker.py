"""The ledgers of all counters of the site: fed by readings, asked for the energies of the day at each push.

A ledger (`agent.energy.ledger`) is pure. The tracker gives it the wall time of each reading, follows steps of the wall
clock and changes of the time zone, and hands all ledgers over to be saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import tzinfo
from math import inf

from agent.aggregation.groups import Fields
from agent.domain import Node
from agent.energy import RELABEL_S, Basis, DayEnergy, Ledger, advance, day_of, of_day, resumed, shifted
from drivers.model import Nature, NodeType, Quantity

# Scheduling moves the wall time of a scan by less than this.
_STEP_S = 5.0
# A clock that is this near to the time before its leap has come back.
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
FOLLOWED = {
    type_: frozenset(quantity for pair in fields.values() for quantity in pair) for type_, fields in TODAY.items()
}
"""The counters of each node type that have a ledger."""

CounterId = tuple[str, Quantity]


class Account:
    """A ledger, and when it last accepted a reading (monotonic seconds)."""

    __slots__ = ("_date", "_today", "ledger", "seen")

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.seen = -inf
        self.ledger: Ledger | None = None
        self._date = ""
        self._today: DayEnergy | None = None
        if ledger is not None:
            self.keep(ledger)

    def keep(self, ledger: Ledger) -> None:
        """Replace the ledger; the energy of its day is computed once here, as each push asks for it."""
        self.ledger = ledger
        self._date = ledger.day.date
        self._today = of_day(ledger, self._date)

    def of_day(self, date: str) -> DayEnergy | None:
        """The energy of a local day, YYYY-MM-DD; None if the ledger does not know that day."""
        if date == self._date:
            return self._today
        return None if self.ledger is None else of_day(self.ledger, date)


Sources = list[tuple[str, list[Account]]]
"""Each energy field of a node with the accounts it can come from, in the order of preference."""


class EnergyTracker:
    """The ledgers by node and quantity. Not thread-safe."""

    def __init__(self, ledgers: Mapping[CounterId, Ledger], zone: tzinfo | None) -> None:
        self._zone = zone
        self._accounts = {counter: Account(ledger) for counter, ledger in ledgers.items()}
        self._redate(0.0)  # the zone can differ from that of the saved ledgers
        self._offset = -inf
        self.date = ""
        """The local day of the last push."""
        self._day = inf, inf
        self._before_leap: deque[tuple[float, dict[CounterId, Ledger]]] = deque(maxlen=4)
        """The clock's offset before each leap, and the ledgers of that moment."""

    @property
    def offset(self) -> float:
        """Wall minus monotonic time, as last told; minus infinity while the clock is not known."""
        return self._offset

    def sources_of(self, node: Node) -> Sources:
        """The accounts behind the energy fields of a node; new counters get an empty account."""
        return [
            (name, [self._accounts.setdefault((node.node_id, quantity), Account()) for quantity in counters])
            for name, counters in TODAY.get(node.type, {}).items()
        ]

    def use_zone(self, zone: tzinfo | None) -> None:
        """Move all ledgers to another time zone."""
        if zone != self._zone:
            self._zone = zone
            self._redate(0.0)
        self._day = inf, inf

    def count(self, node: Node, quantity: Quantity, value: float, at: float, wall: float, power_W: float) -> None:
        """One reading of a counter: `value` in Wh at monotonic `at`, Unix second `wall`.

        `power_W` is the most that the node can turn over.
        """
        account = self._accounts[node.node_id, quantity]
        ledger = advance(
            account.ledger, value, wall, self._zone, power_W=power_W, daily=quantity.nature is Nature.DAILY
        )
        account.keep(ledger)
        if ledger.at == wall:
            account.seen = at

    def add_today(self, sources: Sources, oldest: float, fields: Fields) -> Basis | None:
        """Add the energies of the day to `fields`, from accounts that were seen since monotonic `oldest`.

        Returns the basis of the worst of them; None if there is none.
        """
        worst: Basis | None = None
        for name, accounts in sources:
            best: DayEnergy | None = None
            for account in accounts:
                if account.seen >= oldest:
                    energy = account.of_day(self.date)
                    if energy is not None and (best is None or energy.basis < best.basis):
                        best = energy
            if best is not None:
                fields[name], basis = best
                worst = basis if worst is None else max(worst, basis)
        return worst

    def follow_day(self, wall: int) -> None:
        """Set the local day of Unix second `wall`."""
        start, end = self._day
        if not start <= wall < end:
            self.date, start, end = day_of(wall, self._zone)
            self._day = start, end

    def follow_clock(self, offset: float) -> None:
        """Take `offset`, wall minus monotonic time, once the clock is known.

        After a step back the ledgers would wait for their own future, so they are moved. A step forward only makes a
        gap longer and looks like a host that slept.
        """
        step = offset - self._offset
        if abs(step) > RELABEL_S and self._offset > -inf:
            self._leap(step, offset)
        elif step < -_STEP_S:
            self._redate(step)
        self._offset = offset

    def ledgers(self) -> dict[CounterId, Ledger]:
        """All ledgers, to be saved. Safe to call in another thread: it works on a copy."""
        return {counter: account.ledger for counter, account in list(self._accounts.items()) if account.ledger}

    def _leap(self, step: float, offset: float) -> None:
        """The clock moved to another day. If that was a mistake of the time service, it comes back to its old time."""
        then = next((ledgers for left, ledgers in self._before_leap if abs(left - offset) < _BACK_S), {})
        if not then:
            self._before_leap.append((self._offset, self.ledgers()))
        if then or step < 0:
            self._redate(step)
        for counter, ledger in then.items():
            account = self._accounts[counter]
            account.keep(resumed(account.ledger or ledger, ledger))

    def _redate(self, seconds: float) -> None:
        for account in self._accounts.values():
            if account.ledger is not None:
                account.keep(shifted(account.ledger, seconds if account.seen > -inf else 0.0, self._zone))
