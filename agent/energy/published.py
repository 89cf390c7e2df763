"""What was published of a day: its energy does not fall because a reading turned out to be wrong. Pure."""

from __future__ import annotations

from typing import NamedTuple

from agent.energy.days import Basis, DayEnergy
from agent.energy.links import MINUTE_S

_SAME_WH = 1e-3


class Published(NamedTuple):
    """The energy of a day as it was published last."""

    date: str = ""
    energy: float = 0.0
    fell: bool = False
    """It fell on this day: a wrong value had been published that the device cannot make up within a minute."""


def publish(
    published: Published, date: str, found: DayEnergy, step_Wh: float, near_W: float
) -> tuple[Published, DayEnergy]:
    """What to publish for `found`, the energy of local day `date`.

    An energy that was published too high, by no more than what the device turns over in a minute, holds until the
    counter has caught up; a larger one falls. Both are declared as estimated.
    """
    energy, basis = found
    if date != published.date:
        return Published(date, energy), found
    fell = published.fell
    excess = published.energy - energy
    if excess > step_Wh + near_W * MINUTE_S / 3600:
        fell = True
    elif excess > 0.0:
        energy = published.energy
        if excess > _SAME_WH:
            basis = max(basis, Basis.ESTIMATED)
    if fell:
        basis = max(basis, Basis.ESTIMATED)
    return Published(date, energy, fell), DayEnergy(energy, basis)
