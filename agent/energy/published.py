"""The published energy of a day, which does not fall if a reading was only a little too high. Pure."""

from __future__ import annotations

from typing import NamedTuple

from agent.energy.days import Basis, DayEnergy

_SAME_WH = 1e-3
"""Energies that differ by at most this many Wh are equal."""
_WAIT_S = 900.0
"""A published energy that was too high is kept only if the counter can reach it within this many seconds."""


class Published(NamedTuple):
    """The last published energy of a field, Wh, and its local day. `date` is empty before the first energy."""

    date: str = ""
    energy: float = 0.0
    fell: bool = False
    """Whether the energy fell on this day, because a published value was too high by more than a step."""


def publish(
    published: Published, date: str, found: DayEnergy, step_Wh: float, minute_Wh: float, flow_W: float, left_s: float
) -> tuple[Published, DayEnergy]:
    """Return the new `Published` and the energy to publish.

    `found` is the energy of local day `date`, which ends in `left_s` seconds.

    `step_Wh` is the step of the register; 0 if unknown. `minute_Wh` is the largest growth of the counter in a minute,
    `flow_W` the present power.

    A published energy of the same day that is higher than `found` is kept if both conditions hold:

    - The excess is at most `minute_Wh`.
    - At `flow_W`, the counter can reach the published energy within a quarter of an hour and before the day ends.

    A kept energy that is not equal to `found` has the basis ESTIMATED or a worse one. If the published energy falls by
    more than one step, the lower energy and all later ones of the day have such a basis.
    """
    energy, basis = found
    if date != published.date:
        return Published(date, energy), found
    fell = published.fell
    excess = published.energy - energy
    if excess > 0.0:
        reachable_Wh = flow_W * min(_WAIT_S, left_s) / 3600
        if excess <= min(minute_Wh, reachable_Wh):
            energy = published.energy
            if excess > _SAME_WH:
                basis = max(basis, Basis.ESTIMATED)
        else:
            fell = fell or excess > max(step_Wh, _SAME_WH)
    if fell:
        basis = max(basis, Basis.ESTIMATED)
    return Published(date, energy, fell), DayEnergy(energy, basis)
