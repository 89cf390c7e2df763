"""The output of the commands: tables on a terminal, else tab-separated lines."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from agent.commissioning.endpoints import endpoints_in_words
from agent.commissioning.plausibility import name_of
from agent.commissioning.site_doubts import site_doubts, unread
from agent.domain import counted_in, sign_in_words, silence_in_words
from agent.runtime import MOST_OUTPUT, printable, terminal_columns
from drivers.model import NodeType, Value
from drivers.profile import RegisterDriver

if TYPE_CHECKING:
    from rich.table import Table

    from agent.commissioning.read_once import SiteReading
    from agent.config import Config
    from agent.polling import Device
    from agent.site import Site
    from drivers.driver import Driver
    from drivers.model import Reading

_NARROW = 60
"""On a terminal with fewer characters per line than this, a table that would break words is printed as lines."""
_GAP = 3
"""Blanks between two columns of a table."""
_UNKNOWN_MODE = "while its contacts do not say whether it runs, operation mode and power (nominal_power_W) are omitted"


class NodeRow(NamedTuple):
    """One node, in words."""

    node_id: str
    type: str
    place: str
    """Driver and address."""
    meaning: str


def describe(config: Config, site: Site) -> Iterator[str]:
    """Yield the meaning of the configuration as lines.

    The order is: endpoints, nodes, devices that are not enabled, notices ("notice: …"), warnings ("warning: …").
    """
    yield from endpoints_in_words(config, site.nodes)
    yield from (f"{row.node_id}: {row.type} by {row.place}; {row.meaning}" for row in _rows(config, site))
    yield from _not_enabled(config)
    yield from (f"notice: {line}" for line in _notices(site))
    yield from (f"warning: {doubt}" for doubt in site_doubts(config, site))


def print_review(config: Config, site: Site, doubts: Iterable[str]) -> None:
    """Print the lines of `describe`, but with `doubts` as the warnings. On a terminal, the nodes are a table."""
    remarks = [f"notice: {line}" for line in _notices(site)] + [f"warning: {doubt}" for doubt in doubts]
    if not _on_terminal():
        nodes = [line for line in describe(config, site) if not line.startswith(("notice: ", "warning: "))]
        _print_lines([*nodes, *remarks], None)
        return
    width = terminal_columns(sys.stdout) or shutil.get_terminal_size().columns
    _print_lines(endpoints_in_words(config, site.nodes), width)
    table("Nodes", ("node", "type", "device", "meaning"), _rows(config, site))
    _print_lines([*_not_enabled(config), *remarks], width)


def _print_lines(lines: Iterable[str], width: int | None) -> None:
    """Print lines, wrapped at words to `width` characters; None: not wrapped."""
    for line in lines:
        shown = printable(line, MOST_OUTPUT)
        if width is not None:
            shown = textwrap.fill(shown, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        print(shown)  # noqa: T201 - the output of the command


def _rows(config: Config, site: Site) -> Iterator[NodeRow]:
    signs = {each.type: _signs(config, each.type) for each in site.nodes}
    for device in site.devices:
        for node in device.nodes:
            words = [*(whose + sign_in_words(node, sign) for sign, whose in signs[node.type]), silence_in_words(node)]
            meaning = "; ".join(word for word in words if word)
            counted = f"; not added to the total, because it is behind {node.within}" if node.within else ""
            if node.within and (added := _added_to(config, site, node.node_id)):
                counted += f"; but added in the messages to {' and '.join(added)}"
            unsent = "" if node.push else "; not sent (push = false)"
            doubted = f"; {_UNKNOWN_MODE}" if _by_contacts(device.driver) else ""
            place = f"{device.driver_name} at {device.address}"
            yield NodeRow(node.node_id, node.type, place, f"{meaning}{counted}{unsent}{doubted}")


def _not_enabled(config: Config) -> Iterator[str]:
    for device in config.device:
        if not device.enabled:
            nodes = " + ".join(device.node_ids.values())
            where = f"connection {device.connection}" if device.connection is not None else device.host
            yield f"{nodes}: not enabled, not polled ({device.driver} at {where})"


def _notices(site: Site) -> Iterator[str]:
    for name, path in site.replaced:
        yield f"{path} is used instead of the built-in profile {name}"
    yield from _notes(site.devices)
    yield from unread(site.devices)


def _added_to(config: Config, site: Site, node_id: str) -> list[str]:
    """Return the names of the endpoints whose totals include the node."""
    chosen = {
        push.name: [node.node_id for node in site.nodes if push.chooses(node.node_id)] for push in config.endpoints
    }
    return [name for name, node_ids in chosen.items() if node_id in counted_in(site.nodes, node_ids)]


def _signs(config: Config, type_: NodeType) -> list[tuple[int, str]]:
    """Return pairs: a sign with which the type is sent, and the endpoints with this sign as text.

    The text is "to portal: ", for example. It is empty if all endpoints have the same sign.
    """
    names: dict[int, list[str]] = {}
    for push in config.endpoints:
        names.setdefault(getattr(push.sign, type_), []).append(push.name)
    return [(sign, f"to {' and '.join(each)}: " if len(names) > 1 else "") for sign, each in names.items()]


def _notes(devices: Iterable[Device]) -> Iterator[str]:
    for device in devices:
        if isinstance(device.driver, RegisterDriver):
            yield from (f"{device.name}: {note}" for note in device.driver.profile.notes)


def _by_contacts(driver: Driver) -> bool:
    """Whether the device reports its operation mode by contacts, and some of their states leave it unknown."""
    return isinstance(driver, RegisterDriver) and any(
        point.encoding.type == "bits" and point.encoding.invalid for point in driver.points
    )


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # None: standard output was closed before the start


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print the rows tab-separated. On a terminal, print a table instead, or lines if the terminal is too narrow."""
    shown = ([printable(cell) for cell in row] for row in rows)
    if not _on_terminal():
        for row in shown:
            print("\t".join(row))  # noqa: T201 - what the command is for
        return
    width, cells = terminal_columns(sys.stdout), list(shown)
    if width is not None and width < _NARROW and _needed_width(columns, cells) > width:
        _print_lines([f"{title}: {' | '.join(filter(None, columns))}", ""], width)
        _print_lines((" | ".join(row).rstrip("| ") for row in cells), width)
        print()  # noqa: T201 - the output of the command
        return
    from rich.console import Console
    from rich.text import Text

    grid = _grid(title, columns)
    for row in cells:
        grid.add_row(*map(Text, row))  # not as markup, because a name can contain brackets
    Console(width=width).print(grid)


def _needed_width(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Return the characters per line that a table needs if no word is broken."""
    longest = [max(map(len, words.split()), default=0) for words in map(" ".join, zip(columns, *rows, strict=True))]
    return sum(longest) + _GAP * len(longest)


def _grid(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("value", "age", "accepted") else "left"
        # Long words are wrapped and not cut, because their end can be important. Drivers and ids of messages are never
        # wrapped, so that they can be copied.
        grid.add_column(column, justify=justify, overflow="fold", no_wrap=column in ("driver", "id"))
    return grid


def print_readings(result: SiteReading) -> None:
    """Print a table of all readings."""
    rows = (_row(device, reading, result.at) for device, scan in result.scans for reading in scan.readings)
    table("Readings", ("device", "quantity", "value", "unit", "age"), rows)


def _row(device: Device, reading: Reading, at: float) -> tuple[str, ...]:
    shown = reading.quality.value if reading.value is None else number(reading.value)
    owner = next((node.node_id for node in device.nodes if node.type == reading.node), device.name)
    return owner, name_of(reading), shown, reading.quantity.unit.value, f"{max(0.0, at - reading.at):.1f} s"


def number(value: Value) -> str:
    """Return a value as text, with at most three decimals."""
    if isinstance(value, float):
        return f"{round(value, 3) + 0.0:.3f}".rstrip("0").rstrip(".")  # the addition converts -0.0 to 0.0
    return str(value).lower() if isinstance(value, bool) else value
