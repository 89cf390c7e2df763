"""Calculates energies of the day from counters: ledger, local days, and the file that stores them.

All modules except `store` are pure. `ledger` explains path, cost, price and candidate.
"""

from agent.energy.candidate import EnergyEvent
from agent.energy.days import Basis, DayEnergy, day_of
from agent.energy.ledger import RELABEL_S, Ledger, flow_of, minute_of, of_day, of_today, resumed, shifted
from agent.energy.published import Published, publish
from agent.energy.readings import advance
from agent.energy.store import EnergyStore
from agent.energy.turnover import Register

__all__ = [
    "RELABEL_S",
    "Basis",
    "DayEnergy",
    "EnergyEvent",
    "EnergyStore",
    "Ledger",
    "Published",
    "Register",
    "advance",
    "day_of",
    "flow_of",
    "minute_of",
    "of_day",
    "of_today",
    "publish",
    "resumed",
    "shifted",
]
