"""The live picture of the demo: what is read above, what it adds up to, what arrives below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from agent.node import direction
from drivers.model import NodeType

if TYPE_CHECKING:
    from agent.aggregate import Fields, Summary
    from agent.device import Device
    from agent.receiver import Verdict

_NAMES = {
    NodeType.GRID: "grid",
    NodeType.SOLAR: "solar",
    NodeType.STORAGE: "storage",
    NodeType.HEAT_PUMP: "heat pump",
    NodeType.SWITCHED_LOAD: "switched",
    NodeType.VARIABLE_POWER_LOAD: "variable",
}
_STYLES = {
    NodeType.GRID: "magenta",
    NodeType.SOLAR: "yellow",
    NodeType.STORAGE: "green",
    NodeType.HEAT_PUMP: "cyan",
    NodeType.SWITCHED_LOAD: "blue",
    NodeType.VARIABLE_POWER_LOAD: "red",
}
_SITE_COLUMNS = (
    ("type", 9),
    ("node", 11),
    ("power", 8),
    ("", 0),
    ("today kWh", 17),
    ("", 6),
    ("read by", 0),
    ("polls", 5),
)


def picture(
    devices: Sequence[Device],
    summary: Summary | None,
    arrivals: Sequence[Verdict],
    counts: Mapping[str, int],
    clock: str,
) -> RenderableType:
    """Everything; `clock` says what time it is at the site."""
    newest = next((verdict.message for verdict in reversed(arrivals) if verdict.message), None)
    return Group(
        _site(devices, summary, clock) if summary is not None else Text("waiting for the first readings"),
        _arrivals(arrivals, counts),
        _message(newest) if newest else Text("waiting for the first push"),
        Text("\nCtrl-C ends the demo.", style="dim"),
    )


def _message(message: dict[str, Any]) -> Text:
    text = JSON.from_data(message, indent=None).text
    text.no_wrap = False
    return text


def _grid(title: str, columns: Iterable[tuple[str, int]]) -> Table:
    """Columns with their least width; those that shrink first have 0."""
    grid = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in columns:
        numbers = column in ("power", "polls", *_NAMES.values())
        grid.add_column(column, justify="right" if numbers else "left", no_wrap=True, min_width=width)
    return grid


def _site(devices: Sequence[Device], summary: Summary, clock: str) -> Table:
    """By type: its total, then its nodes where there are several."""
    device_of = {node.node_id: device for device in devices for node in device.nodes}
    grid = _grid(f"Read over Modbus TCP; {clock}", _SITE_COLUMNS)
    for type_ in NodeType:
        results = [each for each in summary.nodes if each.summary.node.type is type_]
        several = len(results) > 1
        if several:
            total = _cells(type_, summary.groups[type_])
            grid.add_row(_NAMES[type_], f"{len(results)} nodes", *total, style=_STYLES[type_])
        for result in results:
            node_id = result.summary.node.node_id
            cells = (node_id, *_cells(type_, result.fields), *_read_by(device_of[node_id]))
            grid.add_row("" if several else _NAMES[type_], *cells, style="" if several else _STYLES[type_])
    return grid


def _read_by(device: Device) -> tuple[str, Text]:
    health = device.health
    state = Text(f"lost: {health.error}", style="red") if health.failures else Text(str(health.polls))
    return device.driver_name, state


def _cells(type_: NodeType, fields: Fields) -> tuple[str, str, str, str]:
    """(power, its direction, energies of the day, what else there is)."""
    power = fields.get("active_power_W")
    numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
    energies = [value / 1000 for name, value in numbers.items() if name.startswith("today_")]
    ways = ("",) if len(energies) == 1 else (" in", " out")
    today = ", ".join(f"{energy:.2f}{way}" for energy, way in zip(energies, ways, strict=False))
    return (
        f"{power:,.0f} W" if isinstance(power, float) else "",
        direction(type_, power) if isinstance(power, float) else "",
        today,
        ", ".join(_more(fields)),
    )


def _more(fields: Fields) -> Iterator[str]:
    charge, modes = fields.get("mean_soc_perc"), fields.get("operation_modes")
    if isinstance(charge, float):
        yield f"{charge:.1f} %"
    if isinstance(modes, list):
        yield " ".join(modes)


def _arrivals(arrivals: Iterable[Verdict], counts: Mapping[str, int]) -> Table:
    columns = [("time", 10), *((name, 9) for name in _NAMES.values())]
    grid = _grid(f"Arrived by HTTP: {counts['accepted']} valid, {counts['refused']} refused", columns)
    for verdict in arrivals:
        if verdict.problems or verdict.message is None:
            grid.add_row(Text(f"refused: {'; '.join(verdict.problems)}", style="red"))
        else:
            powers = (_watts(verdict.message.get(type_)) for type_ in NodeType)
            grid.add_row(str(verdict.message.get("time")), *powers)
    return grid


def _watts(group: Any) -> str:
    power = group.get("active_power_W") if isinstance(group, dict) else None
    return "" if power is None else f"{power:,.0f} W"
