"""Warnings about settings that are allowed but probably a mistake. No device is polled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.commissioning.config_review import advice
from agent.commissioning.endpoints import selection_doubts
from agent.commissioning.poll_estimate import slow_links
from agent.domain import doubts
from drivers.model import Kind, NodeType, Quantity
from drivers.profile import RegisterDriver

if TYPE_CHECKING:
    from agent.config import Config
    from agent.polling import Device
    from agent.site import Site


def warnings(config: Config, site: Site, file: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield all warnings of `check`. `file` is the configuration file."""
    yield from site_doubts(config, site)
    yield from advice(config, file, environ)
    yield from slow_links(site.connections, config.shortest_deadline_s)


def site_doubts(config: Config, site: Site) -> Iterator[str]:
    """Yield the warnings about nodes and their devices, and about the nodes that endpoints choose."""
    yield from doubts(site.nodes)
    yield from selection_doubts(config, site.nodes)
    yield from _read_twice(site.devices)
    yield from _two_types(site.devices)
    yield from _unused_nominal_power(site.devices)
    yield from _without_capacity(site.devices)


def unread(devices: Sequence[Device]) -> Iterator[str]:
    """Yield a sentence for each hybrid with nodes that no enabled [[device]] table reads.

    SunSpec devices are omitted, because their nodes are known only after a poll.
    """
    read: dict[tuple[str, str], set[NodeType]] = {}
    for device in devices:
        read.setdefault((device.address, device.driver_name), set()).update(node.type for node in device.nodes)
    for device in devices:
        types = read.pop((device.address, device.driver_name), None)
        if types is None or not isinstance(device.driver, RegisterDriver):
            continue  # another [[device]] table of the device came first, or the driver discovers its nodes
        yield from (f"{device.name}: {sentence}" for sentence in unread_nodes(device.driver.nodes - types))


def unread_nodes(types: Collection[NodeType]) -> Iterator[str]:
    """Yield a warning that the nodes of these types are not polled. Yield nothing if `types` is empty."""
    if types:
        names = " and ".join(each.value for each in NodeType if each in types)
        yield f"{names} of this device are not polled; add them to nodes to poll them"


def _without_capacity(devices: Iterable[Device]) -> Iterator[str]:
    """Warn of each battery that reports its charge, if its capacity is neither reported nor configured.

    SunSpec devices are omitted, because what they report is known only after a poll.
    """
    for device in devices:
        driver = device.driver
        if not isinstance(driver, RegisterDriver):
            continue
        reported = {(point.node, point.quantity) for point in driver.points}
        for node in device.nodes:
            marked = node.type if node.of_hybrid else None
            if node.type is not NodeType.STORAGE or node.energy_capacity_Wh is not None:
                continue
            if (marked, Quantity.SOC) in reported and (marked, Quantity.ENERGY_CAPACITY) not in reported:
                yield (
                    f"{node.node_id} reports its charge but no capacity; without energy_capacity_Wh it has no"
                    " energy_stored_Wh, and its charge cannot be weighted in mean_soc_perc"
                )


def _read_twice(devices: Iterable[Device]) -> Iterator[str]:
    """Warn if several nodes in the total have the same type, address and channel.

    Relays and contacts are omitted, because an output and an input of one board can have the same channel number.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for device in devices:
        _, _, channel = device.driver_name.partition(":")
        for node in device.nodes:
            if node.counted and node.kind is not Kind.RELAY:
                found.setdefault((device.address, node.type.value, channel or "1"), []).append(node.node_id)
    for (address, type_, _), names in found.items():
        if len(names) > 1:
            twice = "twice" if len(names) == 2 else f"{len(names)} times"
            yield f"{_together(names)} read {address}; the same {type_} would be counted {twice}"


def _two_types(devices: Iterable[Device]) -> Iterator[str]:
    """Warn of each meter that feeds nodes of different types. Only a hybrid can feed several types."""
    found: dict[tuple[str, str], list[str]] = {}
    for device in devices:
        for node in device.nodes:
            if node.kind is Kind.METER and not node.of_hybrid:
                found.setdefault((device.address, device.driver_name), []).append(f"{node.node_id} ({node.type})")
    for (address, _), names in found.items():
        if len({name.rpartition(" ")[2] for name in names}) > 1:
            yield f"{_together(names)} read the meter {address}, but a meter measures only one of them"


def _together(names: Sequence[str]) -> str:
    """Return the subject of a sentence, such as "a and b both"."""
    return f"{' and '.join(names)} {'both' if len(names) == 2 else 'all'}"


def _unused_nominal_power(devices: Iterable[Device]) -> Iterator[str]:
    """Warn of each node with a nominal power if its device reports no state: neither `on` nor `operation_mode`."""
    for device in devices:
        points = device.driver.points if isinstance(device.driver, RegisterDriver) else ()
        if any(point.quantity in (Quantity.ON, Quantity.OPERATION_MODE) for point in points):
            continue
        for node in device.nodes:
            if node.nominal_power_W is not None:
                yield (
                    f"nominal_power_W of {node.node_id} has no effect: it is for devices that report only whether they"
                    " are on, such as relays"
                )
