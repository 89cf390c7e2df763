"""Shows the results of `check --online`: as tables and hints, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from agent.commissioning.describe import number, table
from agent.commissioning.device_check import DeviceResult
from agent.commissioning.endpoint_probe import ProbeResult
from agent.commissioning.plausibility import name_of, remaining_power
from agent.commissioning.site_check import SiteResult
from agent.commissioning.troubleshooting import failure_line, state_in_words
from agent.domain import direction
from agent.runtime import printable, wrapped
from drivers.model import NodeType


def show(result: SiteResult) -> None:
    """Print tables of devices and values, then hints, the clock and the endpoints that were reached."""
    table("Devices", ("device", "driver", "address", "state", "request"), map(_device_row, result.devices))
    rows = [row for each in result.devices for row in _value_rows(each)]
    table("Values", ("node", "quantity", "value", "unit", "age"), rows)
    lines = [f"hint: {each.device.name}: {hint}" for each in result.devices for hint in each.hints]
    if result.hint:
        lines.append(f"hint: {result.hint}")
    lines += [f"hint: {slow}" for slow in result.slow]
    lines.append(f"clock: {result.clock}")
    for name, endpoint in _named_endpoints(result):
        if endpoint.ok:
            latency = f" in {_ms(endpoint.latency_s)}, round trip {_ms(endpoint.round_trip_s)}"
            lines.append(f"{name}: {endpoint.words}{latency}; nothing was sent")
        if endpoint.warning:
            lines.append(f"hint: {name}: {endpoint.warning}")
    for line in lines:
        print(wrapped(printable(line), sys.stdout))  # noqa: T201 - what the command is for


def show_balance(result: SiteResult) -> None:
    """Print the power of each type, and the power that remains for the rest of the house.

    If the power of some nodes is unknown, a row with their names replaces the row `rest of the house`. Without the
    power of the grid, the row `rest of the house` is omitted.
    """
    rows = [
        (type_.value.replace("_", " "), f"{abs(power):,.0f} W", direction(type_, power))
        for type_, power in result.powers.items()
    ]
    if result.without_power:
        rows.append((", ".join(result.without_power), "unknown", ""))
    elif NodeType.GRID in result.powers:
        rows.append(("rest of the house", f"{round(remaining_power(result.powers)):,} W", ""))
    table("Power balance", ("", "value", "direction"), rows)


def problems(result: SiteResult) -> Iterator[str]:
    """Yield one line for each device that could not be read, and for each endpoint that was not reached."""
    for each in result.devices:
        if each.error:
            line = failure_line(each.device.name, each.device.address, each.error)
            sleeps = any(node.when_offline != "missing" for node in each.device.nodes)
            yield line + ("; at night it may be asleep" if sleeps else "")
    for name, endpoint in _named_endpoints(result):
        if not endpoint.ok:
            yield f"{name}: {endpoint.words}"


def _ms(seconds: float | None) -> str:
    return f"{1000 * (seconds or 0.0):.0f} ms"


def _named_endpoints(result: SiteResult) -> Iterator[tuple[str, ProbeResult]]:
    for name, endpoint in result.endpoints.items():
        yield ("endpoint" if len(result.endpoints) == 1 else f"endpoint {name}"), endpoint


def _device_row(result: DeviceResult) -> tuple[str, ...]:
    device, scan = result.device, result.scan
    answers = "answers" if scan is not None and scan.complete else "answers in part"
    how = state_in_words(result.error) if result.error else answers
    latency = "" if result.latency_s is None else _ms(result.latency_s)
    return device.name, device.driver_name, device.address, how, latency


def _value_rows(result: DeviceResult) -> Iterable[tuple[str, ...]]:
    for node, reading in result.readings():
        shown = reading.quality.value if reading.value is None else number(reading.value)
        age = f"{max(0.0, result.at - reading.at):.1f} s"
        yield node.node_id, name_of(reading), shown, reading.quantity.unit.value, age


def as_json(result: SiteResult, warnings: Sequence[str]) -> str:
    """Return as JSON the results of the site, of each endpoint, and of each device with its values.

    `warnings` are about the configuration.
    """
    return json.dumps(
        {
            "ok": result.ok,
            "warnings": warnings,
            "hint": result.hint,
            "clock": result.clock,
            "slow_links": result.slow,
            "endpoints": [
                {
                    "name": name,
                    "ok": endpoint.ok,
                    "words": endpoint.words,
                    "latency_s": _rounded(endpoint.latency_s),
                    "round_trip_s": _rounded(endpoint.round_trip_s),
                    "warning": endpoint.warning or None,
                }
                for name, endpoint in result.endpoints.items()
            ],
            "devices": [_device_json(each) for each in result.devices],
        },
        indent=1,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _device_json(result: DeviceResult) -> dict[str, object]:
    device = result.device
    return {
        "device": device.name,
        "driver": device.driver_name,
        "address": device.address,
        "error": str(result.error) if result.error else None,
        "latency_s": _rounded(result.latency_s),
        "hints": result.hints,
        "values": [
            {
                "node": node.node_id,
                "quantity": name_of(reading),
                "value": reading.value,
                "unit": reading.quantity.unit.value,
                "quality": reading.quality.value,
                "age_s": round(max(0.0, result.at - reading.at), 3),
            }
            for node, reading in result.readings()
        ],
    }
