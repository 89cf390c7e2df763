"""Summary → the bytes of the contract. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from agent.aggregate import Fields, NodeSummary, Summary
from drivers.model import NodeType, Quantity


@dataclass(frozen=True, slots=True)
class PayloadOptions:
    """What is sent, and how it is written."""

    site_node_id: str
    levels: tuple[Literal["device_type", "device"], ...] = ("device_type",)
    device_format: Literal["node", "snapshot"] = "node"
    device_fields: Literal["contract", "all"] = "contract"
    time_format: Literal["integer", "string"] = "integer"
    quality: bool = False
    import_limit_W: float | None = None
    export_limit_W: float | None = None


def bodies(summary: Summary, options: PayloadOptions) -> list[bytes]:
    """The messages of one push: the device types first, then the devices."""
    head = {
        "time": summary.time if options.time_format == "integer" else str(summary.time),
        "siteNodeId": options.site_node_id,
    }
    messages: list[dict[str, Any]] = []
    if "device_type" in options.levels:
        messages.append(_device_types(head, summary, options))
    if "device" in options.levels:
        messages += _devices(head, summary, options)
    return [
        json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() for message in messages
    ]


def _device_types(head: dict[str, Any], summary: Summary, options: PayloadOptions) -> dict[str, Any]:
    message = head | {type_.value: _rounded(summary.groups[type_]) for type_ in NodeType}
    if any(node.node.type is NodeType.GRID for node, _ in summary.nodes):
        message["grid"] |= _limits(options)
    if options.quality:
        message["quality"] = _quality(summary)
    return message


def _devices(head: dict[str, Any], summary: Summary, options: PayloadOptions) -> list[dict[str, Any]]:
    nodes = {
        node.node.node_id: {node.node.type.value: _node(node, fields, options)}
        for node, fields in summary.nodes
        if node.node.push
    }
    if options.device_format == "snapshot":
        return [head | {"nodes": nodes}]
    return [head | {"nodeId": node_id} | group for node_id, group in nodes.items()]


def _node(summary: NodeSummary, fields: Fields, options: PayloadOptions) -> dict[str, Any]:
    group = _rounded(fields)
    if options.device_fields == "all":
        for (quantity, phase), value in summary.values.items():
            name = "_".join(part for part in (quantity.value, phase, quantity.unit.value) if part)
            if quantity is Quantity.ACTIVE_POWER and phase is None:
                continue
            if isinstance(value, float):
                group |= _rounded({name: value})
            else:
                group.setdefault(name, value)
    if summary.node.type is NodeType.GRID:
        group |= _limits(options)
    return group


def _limits(options: PayloadOptions) -> dict[str, Any]:
    limits = {"import_limit_W": options.import_limit_W, "export_limit_W": options.export_limit_W}
    return _rounded({name: value for name, value in limits.items() if value is not None})


def _rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Three decimals at most, whole numbers without any; what is not a number does not leave."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, float | int):
            if isfinite(value):
                number = round(float(value), 3)
                result[name] = int(number) if number.is_integer() else number
        else:
            result[name] = value
    return result


def _quality(summary: Summary) -> dict[str, Any]:
    quality: dict[str, Any] = {}
    for type_ in NodeType:
        members = [node for node, _ in summary.nodes if node.node.type is type_ and node.node.push]
        if members:
            ages = [node.oldest_s for node in members if node.oldest_s is not None]
            fresh = sum(not node.offline for node in members)
            quality[type_.value] = {"devices": len(members), "fresh": fresh}
            if ages:
                quality[type_.value]["oldest_s"] = round(max(0.0, *ages), 3)
    return quality
