"""Converts a summary into the messages of the contract. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from agent.aggregation.groups import DECIMALS, NodeResult, Summary
from agent.domain.node import SIGNED
from agent.energy.days import Basis
from drivers.model import NodeType, Quantity

# Each of these quantities has the name of a field of the contract. A message contains the field instead of the
# quantity. Their values may differ: the field follows the rules of the contract, the quantity is the value of a
# register. The active power is not listed here, because it is a field of every type.
_FIELDS = {
    NodeType.GRID: frozenset({Quantity.TODAY_IMPORTED_ENERGY, Quantity.TODAY_EXPORTED_ENERGY}),
    NodeType.STORAGE: frozenset({Quantity.ENERGY_STORED, Quantity.ENERGY_CAPACITY}),
}

_JSON = json.JSONEncoder(
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
)


@dataclass(frozen=True, slots=True)
class PayloadOptions:
    """Which messages are sent, and their format."""

    site_node_id: str
    levels: tuple[Literal["device_type", "device"], ...] = ("device_type",)
    device_format: Literal["node", "snapshot"] = "node"
    device_fields: Literal["contract", "all"] = "contract"
    time_format: Literal["integer", "string"] = "integer"
    quality: bool = False
    import_limit_W: float | None = None
    export_limit_W: float | None = None
    node_ids: Mapping[str, str] = field(default_factory=dict)
    """Id of a node → its id in the messages, if it is another one."""
    limits: Mapping[str, Any] = field(init=False)
    """The fields of the group `grid` for the configured limits; empty without limits."""

    def __post_init__(self) -> None:
        limits = {"import_limit_W": self.import_limit_W, "export_limit_W": self.export_limit_W}
        given = {name: value for name, value in limits.items() if value is not None}
        object.__setattr__(self, "limits", _rounded(given))


def bodies(summary: Summary, options: PayloadOptions) -> list[bytes]:
    """Return the messages of one push: first the level `device_type`, then the level `device`."""
    head = {
        "time": summary.time if options.time_format == "integer" else str(summary.time),
        "siteNodeId": options.site_node_id,
    }
    messages: list[dict[str, Any]] = []
    if "device_type" in options.levels:
        messages.append(_device_types(head, summary, options))
    if "device" in options.levels:
        messages += _devices(head, summary, options)
    return [_JSON.encode(message).encode() for message in messages]


def _device_types(head: dict[str, Any], summary: Summary, options: PayloadOptions) -> dict[str, Any]:
    message = head | {type_.value: _rounded(summary.groups[type_]) for type_ in NodeType}
    if next(summary.members(NodeType.GRID), None) is not None:
        message["grid"] |= options.limits
    if options.quality:
        groups = {type_: _quality(list(summary.members(type_))) for type_ in NodeType}
        message["quality"] = {type_.value: quality for type_, quality in groups.items() if quality}
    return message


def _devices(head: dict[str, Any], summary: Summary, options: PayloadOptions) -> list[dict[str, Any]]:
    nodes = {
        options.node_ids.get(node.node_id, node.node_id): _node(result, options)
        for result in summary.nodes
        if (node := result.summary.node).push
    }
    if options.device_format == "snapshot":
        return [head | {"nodes": nodes}]
    return [head | {"nodeId": node_id} | group for node_id, group in nodes.items()]


def _node(result: NodeResult, options: PayloadOptions) -> dict[str, Any]:
    summary = result.summary
    type_ = summary.node.type
    group = _rounded(result.fields)
    if options.device_fields == "all":
        group = _rounded(_all(result)) | group
    if type_ is NodeType.GRID:
        group |= options.limits
    message = {type_.value: group}
    if options.quality:
        message["quality"] = {type_.value: _quality([result])}
    return message


def _all(result: NodeResult) -> dict[str, Any]:
    """Return the values of the node that are not stale, by their names in the payload.

    The active power and the quantities of `_FIELDS` are omitted, but not their values per phase. [push.sign] applies to
    active and reactive power.
    """
    fields = _FIELDS.get(result.summary.node.type, frozenset())
    return {
        quantity.label(phase): -value if result.turned and quantity in SIGNED and isinstance(value, float) else value
        for (quantity, phase), value in result.summary.values.items()
        if phase is not None or (quantity is not Quantity.ACTIVE_POWER and quantity not in fields)
    }


def _rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, rounded to `DECIMALS`. Whole numbers become integers. NaN and infinity are omitted."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        if not isinstance(value, (float, int)) or isinstance(value, bool):
            result[name] = value
        elif isfinite(value):
            number = round(float(value), DECIMALS)
            result[name] = int(number) if number.is_integer() else number
    return result


def _quality(members: Sequence[NodeResult]) -> dict[str, Any]:
    if not members:
        return {}
    summaries = [result.summary for result in members]
    quality: dict[str, Any] = {
        "devices": len(members),
        "fresh": sum(not summary.offline for summary in summaries),
        "expected": sum(summary.expected for summary in summaries),
        "got": sum(summary.got for summary in summaries),
    }
    ages = [age for summary in summaries if (age := summary.oldest_s) is not None]
    if ages:
        quality["oldest_s"] = round(max(0.0, *ages), DECIMALS)
    worst = max((result.basis for result in members if result.basis is not None), default=Basis.SEEN)
    if worst is not Basis.SEEN:
        quality["today"] = worst.name.lower()
    return quality
