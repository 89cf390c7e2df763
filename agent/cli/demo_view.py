"""The live display of the demo: the readings and totals at the top, the received messages below.

It fits into 80 columns and 24 lines. At this size it omits the columns "read by" and "polls", and all messages except
the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.json import JSON
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from agent.domain import direction
from drivers.model import NodeType

if TYPE_CHECKING:
    from agent.aggregation import Fields, Summary
    from agent.polling import Device
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
    ("", 11),
    ("today kWh", 17),
    ("", 6),
    ("read by", 0),
    ("polls", 5),
)
"""Title and minimum width in characters of each column of the table of the site."""
_NARROW = 6  # how many of `_SITE_COLUMNS` a narrow terminal shows, from the left
_HEADING = 2  # lines of a table header
_UNBOUNDED = 10_000  # characters; wide enough for every table


@dataclass(frozen=True, slots=True)
class DemoDisplay:
    """The live display. It omits the columns and the messages that do not fit into the terminal."""

    devices: Sequence[Device]
    summary: Summary | None
    arrivals: Sequence[Verdict]
    counts: Mapping[str, int]
    """`Validator.counts` of the receiver. Only "accepted" and "refused" are shown."""
    clock: str
    """The time at the site, as text."""
    closing: str
    """The last line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        above, below = self._readings(console, options), self._messages()
        messages = [verdict.message for verdict in self.arrivals if verdict.message and not verdict.problems]
        if console.is_terminal:
            taken = len(console.render_lines(Group(above, below), options, pad=False))
            room = max(0, options.size.height - taken - _HEADING - 1)
            messages = messages[len(messages) - min(room, len(messages)) :]
        yield above
        if messages:
            yield _arrivals(messages)
            yield ""
        yield below

    def _readings(self, console: Console, options: ConsoleOptions) -> RenderableType:
        counted = Text(f"\nArrived by HTTP: {self.counts['accepted']} valid, {self.counts['refused']} refused", "bold")
        if self.summary is None:
            return Group(Text("waiting for the first readings"), counted)
        site = _site(self.devices, self.summary, len(_SITE_COLUMNS))
        if Measurement.get(console, options.update_width(_UNBOUNDED), site).maximum > options.max_width:
            site = _site(self.devices, self.summary, _NARROW)
        return Group(Text(f"Read over Modbus TCP; {self.clock}", "bold"), site, counted)

    def _messages(self) -> RenderableType:
        newest = next((verdict.message for verdict in reversed(self.arrivals) if verdict.message), None)
        refusals = [f"refused: {'; '.join(verdict.problems)}" for verdict in self.arrivals if verdict.problems]
        return Group(
            *(Text(refusal, "red") for refusal in refusals[-1:]),
            _as_json(newest) if newest else Text("waiting for the first push"),
            Text(self.closing, "dim"),
        )


def _as_json(message: dict[str, Any]) -> Text:
    text = JSON.from_data(message, indent=None).text
    text.no_wrap = False
    return text


def _grid(columns: Sequence[tuple[str, int]]) -> Table:
    """Return a table with these columns: (title, minimum width in characters). Only the last column wraps."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in columns:
        numbers = column in ("power", "polls", *_NAMES.values())
        grid.add_column(column, justify="right" if numbers else "left", no_wrap=True, min_width=width)
    grid.columns[-1].no_wrap = False
    return grid


def _site(devices: Sequence[Device], summary: Summary, columns: int) -> Table:
    """Return the table of the site, with the first `columns` of `_SITE_COLUMNS`.

    It has a row for each node, and a row for the total of each type that has several nodes.
    """
    device_of = {node.node_id: device for device in devices for node in device.nodes}
    grid = _grid(_SITE_COLUMNS[:columns])
    for type_ in NodeType:
        results = [each for each in summary.nodes if each.summary.node.type is type_]
        several = len(results) > 1
        if several:
            total = _cells(type_, summary.groups[type_])
            grid.add_row(_NAMES[type_], f"{len(results)} nodes", *total, style=_STYLES[type_])
        for result in results:
            node_id = result.summary.node.node_id
            device = device_of[node_id]
            cells = (node_id, *_cells(type_, result.fields), device.driver_name, str(device.health.polls))
            shown = _row_of(device, cells[: columns - 1])
            grid.add_row("" if several else _NAMES[type_], *shown, style="" if several else _STYLES[type_])
    return grid


def _row_of(device: Device, cells: Sequence[str]) -> tuple[RenderableType, ...]:
    """Return the cells of a row. If the device does not answer, the reason replaces the last cell."""
    if not device.health.failures:
        return tuple(cells)
    return (*cells[:-1], Text(f"lost: {device.health.error}", style="red"))


def _cells(type_: NodeType, fields: Fields) -> tuple[str, str, str, str]:
    """Return four texts: power; its direction; energies of the day; state of charge and operation modes."""
    given = fields.get("active_power_W")
    power = round(given) if isinstance(given, float) else None
    numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
    energies = [value / 1000 for name, value in numbers.items() if name.startswith("today_")]
    ways = ("",) if len(energies) == 1 else (" in", " out")
    today = ", ".join(f"{energy:.2f}{way}" for energy, way in zip(energies, ways, strict=False))
    return (
        "" if power is None else f"{power:,} W",
        "" if power is None else direction(type_, power),
        today,
        ", ".join(_more(fields)),
    )


def _more(fields: Fields) -> Iterator[str]:
    charge, modes = fields.get("mean_soc_perc"), fields.get("operation_modes")
    if isinstance(charge, float):
        yield f"{charge:.1f} %"
    if isinstance(modes, list):
        yield " ".join(modes)


def _arrivals(messages: Iterable[dict[str, Any]]) -> Table:
    grid = _grid([("time", 10), *((name, 9) for name in _NAMES.values())])
    for message in messages:
        grid.add_row(str(message.get("time")), *(_watts(message.get(type_)) for type_ in NodeType))
    return grid


def _watts(group: Any) -> str:
    power = group.get("active_power_W") if isinstance(group, dict) else None
    return "" if power is None else f"{round(power):,} W"
