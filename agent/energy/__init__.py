"""From counters to energies of the day: ledger, local days, and the file that keeps them.

`ledger` and `days` are pure. `store` is the file.
"""

from agent.energy.days import Basis, DayEnergy, day_of
from agent.energy.ledger import POWER_W, RELABEL_S, Ledger, advance, of_day, resumed, shifted
from agent.energy.store import EnergyStore

__all__ = [
    "POWER_W",
    "RELABEL_S",
    "Basis",
    "DayEnergy",
    "EnergyStore",
    "Ledger",
    "advance",
    "day_of",
    "of_day",
    "resumed",
    "shifted",
]
