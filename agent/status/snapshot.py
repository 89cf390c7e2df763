"""Builds the status of the daemon at one moment (`agent.status.model`) from the state of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent import __version__
from agent.aggregation import Fields, NodeSummary, Summary, Window, fields_of, total
from agent.delivery import DeliveryStats
from agent.domain import Night, all_sleep
from agent.outbox import Backlog
from agent.polling import Device
from agent.runtime import Clock
from agent.status.balance import CountedNode, why_no_balance
from agent.status.model import DeviceStatus, EndpointStatus, LinkStatus, NodeStatus, Snapshot
from agent.status.words import reason_of_all, why_not_ready
from drivers.model import NodeType, Quantity
from drivers.protocol import link_address

if TYPE_CHECKING:
    from agent.config import Config, PushConfig


def snapshot(
    config: Config,
    started: float,
    devices: Sequence[Device],
    nights: Mapping[str, Night],
    last: Sequence[Summary],
    endpoints: Sequence[EndpointStatus],
    clock: Clock,
    clock_state: str,
) -> Snapshot:
    """Return the state of the daemon. Call this in the event loop.

    `App.snapshot` adds the reason for the state of the clock, the numbers of invalid readings and of counter events,
    and whether energies or messages are only in memory.

    `started`: monotonic second of the start of the daemon. `nights`: node id → night. `last`: the summary of the last
    push to each endpoint; empty before the first push.
    """
    now = clock.monotonic()
    energies = _energies(last)
    nodes = {
        device.name: [
            (node, fields | energies.get(node.node.node_id, {}))
            for node, fields in _fields_now(device, nights, now, config.poll.stale_after_s)
        ]
        for device in devices
    }
    reason = reason_of_all(endpoints)
    shown = tuple(_device(device, nodes[device.name], nights, now) for device in devices)
    flow = _flow([pair for pairs in nodes.values() for pair in pairs])
    return Snapshot(
        version=__version__,
        site=config.site.node_id,
        time=clock.time(),
        uptime_s=now - started,
        ready=reason is None,
        reason=reason,
        clock=clock_state,
        flow=flow,
        devices=shown,
        endpoints=tuple(endpoints),
        links=tuple(_links(shown)),
        no_balance=why_no_balance(flow, _counted(devices, shown, nodes), pushed=bool(last)),
    )


def _fields_now(
    device: Device, nights: Mapping[str, Night], now: float, stale_after_s: float
) -> list[tuple[NodeSummary, Fields]]:
    """Return each node and its payload fields at this moment, without the energies of the day."""
    found = []
    for node in device.nodes:
        window = Window(node, node.stale_after_s or stale_after_s, night=nights.get(node.node_id))
        if device.health.scan is not None:
            window.add(device.health.scan)
        summary = window.close(now, "last")
        found.append((summary, fields_of(summary)))
    return found


def _energies(last: Sequence[Summary]) -> dict[str, Fields]:
    """Return node id → the energies of the day in the last push that had this node, to any endpoint."""
    return {
        result.summary.node.node_id: {name: value for name, value in result.fields.items() if name.startswith("today_")}
        for summary in sorted(last, key=lambda each: each.time)
        for result in summary.nodes
    }


def _counted(
    devices: Sequence[Device],
    shown: Sequence[DeviceStatus],
    nodes: Mapping[str, list[tuple[NodeSummary, Fields]]],
) -> Iterator[CountedNode]:
    for device, status in zip(devices, shown, strict=True):
        scan = device.health.scan
        readings = () if scan is None else scan.readings
        for summary, fields in nodes[device.name]:
            node = summary.node
            if node.counted:
                own = {each.quantity for each in readings if each.node in (None, node.type)}
                yield CountedNode(node.node_id, node.type, fields, status.state, own)


def _flow(nodes: list[tuple[NodeSummary, Fields]]) -> dict[str, Fields]:
    return {
        type_.value: total(
            [fields for summary, fields in nodes if summary.node.type is type_ and summary.node.counted], "omit"
        )
        for type_ in NodeType
        if any(summary.node.type is type_ for summary, _ in nodes)
    }


def _links(devices: Sequence[DeviceStatus]) -> list[LinkStatus]:
    found: dict[str, list[DeviceStatus]] = {}
    for device in devices:
        found.setdefault(link_address(device.address), []).append(device)
    links = [LinkStatus(address, len(each), _load(each)) for address, each in found.items()]
    return sorted(links, key=lambda link: -(link.load or 0.0))


def _load(devices: Sequence[DeviceStatus]) -> float | None:
    shares = [each.poll_s / each.interval_s for each in devices if each.poll_s is not None and each.lost_s is None]
    return sum(shares) if shares else None


def _assumed(summary: NodeSummary, fields: Fields) -> str | None:
    """Return the value of `NodeStatus.assumed`."""
    if "active_power_W" not in fields or summary.chosen(Quantity.ACTIVE_POWER) is not None:
        return None
    return "asleep" if summary.sleeps else "nominal"


def _device(
    device: Device, nodes: list[tuple[NodeSummary, Fields]], nights: Mapping[str, Night], now: float
) -> DeviceStatus:
    health = device.health
    return DeviceStatus(
        name=device.name,
        driver=device.driver_name,
        address=device.address,
        state=_state(device, nights, now),
        reason=device.reason(health.error) if health.error is not None else health.partial,
        lost_s=None if health.since is None else now - health.since,
        age_s=None if health.last_answer is None else now - health.last_answer,
        polls=health.polls,
        failed_polls=health.failed_polls,
        errors=dict(health.errors),
        poll_s=None if health.scan is None else health.took_s,
        answered=health.polls - health.failed_polls,
        answered_s=health.answered_s,
        nodes=tuple(
            NodeStatus(summary.node.node_id, summary.node.type.value, fields, _assumed(summary, fields))
            for summary, fields in nodes
        ),
        interval_s=device.interval_s,
        cycle_s=health.cycle_s,
        skipped=health.skipped,
    )


def _state(device: Device, nights: Mapping[str, Night], now: float) -> str:
    health = device.health
    if health.failures:
        return "asleep" if all_sleep(device.nodes, nights, now) else "lost"
    return "waiting" if not health.answers else "partial" if health.partial else "ok"


def endpoint_status(
    push: PushConfig,
    stats: DeliveryStats,
    backlog: Backlog,
    now: float,
    *,
    waits_for_clock: bool,
    next_attempt_at: float | None = None,
) -> EndpointStatus:
    """Return the state of the delivery to one endpoint at monotonic second `now`."""
    url = urlsplit(push.url)
    return EndpointStatus(
        name=push.name,
        url=f"{url.scheme}://{url.netloc}",
        interval_s=push.interval_s,
        reason=endpoint_reason(push, stats, now, waits_for_clock=waits_for_clock),
        failing_s=_since(stats.failing_since, now),
        delivered_s=_since(stats.delivered_at, now),
        outcomes=dict(stats.outcomes),
        recent=tuple(reversed(stats.recent)),
        backlog=backlog,
        superseded=stats.superseded,
        behind=stats.behind,
        next_attempt_s=None if next_attempt_at is None else max(0.0, next_attempt_at - now),
    )


def endpoint_reason(
    push: PushConfig, stats: DeliveryStats, now: float, *, waits_for_clock: bool, timed: bool = True
) -> str | None:
    """Return the value of `EndpointStatus.reason` at monotonic second `now`. For `timed`, see `why_not_ready`."""
    return why_not_ready(
        interval_s=push.interval_s,
        failing_s=_since(stats.failing_since, now),
        delivered_s=_since(stats.delivered_at, now),
        last=stats.recent[-1] if stats.recent else None,
        waits_for_clock=waits_for_clock,
        up_s=now - stats.since,
        behind=stats.behind,
        timed=timed,
    )


def _since(at: float | None, now: float) -> float | None:
    return None if at is None else now - at
