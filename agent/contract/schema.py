"""The contract as types: its JSON Schema and a check of one message, for receivers. Not imported by the daemon.

The groups of one node (`GridNode`, `SolarNode` …) allow unknown fields, because a node can have other quantities. The
other types forbid them, so that `unknown_fields` can report them. The published schemas allow them everywhere, because
a later release may add some. `python -m agent.contract.schema docs/schema` writes these schemas.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from agent.domain import MAX_ID

MAJOR, MINOR = 1, 0
"""The version of the contract. A release that adds a field raises MINOR. MAJOR is part of the `$id` of each schema."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0)]
# Eleven digits are enough until the year 5138.
Time = Annotated[int, Field(strict=True, ge=0, le=99_999_999_999)] | Annotated[str, Field(pattern="^[0-9]{1,11}$")]
Name = Annotated[str, Field(min_length=1, max_length=MAX_ID)]

_UNKNOWN = "extra_forbidden"
"""Pydantic's type of the error for an unknown field."""

_CLOSED = ConfigDict(extra="forbid")
_OPEN = ConfigDict(extra="allow")


class Grid(TypedDict, total=False):
    """Import positive, export negative."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # for pydantic; it is not a key of the TypedDict

    active_power_W: Number
    today_imported_energy_Wh: Amount
    today_exported_energy_Wh: Amount
    import_limit_W: Amount
    export_limit_W: Amount


class Solar(TypedDict, total=False):
    """Production positive."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    active_power_W: Number
    today_energy_Wh: Amount


class Storage(TypedDict, total=False):
    """Charge positive, discharge negative."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    active_power_W: Number
    energy_stored_Wh: Amount
    energy_capacity_Wh: Amount
    mean_soc_perc: Percent
    today_charged_Wh: Amount
    today_discharged_Wh: Amount


class HeatPump(TypedDict, total=False):
    """Consumption positive; one mode for each heat pump that reports it."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    active_power_W: Number
    operation_modes: list[Literal["off", "on"]]


class Load(TypedDict, total=False):
    """Consumption positive."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    active_power_W: Number


class GridNode(Grid):
    """A grid meter, with its other quantities."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]


class SolarNode(Solar):
    """An inverter or a production meter, with its other quantities."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]


class StorageNode(Storage):
    """A battery, with its other quantities."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]


class HeatPumpNode(HeatPump):
    """A heat pump, with its other quantities."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]


class LoadNode(Load):
    """A load, with its other quantities."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]


class Quality(TypedDict):
    """The quality of the values of one type; sent with `quality = true`."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    devices: Count
    fresh: Annotated[Count, Field(description="devices with at least one usable value")]
    expected: Annotated[Count, Field(description="polls of these devices that were due in the interval")]
    got: Annotated[Count, Field(description="polls that returned a usable value")]
    oldest_s: NotRequired[Annotated[Amount, Field(description="age of the oldest value in use")]]
    today: NotRequired[
        Annotated[
            Literal["register", "interpolated", "estimated", "reset", "replaced", "partial"],
            Field(
                description="why an energy of the day may be inexact (the worst reason of the type); absent if "
                "there is no reason"
            ),
        ]
    ]


class Qualities(TypedDict, total=False):
    """The quality by type; types without devices are absent."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    grid: Quality
    solar: Quality
    storage: Quality
    heat_pump: Quality
    switched_load: Quality
    variable_power_load: Quality


class DeviceTypes(TypedDict):
    """The device-type level: all six groups. A group can be empty."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    time: Time
    siteNodeId: Name
    grid: Grid
    solar: Solar
    storage: Storage
    heat_pump: HeatPump
    switched_load: Load
    variable_power_load: Load
    quality: NotRequired[Qualities]


class NodeGroups(TypedDict, total=False):
    """One node: the group of its type."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    grid: GridNode
    solar: SolarNode
    storage: StorageNode
    heat_pump: HeatPumpNode
    switched_load: LoadNode
    variable_power_load: LoadNode
    quality: Qualities


class DeviceNode(NodeGroups):
    """The device level with one message per node."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    time: Time
    siteNodeId: Name
    nodeId: Name


class DeviceSnapshot(TypedDict):
    """The device level with one message for all nodes."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    time: Time
    siteNodeId: Name
    nodes: dict[str, NodeGroups]


MESSAGES: dict[str, type] = {
    "device-type": DeviceTypes,
    "device-node": DeviceNode,
    "device-snapshot": DeviceSnapshot,
}
"""The three messages by the name of their schema."""


def message_name(message: dict[str, Any]) -> str:
    """Return the name of a message's schema: a key of `MESSAGES`."""
    if "nodes" in message:
        return "device-snapshot"
    return "device-node" if "nodeId" in message else "device-type"


def problems(message: Any) -> list[str]:
    """Return one line for each mistake of a message. An unknown field is not a mistake.

    If there is no other mistake, each null in an unknown field is reported, except nulls in lists.
    """
    if not isinstance(message, dict):
        return ["the message is not a JSON object"]
    found = [f"{place}: {text}" for place, kind, text in _errors(message) if kind != _UNKNOWN]
    return found or [f"{place}: must not be null; omit a field without a value" for place in _nulls(message, "")]


def unknown_fields(message: dict[str, Any]) -> list[str]:
    """Return the places of the fields that this version of the contract does not have."""
    return [place for place, kind, _ in _errors(message) if kind == _UNKNOWN]


def _errors(message: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (place, pydantic's type of the error, text) of each error in the message."""
    try:
        _adapter(message_name(message)).validate_python(message)
    except ValidationError as error:
        return [(".".join(str(step) for step in item["loc"]), item["type"], item["msg"]) for item in error.errors()]
    return []


def _nulls(value: Any, place: str) -> list[str]:
    """Return the places of null values in `value`, except in lists. `place` is the place of `value`."""
    if value is None:
        return [place]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _nulls(item, f"{place}.{key}".lstrip("."))]
    return []


def json_schema(name: str) -> dict[str, Any]:
    """Return the published JSON Schema of the message type `name`, a key of `MESSAGES`."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:telemetry-push-agent:{name}:{MAJOR}",
        "$comment": f"Version {MAJOR}.{MINOR} of the contract. Accept fields that this schema does not have.",
    }
    schema: dict[str, Any] = opened(_adapter(name).json_schema())
    return head | schema


def opened(schema: Any) -> Any:
    """Return the schema without `additionalProperties: false`, so that it accepts unknown fields."""
    if isinstance(schema, list):
        return [opened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: opened(value) for key, value in schema.items() if (key, value) != ("additionalProperties", False)}


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(MESSAGES[name])


def main(folder: Path) -> None:
    """Write each schema into a file of `folder`."""
    for name in MESSAGES:
        text = json.dumps(json_schema(name), indent=2) + "\n"
        folder.joinpath(f"{name}.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
