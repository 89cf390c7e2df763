"""Says why the energies of the day have no balance. Pure.

The balance on the page shows where the energy of the day came from and where it went. It needs import and export of the
grid, production if the site has solar, and charge and discharge if it has storage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from agent.aggregation import COUNTERS_OF, Fields
from drivers.model import NodeType, Quantity

ENERGIES = {
    "today_imported_energy_Wh": "import",
    "today_exported_energy_Wh": "export",
    "today_energy_Wh": "production",
    "today_charged_Wh": "charge",
    "today_discharged_Wh": "discharge",
}
"""Field with an energy of the day → its word in the reasons."""
_STATES = {"lost": "does not answer", "waiting": "is not polled yet"}


class CountedNode(NamedTuple):
    """A node whose energies are part of the totals of its type."""

    node_id: str
    type: NodeType
    fields: Fields
    state: str
    """The state of its device, as in `DeviceStatus`."""
    reported: Collection[Quantity]
    """The quantities that the last answer of its device has for this node, with or without a value."""


def why_no_balance(flow: Mapping[str, Fields], nodes: Iterable[CountedNode], *, pushed: bool) -> str | None:
    """Return why the energies of the day in `flow` have no balance.

    None if they have one, or if no group in `flow` is of a type with counters (grid, solar, storage).

    `flow`: group → its fields. `pushed`: whether the agent has made a message since the start.
    """
    needed = {type_: fields for type_, fields in COUNTERS_OF.items() if type_ in flow}
    if not needed:
        return None
    if NodeType.GRID not in needed:
        return "no device measures the grid"
    if all(name in flow[type_] for type_, fields in needed.items() for name in fields):
        return None
    if not pushed:
        return "no message was made since the start"
    nodes = list(nodes)
    reasons = [reason for node in nodes if (reason := _lacks(node)) is not None]
    reasons += [f"no {type_} node is counted" for type_ in needed if type_ not in {node.type for node in nodes}]
    return "; ".join(reasons)


def _lacks(node: CountedNode) -> str | None:
    """Return which energies of the day the node lacks, and why; None if it lacks none."""
    counters = COUNTERS_OF.get(node.type, {})
    missing = [name for name in counters if name not in node.fields]
    if not missing:
        return None
    if node.state in _STATES:
        return f"{node.node_id} {_STATES[node.state]}"
    unknown = [name for name in missing if not any(quantity in node.reported for quantity in counters[name])]
    if unknown:
        return f"{node.node_id} reports no counter of {_listed(unknown)}"
    return f"the last message has no {_listed(missing)} of {node.node_id}"


def _listed(names: Iterable[str]) -> str:
    return " and ".join(ENERGIES[name] for name in names)
