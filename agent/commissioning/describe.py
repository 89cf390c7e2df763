"""The output of the commands: tables on a terminal, tab-separated lines when piped."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from agent.commissioning.endpoints import endpoints_in_words, selection_doubts
from agent.domain import doubts, sign_in_words, silence_in_words
from agent.runtime import printable
from drivers.model import Kind, NodeType, Quantity, Value
from drivers.profile import RegisterDriver

if TYPE_CHECKING:
    from rich.table import Table

    from agent.commissioning.read_once import SiteReading
    from agent.config import Config
    from agent.polling import Device
    from agent.site import Site
    from drivers.driver import Driver
    from drivers.model import Reading


def describe(config: Config, site: Site) -> Iterator[str]:
    """Return the meaning of the configuration: endpoints, nodes, then lines with "notice: " and "warning: "."""
    yield from endpoints_in_words(config, site.nodes)
    signs = {each.type: _signs(config, each.type) for each in site.nodes}
    for device in site.devices:
        for node in device.nodes:
            words = [*(whose + sign_in_words(node, sign) for sign, whose in signs[node.type]), silence_in_words(node)]
            meaning = "; ".join(word for word in words if word)
            counted = f"; not added to the total, because it is behind {node.within}" if node.within else ""
            unsent = "" if node.push else "; not sent (push = false)"
            doubted = "; omitted while its contacts do not say whether it runs" if _by_contacts(device.driver) else ""
            place = f"{device.driver_name} at {device.address}"
            yield f"{node.node_id}: {node.type} by {place}; {meaning}{counted}{unsent}{doubted}"
    for name, path in site.replaced:
        yield f"notice: {path} is used instead of the built-in profile {name}"
    yield from (f"notice: {line}" for line in (*_notes(site.devices), *_unread(site.devices)))
    for doubt in (
        *doubts(site.nodes),
        *selection_doubts(config, site.nodes),
        *_read_twice(site.devices),
        *_without_capacity(site.devices),
    ):
        yield f"warning: {doubt}"


def _signs(config: Config, type_: NodeType) -> list[tuple[int, str]]:
    """Return each sign with which a type is sent, with its endpoints as text; the text is empty for a single sign."""
    names: dict[int, list[str]] = {}
    for push in config.endpoints:
        names.setdefault(getattr(push.sign, type_), []).append(push.name)
    return [(sign, f"to {' and '.join(each)}: " if len(names) > 1 else "") for sign, each in names.items()]


def _notes(devices: Iterable[Device]) -> Iterator[str]:
    """The notes of the profiles for the installer."""
    for device in devices:
        if isinstance(device.driver, RegisterDriver):
            yield from (f"{device.name}: {note}" for note in device.driver.profile.notes)


def _unread(devices: Sequence[Device]) -> Iterator[str]:
    """Nodes of hybrids that no device of the configuration reads."""
    read: dict[tuple[str, str], set[NodeType]] = {}
    for device in devices:
        read.setdefault((device.address, device.driver_name), set()).update(node.type for node in device.nodes)
    for device in devices:
        types = read.pop((device.address, device.driver_name), None)
        if types is None or not isinstance(device.driver, RegisterDriver):
            continue  # already listed, or the driver discovers its nodes
        if rest := [each.value for each in NodeType if each in device.driver.nodes - types]:
            yield f"{device.name}: {' and '.join(rest)} of this device are not polled; add them to nodes to poll them"


def _by_contacts(driver: Driver) -> bool:
    """Whether the operation mode comes from contacts, and some states of the contacts give no mode."""
    return isinstance(driver, RegisterDriver) and any(
        point.encoding.type == "bits" and point.encoding.invalid for point in driver.points
    )


def _without_capacity(devices: Iterable[Device]) -> Iterator[str]:
    """Batteries without a capacity, whose charge cannot be weighted. SunSpec devices are not known before a poll."""
    for device in devices:
        driver = device.driver
        if not isinstance(driver, RegisterDriver):
            continue
        told = {(point.node, point.quantity) for point in driver.points}
        for node in device.nodes:
            marked = node.type if node.of_hybrid else None
            if node.type is not NodeType.STORAGE or node.energy_capacity_Wh is not None:
                continue
            if (marked, Quantity.SOC) in told and (marked, Quantity.ENERGY_CAPACITY) not in told:
                yield (
                    f"{node.node_id} reports its charge but no capacity; without energy_capacity_Wh it has no"
                    " energy_stored_Wh, and its charge cannot be weighted in mean_soc_perc"
                )


def _read_twice(devices: Iterable[Device]) -> Iterator[str]:
    """Nodes of the same type with the same address, except relays, whose board has many outputs."""
    found: dict[tuple[str, str], list[str]] = {}
    for device in devices:
        for node in device.nodes:
            if node.counted and node.kind is not Kind.RELAY:
                found.setdefault((device.address, node.type.value), []).append(node.node_id)
    for (address, type_), names in found.items():
        if len(names) > 1:
            yield f"{' and '.join(names)} both read {address}; the same {type_} would be counted twice"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, or the rows as tab-separated lines."""
    shown = ([printable(cell) for cell in row] for row in rows)
    if not sys.stdout.isatty():
        for row in shown:
            print("\t".join(row))  # noqa: T201 - what the command is for
        return
    from rich.console import Console
    from rich.text import Text

    grid = _grid(title, columns)
    for row in shown:
        grid.add_row(*map(Text, row))  # not as markup, because a name can contain brackets
    Console().print(grid)


def _grid(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("value", "age", "accepted") else "left"
        # Long words are folded, not cut, because their end can be important. Names and ids stay whole for copying.
        grid.add_column(column, justify=justify, overflow="fold", no_wrap=column in ("driver", "id"))
    return grid


def print_readings(result: SiteReading) -> None:
    """Print every reading of one round."""
    rows = (_row(device, reading, result.at) for device, scan in result.scans for reading in scan.readings)
    table("Readings", ("device", "quantity", "value", "unit", "age"), rows)


def _row(device: Device, reading: Reading, at: float) -> tuple[str, ...]:
    name = reading.quantity.value + (f"_{reading.phase}" if reading.phase else "")
    shown = reading.quality.value if reading.value is None else number(reading.value)
    owner = next((node.node_id for node in device.nodes if node.type == reading.node), device.name)
    return owner, name, shown, reading.quantity.unit.value, f"{max(0.0, at - reading.at):.1f} s"


def number(value: Value) -> str:
    """Return a value as text, with at most three decimals."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value).lower() if isinstance(value, bool) else value
