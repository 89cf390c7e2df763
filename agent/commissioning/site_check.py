"""`check --online`: polls every device, a second time if the first poll fails, and connects to the endpoints.

`site_check_view` prints the results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agent.commissioning.device_check import STEPS, DeviceResult, check_link
from agent.commissioning.endpoint_pace import why_too_slow
from agent.commissioning.endpoint_probe import ProbeResult, probe
from agent.commissioning.plausibility import imbalance
from agent.commissioning.poll_estimate import slow_links
from agent.commissioning.progress import steps
from agent.config import Config, PushConfig
from agent.runtime import Clock, kernel_synchronised
from agent.site import Site
from drivers.model import Kind, NodeType, Quantity
from drivers.profile import Profile
from drivers.scan import Identifier


@dataclass(slots=True)
class SiteResult:
    """The results for the devices, the endpoints and the clock."""

    devices: list[DeviceResult]
    endpoints: dict[str, ProbeResult]
    """By name, in the order of the configuration."""
    hint: str | None = None
    """A hint about the powers of the whole site; None without a hint.

    Also None if a power is unknown, or if not all enabled devices were polled.
    """
    clock: str = ""
    """Whether the clock is synchronised, in words."""
    slow: tuple[str, ...] = ()
    """One sentence for each link that is too slow for its poll intervals or for the deadline of a push."""
    powers: dict[NodeType, float] = field(default_factory=dict)
    """The power of each type in W, with the sign of the contract. See `_powers` for the nodes that are omitted."""
    without_power: tuple[str, ...] = ()
    """The nodes whose power is unknown."""

    @property
    def ok(self) -> bool:
        return all(each.ok for each in self.endpoints.values()) and not any(result.error for result in self.devices)


async def check_site(config: Config, site: Site, profiles: Sequence[Profile], clock: Clock) -> SiteResult:
    """Poll every device, and connect to every enabled endpoint. No message is sent.

    Links are polled in parallel. If a device may be of another family than configured, it is identified with
    `profiles`.
    """
    identifier = Identifier(profiles, clock.monotonic)
    with steps(STEPS * len(site.devices)) as step:
        links = asyncio.gather(*(check_link(connection, identifier, clock, step) for connection in site.connections))
        probes = asyncio.gather(*(probe(push, clock.time()) for push in config.endpoints))
        reached, results = await asyncio.gather(probes, links)
    endpoints = {
        push.name: _with_warning(push, site, each) for push, each in zip(config.endpoints, reached, strict=True)
    }
    devices = [result for each in results for result in each]
    enabled = {name for device in config.device if device.enabled for name in device.node_ids.values()}
    whole = enabled == {node.node_id for node in site.nodes}
    powers, unknown = _powers(devices)
    poll_s = {each.device: each.scan.finished - each.scan.started for each in devices if each.scan is not None}
    return SiteResult(
        devices,
        endpoints,
        imbalance(powers) if whole and not unknown else None,
        _clock(clock.time()),
        tuple(slow_links(site.connections, config.shortest_deadline_s, poll_s)),
        powers,
        unknown,
    )


def _with_warning(push: PushConfig, site: Site, reached: ProbeResult) -> ProbeResult:
    if reached.round_trip_s is None or not (why := why_too_slow(push, site.nodes, reached.round_trip_s)):
        return reached
    return replace(reached, warning=f"{reached.warning}; {why}" if reached.warning else why)


def _clock(now: float) -> str:
    if kernel_synchronised():
        return "synchronised"
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return f"{at}, but no time service has set it; `timedatectl` says more"


def _powers(devices: list[DeviceResult]) -> tuple[dict[NodeType, float], tuple[str, ...]]:
    """Return the power of each type in W, and the nodes whose power is unknown.

    Relays are omitted, because they measure no power. Nodes that are not in the total are omitted. If a node reports no
    power, `when_offline` decides: with `missing`, the power of the node is unknown; with `zero` or `sleep`, it is 0 W.
    """
    found = {
        node.node_id: reading.value
        for each in devices
        for node, reading in each.readings()
        if reading.quantity is Quantity.ACTIVE_POWER and reading.phase is None and reading.value is not None
    }
    powers: dict[NodeType, float] = {}
    unknown = []
    for node in (
        node for each in devices for node in each.device.nodes if node.counted and node.kind is not Kind.RELAY
    ):
        power = found.get(node.node_id, 0.0 if node.when_offline != "missing" else None)
        if isinstance(power, float):
            powers[node.type] = powers.get(node.type, 0.0) + power
        else:
            unknown.append(node.node_id)
    return {type_: powers[type_] for type_ in NodeType if type_ in powers}, tuple(unknown)
