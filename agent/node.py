"""A node as the receiver knows it: one id, one type, and how its readings become those of its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.model import Kind, NodeType


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the site. A hybrid inverter is several nodes behind one device."""

    node_id: str
    type: NodeType
    kind: Kind
    of_hybrid: bool = False
    """Takes only the readings marked with its type."""
    push: bool = True
    invert: bool = False
    when_offline: Literal["missing", "zero"] = "missing"
    nominal_power_W: float | None = None
    energy_capacity_Wh: float | None = None
