"""Writes a status snapshot as Prometheus metrics.

Prometheus stores one series for each combination of label values, such as `device="inverter"`. To keep the number of
series small, all label values except the version come from the configuration or from fixed lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from agent.outbox import DROP_REASONS
from agent.status.model import DeviceStatus, EndpointStatus, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The format of `generate_latest`. prometheus_client has a constant for it only from version 0.23 on."""
_PREFIX = "telemetry_agent_"
STATES = ("waiting", "ok", "partial", "asleep", "lost")
CLOCK_STATES = ("synchronised", "unsynchronised", "waiting")


_OF_ENDPOINT = {
    "endpoint_ready": "1 while messages arrive at the endpoint.",
    "push_age_seconds": "Seconds since the last delivery.",
    "push_failing_seconds": "Seconds since attempts began to fail; 0 if they do not fail.",
    "push_interval_seconds": "Seconds between two pushes: push.interval_s.",
    "backlog_messages": "Messages that wait for delivery.",
    "backlog_oldest_seconds": "Age of the oldest waiting message that has a time, in seconds; 0 if there is none.",
    "dead_letters": "Refused messages that wait for a person.",
    "backlog_in_memory": "1 while the disk accepts no messages.",
}
"""The gauges with the label `endpoint`: name → help text."""


def exposition(snapshot: Snapshot) -> bytes:
    """Return the metrics of one scrape in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        yield InfoMetricFamily(
            _PREFIX + "build", "The running version and its site.", {"version": snapshot.version, "site": snapshot.site}
        )
        yield _gauge("uptime_seconds", "Seconds since the start.", snapshot.uptime_s)
        yield _gauge("ready", "1 while messages arrive at every enabled endpoint.", float(snapshot.ready))
        yield _states(
            "clock_state", "1 for the present state of the wall clock, 0 for the others.", CLOCK_STATES, snapshot.clock
        )
        yield from _devices(snapshot.devices)
        yield from _endpoints(snapshot.endpoints)
        yield _gauge("energies_in_memory", "1 while the disk accepts no energies.", float(snapshot.energies_in_memory))
        yield from _site(snapshot)


def _devices(devices: Iterable[DeviceStatus]) -> Iterator[Metric]:
    labels = ["device"]
    polls = CounterMetricFamily(_PREFIX + "device_polls", "Polls of a device.", labels=labels)
    skipped = CounterMetricFamily(_PREFIX + "device_polls_skipped", "Polls that were due and not made.", labels=labels)
    cycle = GaugeMetricFamily(
        _PREFIX + "device_cycle_seconds", "Time between polls of a device whose link is too slow.", labels=labels
    )
    errors = CounterMetricFamily(_PREFIX + "device_errors", "Failed polls, by kind of error.", labels=[*labels, "kind"])
    seconds = SummaryMetricFamily(_PREFIX + "device_poll_seconds", "Duration of answered polls.", labels=labels)
    age = GaugeMetricFamily(_PREFIX + "device_age_seconds", "Seconds since the last answer.", labels=labels)
    up = GaugeMetricFamily(_PREFIX + "device_up", "1 while the device answers.", labels=labels)
    state = GaugeMetricFamily(
        _PREFIX + "device_state", "1 for the present state of the device, 0 for the others.", labels=[*labels, "state"]
    )
    for device in devices:
        polls.add_metric([device.name], device.polls)
        skipped.add_metric([device.name], device.skipped)
        if device.cycle_s is not None:
            cycle.add_metric([device.name], device.cycle_s)
        for kind, count in device.errors.items():
            errors.add_metric([device.name, kind], count)
        seconds.add_metric([device.name], device.answered, device.answered_s)
        if device.age_s is not None:
            age.add_metric([device.name], device.age_s)
        up.add_metric([device.name], float(device.answers))
        for each in STATES:
            state.add_metric([device.name, each], float(each == device.state))
    yield from (polls, skipped, cycle, errors, seconds, age, up, state)


def _endpoints(endpoints: Iterable[EndpointStatus]) -> Iterator[Metric]:
    gauges = {name: GaugeMetricFamily(_PREFIX + name, text, labels=["endpoint"]) for name, text in _OF_ENDPOINT.items()}
    pushes = CounterMetricFamily(
        _PREFIX + "pushes", "Attempts to deliver a message, by outcome.", labels=["endpoint", "outcome"]
    )
    dropped = CounterMetricFamily(
        _PREFIX + "dropped_messages", "Dropped messages, by reason.", labels=["endpoint", "reason"]
    )
    superseded = CounterMetricFamily(
        _PREFIX + "superseded_messages",
        "Live messages that a newer push replaced before their first attempt, while the endpoint was well.",
        labels=["endpoint"],
    )
    for each in endpoints:
        backlog = each.backlog
        values = {
            "endpoint_ready": float(each.reason is None),
            "push_age_seconds": each.delivered_s,
            "push_failing_seconds": each.failing_s or 0.0,
            "push_interval_seconds": each.interval_s,
            "backlog_messages": backlog.waiting,
            "backlog_oldest_seconds": backlog.oldest_s or 0.0,
            "dead_letters": backlog.parked,
            "backlog_in_memory": float(backlog.in_memory),
        }
        for name, value in values.items():
            if value is not None:
                gauges[name].add_metric([each.name], value)
        superseded.add_metric([each.name], each.superseded)
        for outcome, count in each.outcomes.items():
            pushes.add_metric([each.name, outcome], count)
        # Every reason has a series with 0 from the start. Otherwise, Prometheus would not see the first dropped message
        # as an increase.
        for reason, count in {**dict.fromkeys(DROP_REASONS, 0), **backlog.dropped}.items():
            dropped.add_metric([each.name, reason], count)
    yield from (pushes, *gauges.values(), dropped, superseded)


def _site(snapshot: Snapshot) -> Iterator[Metric]:
    power = GaugeMetricFamily(
        _PREFIX + "power_watts", "Power of a group; signs as in the payload contract.", labels=["group"]
    )
    for group, fields in snapshot.flow.items():
        value = fields.get("active_power_W")
        if isinstance(value, float | int):
            power.add_metric([group], value)
    yield power
    yield _counters("implausible_readings", "Invalid readings, which are not used.", "node", snapshot.implausible)
    events = CounterMetricFamily(
        _PREFIX + "counter_events", "Events of energy counters, by kind.", labels=["node", "kind"]
    )
    for node, kinds in snapshot.counter_events.items():
        for kind, count in kinds.items():
            events.add_metric([node, kind], count)
    yield events
    charge = snapshot.flow.get("storage", {}).get("mean_soc_perc")
    if isinstance(charge, float | int):
        yield _gauge("storage_charge_ratio", "Mean state of charge, 0..1.", charge / 100)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value or 0.0)


def _states(name: str, text: str, states: Iterable[str], current: str) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=["state"])
    for state in states:
        family.add_metric([state], float(state == current))
    return family


def _counters(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
