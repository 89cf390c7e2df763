"""Calculates the energy of the local day from the readings of a counter. Pure.

A `Ledger` is the state of one counter. The words that these modules use:

- Transition (`TransitionKind`): explains the difference of two readings, for example by a rollover. It has a price in
  seconds; the usual growth has none.
- Path: a chain of transitions. Its cost in seconds is the sum of the prices of its transitions, and of the seconds that
  its skipped readings represent. Skipped readings in a row cost at most `RUN_PRICE`. So the cheapest path skips a few
  strange readings, but explains many of them by a transition.
- Candidate: a reading that may be correct, with the cheapest path that ends at it.
- Total: the growth along the cheapest path. The energy of a day is the total now minus the total at local midnight,
  which is interpolated between the readings before and after midnight.
- Undecided: a reading is undecided while another path can still become the cheapest. This usually lasts for a quarter
  of an hour of observed seconds, at most for half an hour of them.

Invariants:

1. If all transitions of a path are continuations, the total is the growth between its first and last reading. Glitches,
   restarts of the agent and missed readings between them do not change it.
2. A transition has no lasting effect if the readings after it on its path represent fewer seconds than its price. This
   is also true of many such transitions.
3. A transition adds at most the register's step plus the energy that the device can count in the time (`turnover`). At
   the usual interval, a growth has no price up to the power `Turnover.near_W`. A larger growth has a price. So it
   counts only when the readings of one to five minutes (at long intervals: two readings) confirm it. Until then, the
   `Basis` of the day is ESTIMATED. In a gap, a growth up to `Turnover.gap_W` has no price, and counts at once. If the
   power seen so far does not explain a growth, the `Basis` of the day stays ESTIMATED.
4. A rollover is possible only in a register with a known range.
5. Undecided readings survive a restart, because the candidates are part of the saved state.
6. An energy of a day is never negative.
7. The `Basis` of a day shows whether energy of this day is estimated or not counted. Each event is reported at most
   once: when it is decided, or, although it is undecided, when its path has more than eight later events.
8. The device's clock does not decide when a local day begins. A daily register is handled like any counter. The device
   may set it to zero at any hour, but at most once in 18 hours. The value of the register is used directly only at the
   first reading and after a gap over the device's midnight.

The cheapest path can be continued to any new reading at a price of at most `RUN_PRICE`. A candidate that costs at least
`RUN_PRICE` more than the best one can therefore never become the cheapest, and is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from itertools import pairwise
from typing import NamedTuple

from agent.energy.candidate import NEVER, Candidate, EnergyEvent, moved
from agent.energy.days import Basis, DayEnergy
from agent.energy.turnover import MINUTE_S, SLACK_S, Turnover

RELABEL_S = 12 * 3600.0
"""If the clock is set by more than this many seconds, the dates of earlier days are not reliable. After the clock was
set, a candidate keeps its day if its reading is less than this many seconds after the end of this day."""
CANDIDATES = 32
"""If there are more candidates than this, some neighbours on the same path are removed. Neighbours differ little."""
FRESH = 6
"""Number of the latest candidates, which are kept even if they are neighbours on the same path."""
# Before Python 3.12, access to a member of an Enum is slow.
_ESTIMATED = Basis.ESTIMATED


class Ledger(NamedTuple):
    """The state of one counter. Energies in Wh, times in Unix seconds."""

    others: tuple[Candidate, ...]
    """All candidates except the best one, sorted by the time of their readings."""
    best: Candidate
    """The end of the cheapest path."""
    at: float
    """Time of the last reading, on the cheapest path or not."""
    interval_s: float
    """Seconds between the last two readings; 0 before the second reading."""
    observed_s: float
    """The observed seconds: the sum of the seconds that the readings represent, at most 300 s each. A gap counts as one
    interval."""
    integral_Wh: float
    """Power integrated since the first reading, Wh. Gaps and unknown powers add nothing."""
    power_W: float
    """Power at the last reading, in the direction of the counter; negative if unknown."""
    turnover: Turnover
    unconfirmed_until: float = 0.0
    """While `observed_s` is less than this, the last growth that exceeds the measured power is not confirmed."""
    early: float = 0.0
    """If the last readings are not later than `at`, the time of the first of them; otherwise 0."""
    decided: tuple[EnergyEvent, ...] = ()
    """Events that the last reading decided."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, sorted by the time of their readings."""
        if not self.others or self.others[-1].observed_s < self.best.observed_s:
            return (*self.others, self.best)
        return tuple(sorted((*self.others, self.best), key=lambda each: each.observed_s))

    def with_candidates(self, candidates: Sequence[Candidate], best: int) -> Ledger:
        """Return the ledger with other candidates. `best` is the index of the best one."""
        others = (*candidates[:best], *candidates[best + 1 :])
        return self._replace(others=others, best=candidates[best])


def of_day(ledger: Ledger, date: str) -> DayEnergy | None:
    """Return the energy of a date.

    It is 0 Wh for a date after the last reading on the cheapest path. It is None for an earlier date that is not in the
    ledger.
    """
    today, energy_Wh, basis = of_today(ledger)
    if date == today:
        return DayEnergy(energy_Wh, basis)
    day, before = ledger.best.day, ledger.best.before
    if before is not None and date == before.date:
        return DayEnergy(max(0.0, day.base - before.base), before.basis)
    return DayEnergy(0.0, _ESTIMATED if _is_undecided(ledger) else Basis.SEEN) if date > today else None


def of_today(ledger: Ledger) -> tuple[str, float, Basis]:
    """Return (date, Wh, basis) of the day of the last reading on the cheapest path."""
    _, best, _, _, observed_s, _, _, _, unconfirmed_until, _, _ = ledger
    _, _, changed, observed_then, _, total, _, day, _, _, _ = best
    date, _, _, base, basis, _ = day
    maybe = observed_then != observed_s or unconfirmed_until > observed_s or changed == NEVER
    if maybe and basis < _ESTIMATED and _is_undecided(ledger):
        basis = _ESTIMATED
    return date, total - base if total > base else 0.0, basis


def _is_undecided(ledger: Ledger) -> bool:
    """Whether the last reading or the last growth is not confirmed.

    Also True if the counter has not moved since its first reading, a reset, a replacement or a new day, although the
    measured power was enough to move it.
    """
    best, turnover = ledger.best, ledger.turnover
    if best.observed_s != ledger.observed_s or ledger.unconfirmed_until > ledger.observed_s:
        return True
    expected = turnover.ratio * (ledger.integral_Wh - best.integral_Wh)
    return best.changed == NEVER and expected > turnover.step_Wh + turnover.near_W * SLACK_S / 3600


def minute_of(ledger: Ledger) -> float:
    """Return the largest possible growth of the counter in a minute, Wh."""
    return ledger.turnover.step_Wh + ledger.turnover.near_W * MINUTE_S / 3600


def flow_of(ledger: Ledger) -> float:
    """Return the power at the last reading times `Turnover.ratio`, W; at most `Turnover.near_W`.

    Return `Turnover.near_W` if the power is unknown, or if `Turnover.ratio` is 0.
    """
    turnover = ledger.turnover
    measured = turnover.ratio and ledger.power_W >= 0.0
    return min(turnover.near_W, turnover.ratio * ledger.power_W) if measured else turnover.near_W


def shifted(ledger: Ledger, seconds: float, zone: tzinfo | None) -> Ledger:
    """Return the ledger with the times of its readings moved by `seconds`, because the clock was set. See `moved`."""
    return ledger._replace(
        others=tuple(moved(each, seconds, zone, RELABEL_S) for each in ledger.others),
        best=moved(ledger.best, seconds, zone, RELABEL_S),
        at=ledger.at + seconds,
        early=0.0,
        decided=(),
    )


def resumed(ledger: Ledger, then: Ledger) -> Ledger:
    """Return `ledger` with the days of `then`, the ledger before a jump of the clock that is now undone.

    Nothing changes if the last reading of `ledger` is before the last day of `then`, or `RELABEL_S` or more after the
    end of that day.
    """
    day, before = then.best.day, then.best.before
    if not day.start <= ledger.at < day.end + RELABEL_S:
        return ledger
    return ledger._replace(
        others=tuple(each._replace(day=day, before=before) for each in ledger.others),
        best=ledger.best._replace(day=day, before=before),
    )


def thinned(ledger: Ledger, most: int = CANDIDATES) -> Ledger:
    """Return the ledger with about `most` candidates: the latest ones, and at least one of each path."""
    candidates = list(ledger.candidates)
    while len(candidates) > most:
        old, fresh = candidates[:-FRESH], candidates[-FRESH:]
        kept = [
            each
            for number, (each, following) in enumerate(pairwise(candidates[: 1 - FRESH]))
            if number % 2 == 0 or each is ledger.best or each.cost != following.cost
        ]
        if len(kept) == len(old):
            break
        candidates = kept + fresh
    return ledger.with_candidates(candidates, _index(candidates, ledger.best))


def _index(candidates: Sequence[Candidate], best: Candidate) -> int:
    return next(number for number, each in enumerate(candidates) if each is best)
