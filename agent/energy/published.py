"""The published energy of a day. It does not fall if a reading was a little too high. Pure."""

from __future__ import annotations

from typing import NamedTuple

from agent.energy.days import Basis, DayEnergy
from agent.energy.links import MINUTE_S

_SAME_WH = 1e-3


class Published(NamedTuple):
    """The energy of a day that was published last."""

    date: str = ""
    energy: float = 0.0
    fell: bool = False
    """Whether the energy fell on this day, because a published value was wrong by more than a minute's energy."""


def publish(
    published: Published, date: str, found: DayEnergy, step_Wh: float, near_W: float
) -> tuple[Published, DayEnergy]:
    """Return the energy to publish. `found` is the energy of local day `date`.

    `step_Wh` is the step of the register. `near_W` limits the power of the device. Both limit the energy of a minute.
    If the published energy was too high by at most that energy, it is kept until the counter reaches it. If the
    difference is larger, the energy falls. Both cases have the basis ESTIMATED.
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
