"""The powers of a site → whether they can be those of one site. Pure.

What comes in over the grid and from the panels and does not go into the battery is what the house takes; a house that
gives is no house. It is the commonest mistake of an installation: a meter or a current transformer the wrong way round.
"""

from __future__ import annotations

from collections.abc import Mapping

from drivers.model import LOADS, NodeType

_LEAST_W = 300.0
_SHARE = 0.1
"""Devices are not asked in the same moment, and measure what they please."""

_INTO_HOUSE = {NodeType.GRID: 1.0, NodeType.SOLAR: 1.0, NodeType.STORAGE: -1.0, **dict.fromkeys(LOADS, -1.0)}
_METERED = (NodeType.GRID, NodeType.STORAGE)
"""What flows both ways, so that nobody sees it from the sign alone."""


def imbalance(powers: Mapping[NodeType, float]) -> str | None:
    """A hint when more flows out of the site than into it. `powers`: per type, in W, signed as in the contract."""
    if NodeType.GRID not in powers or len(powers) < 2:
        return None
    tolerance = max(_LEAST_W, _SHARE * max(map(abs, powers.values())))
    rest = _rest(powers)
    if rest >= -tolerance:
        return None
    turned = {type_: _rest({**powers, type_: -power}) for type_, power in powers.items() if type_ in _METERED}
    guesses = [f"with {type_} turned around {left:.0f} W" for type_, left in turned.items() if left >= -tolerance]
    terms = [f"{'+' if _INTO_HOUSE[type_] > 0 else '-'} {type_} {power:.0f} W" for type_, power in powers.items()]
    return (
        f"{' '.join(terms).removeprefix('+ ')} leaves {rest:.0f} W for the rest of the house"
        + (f"; {', '.join(guesses)}" if guesses else "")
        + ". Is a sign inverted, is a power counted twice, or is something that generates not measured?"
    )


def _rest(powers: Mapping[NodeType, float]) -> float:
    return sum(_INTO_HOUSE[type_] * power for type_, power in powers.items())
