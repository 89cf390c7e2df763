"""The contract as types, for receivers: JSON Schema and a check of one message. The daemon does not import it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Energy = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Time = Annotated[int, Field(strict=True, ge=0)] | Annotated[str, Field(pattern=r"^\d+$")]


class _Group(BaseModel):
    model_config = ConfigDict(extra="allow")


class Grid(_Group):
    """Import positive, export negative."""

    active_power_W: Number | None = None
    today_imported_energy_Wh: Energy | None = None
    today_exported_energy_Wh: Energy | None = None
    import_limit_W: Energy | None = None
    export_limit_W: Energy | None = None


class Solar(_Group):
    """Production positive."""

    active_power_W: Number | None = None
    today_energy_Wh: Energy | None = None


class Storage(_Group):
    """Charge positive, discharge negative."""

    active_power_W: Number | None = None
    energy_stored_Wh: Energy | None = None
    energy_capacity_Wh: Energy | None = None
    mean_soc_perc: Percent | None = None
    today_charged_Wh: Energy | None = None
    today_discharged_Wh: Energy | None = None


class HeatPump(_Group):
    """Consumption positive."""

    active_power_W: Number | None = None
    operation_modes: list[Literal["off", "on"]] | None = None


class Load(_Group):
    """Consumption positive."""

    active_power_W: Number | None = None


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    time: Time
    siteNodeId: Annotated[str, Field(min_length=1)]


class DeviceTypes(_Message):
    """The device-type level: all six groups, each possibly empty."""

    grid: Grid
    solar: Solar
    storage: Storage
    heat_pump: HeatPump
    switched_load: Load
    variable_power_load: Load
    quality: dict[str, dict[str, float]] | None = None


class NodeGroups(BaseModel):
    """One node: the group of its type."""

    model_config = ConfigDict(extra="forbid")

    grid: Grid | None = None
    solar: Solar | None = None
    storage: Storage | None = None
    heat_pump: HeatPump | None = None
    switched_load: Load | None = None
    variable_power_load: Load | None = None


class DeviceNode(_Message, NodeGroups):
    """The device level, a message per node."""

    nodeId: Annotated[str, Field(min_length=1)]


class DeviceSnapshot(_Message):
    """The device level, one message for all nodes."""

    nodes: dict[str, NodeGroups]


def model_of(message: dict[str, Any]) -> type[_Message]:
    """Which of the three messages it claims to be."""
    if "nodes" in message:
        return DeviceSnapshot
    return DeviceNode if "nodeId" in message else DeviceTypes


def problems(message: Any) -> list[str]:
    """What is wrong with a message, a line each; nothing when it is valid."""
    if not isinstance(message, dict):
        return ["the message is not a JSON object"]
    try:
        model_of(message).model_validate(message)
    except ValidationError as error:
        return [f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors()]
    return [f"{place}: null; a field without a value is left out" for place in _nulls(message, "")]


def _nulls(value: Any, place: str) -> list[str]:
    if value is None:
        return [place]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _nulls(item, f"{place}.{key}".lstrip("."))]
    return []


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of one of the messages."""
    return TypeAdapter(model).json_schema()
