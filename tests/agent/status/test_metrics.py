"""What Prometheus gets, and that the shipped alert rules and the dashboard ask for nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.outbox import DROP_REASONS, Backlog
from agent.status.metrics import CLOCK_STATES, STATES, exposition
from agent.status.model import DeviceStatus, EndpointStatus, Snapshot

DOCS = Path(__file__).parents[3] / "docs"
SHIPPED = ("telemetry-agent.rules.yml", "grafana-dashboard.json")


def snapshot(*devices: DeviceStatus) -> Snapshot:
    outcomes = {"delivered": 3, "retry": 1, "refused": 0, "misconfigured": 0}
    endpoints = tuple(
        EndpointStatus(name, "https://e", 60, reason, 5.0, 1.0, outcomes, (), Backlog(3, 60.0, 1, False, {"age": 2}))
        for name, reason in (("portal", None), ("trader", "no delivery for 5 s"))
    )
    flow: dict[str, Any] = {"grid": {"active_power_W": -5.0}, "storage": {"mean_soc_perc": 50.0}}
    return Snapshot("1.2", "S", 0.0, 1.0, True, None, "waiting", flow, devices, endpoints)


def device(name: str, state: str) -> DeviceStatus:
    return DeviceStatus(name, "sunspec", "x", state, None, None, 3.0, 9, 2, {"silent": 2}, 0.1, 7, 0.5, ())


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counters_are_there_before_they_count() -> None:
    found = samples(exposition(snapshot()))
    assert {
        reason: found["telemetry_agent_dropped_messages_total", *sorted(("portal", reason))] for reason in DROP_REASONS
    } == {
        "age": 2,
        "size": 0,
        "memory": 0,
        "dead_letters": 0,
        "damaged": 0,
        "lost": 0,
    }
    assert found["telemetry_agent_pushes_total", "portal", "refused"] == 0
    assert [found["telemetry_agent_clock_state", state] for state in CLOCK_STATES] == [0, 0, 1]
    assert found["telemetry_agent_storage_charge_ratio",] == 0.5


def test_each_endpoint_has_its_series() -> None:
    found = samples(exposition(snapshot()))
    assert {name: found["telemetry_agent_endpoint_ready", name] for name in ("portal", "trader")} == {
        "portal": 1,
        "trader": 0,
    }
    assert found["telemetry_agent_backlog_messages", "trader"] == 3
    assert found["telemetry_agent_pushes_total", "retry", "trader"] == 1


@pytest.mark.parametrize("name", ['"quoted"', "line\nbreak", "back\\slash", "äöü", "{}", "<b>"])
def test_any_name_survives_as_a_label(name: str) -> None:
    found = samples(exposition(snapshot(device(name, "lost"))))
    assert found["telemetry_agent_device_up", name] == 0
    assert {state: found["telemetry_agent_device_state", *sorted((name, state))] for state in STATES} == {
        "waiting": 0,
        "ok": 0,
        "partial": 0,
        "asleep": 0,
        "lost": 1,
    }


def test_the_number_of_series_is_bounded_by_the_configuration() -> None:
    one = len(samples(exposition(snapshot(device("a", "ok")))))
    two = len(samples(exposition(snapshot(device("a", "ok"), device("b", "lost")))))
    three = len(samples(exposition(snapshot(device("a", "ok"), device("b", "lost"), device("c", "partial")))))
    assert two - one == three - two <= 12


def test_a_link_that_is_too_slow_is_in_the_metrics() -> None:
    slow = replace(device("a", "ok"), interval_s=1.0, cycle_s=6.7, skipped=567)
    found = samples(exposition(snapshot(slow, device("b", "ok"))))
    assert found["telemetry_agent_device_polls_skipped_total", "a"] == 567
    assert found["telemetry_agent_device_cycle_seconds", "a"] == 6.7
    assert ("telemetry_agent_device_cycle_seconds", "b") not in found


@pytest.mark.parametrize("name", SHIPPED)
def test_rules_and_dashboard_ask_for_metrics_that_exist(name: str) -> None:
    text = (DOCS / name).read_text()
    asked = set(re.findall(r"telemetry_agent_[a-z_]+", text))
    exported = {sample[0] for sample in samples(exposition(snapshot(device("a", "ok"))))}
    assert asked
    assert asked <= exported
    states = set(re.findall(r'state="(\w+)"', text.replace('\\"', '"')))
    assert states <= {*STATES, *CLOCK_STATES}


def test_each_alert_is_explained() -> None:
    alerts = re.findall(r"alert: (\w+)", (DOCS / SHIPPED[0]).read_text())
    explained = re.findall(r"^\| `(TelemetryAgent\w+)` \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert alerts == explained


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((DOCS / SHIPPED[1]).read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["targets"][0]["expr"] for panel in panels)
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "instance"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; apt-get install prometheus")
def test_prometheus_takes_the_rules_and_the_scrape_configuration() -> None:
    for command in (
        ["check", "rules", str(DOCS / SHIPPED[0])],
        ["check", "config", "--syntax-only", str(DOCS / "prometheus-scrape.yml")],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    text = exposition(snapshot(device("a", "ok"))).decode()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
