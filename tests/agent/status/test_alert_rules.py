"""Each alert rule fires for the state that it is for, and not without it; judged by promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

RULES = Path(__file__).parents[3] / "docs/telemetry-agent.rules.yml"

# Alert → series and their values at each minute, from a well state to the bad one; when the alert is expected.
STATES: dict[str, tuple[dict[str, str], str]] = {
    "TelemetryAgentDown": ({'up{job="telemetry-agent"}': "1x10 0x10"}, "17m"),
    "TelemetryAgentMissing": ({'up{job="telemetry-agent"}': "1x10 stale"}, "31m"),
    "TelemetryAgentRestarting": ({"telemetry_agent_uptime_seconds": "0 60 0 60 0 60 0 60 0 60"}, "9m"),
    "TelemetryAgentMisconfigured": (
        {
            'telemetry_agent_endpoint_ready{endpoint="a"}': "1x10 0x20",
            'telemetry_agent_pushes_total{endpoint="a",outcome="misconfigured"}': "0x10 0+1x20",
        },
        "18m",
    ),
    "TelemetryAgentNotPushing": ({'telemetry_agent_endpoint_ready{endpoint="a"}': "1x10 0x30"}, "27m"),
    "TelemetryAgentBacklogOld": ({'telemetry_agent_backlog_oldest_seconds{endpoint="a"}': "100000 172801x5"}, "2m"),
    "TelemetryAgentDataLost": (
        {'telemetry_agent_dropped_messages_total{endpoint="a",reason="lost"}': "0x5 3x5"},
        "8m",
    ),
    "TelemetryAgentDeadLetters": ({'telemetry_agent_dead_letters{endpoint="a"}': "0x5 1x10"}, "12m"),
    "TelemetryAgentDiskFailing": ({"telemetry_agent_energies_in_memory": "0x5 1x10"}, "12m"),
    "TelemetryAgentClockNotSet": ({'telemetry_agent_clock_state{state="waiting"}': "0x5 1x30"}, "22m"),
    "TelemetryAgentDeviceLost": ({'telemetry_agent_device_state{device="m",state="lost"}': "0x5 1x30"}, "22m"),
    "TelemetryAgentDeviceAsleepForADay": (
        {'telemetry_agent_device_state{device="pv",state="asleep"}': "0x5 1x1500"},
        "1447m",
    ),
    "TelemetryAgentDevicePartial": ({'telemetry_agent_device_state{device="m",state="partial"}': "0x5 1x80"}, "67m"),
}


def fired(alert: str, at: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {"eval_time": at, "alertname": alert, "exp_alerts": expected}


def expected_labels(alert: str, series: dict[str, str]) -> dict[str, str]:
    """The labels of the first series and of the rule."""
    rule = RULES.read_text(encoding="utf-8").split(f"alert: {alert}\n")[1]
    severity = re.search(r"severity: (\w+)", rule)
    assert severity is not None
    labels = dict(re.findall(r'(\w+)="([^"]*)"', next(iter(series))))
    return labels | {"instance": "controller-1", "severity": severity[1]}


def state(alert: str) -> dict[str, Any]:
    """The test of an alert for promtool."""

    def named(name: str) -> str:
        return name[:-1] + ',instance="controller-1"}' if name.endswith("}") else name + '{instance="controller-1"}'

    series, at = STATES[alert]
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [{"series": named(name), "values": values} for name, values in series.items()],
        "alert_rule_test": [
            fired(alert, "0m", []),
            fired(alert, at, [{"exp_labels": expected_labels(alert, series)}]),
        ],
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; apt-get install prometheus")
def test_each_alert_fires_for_its_state_alone(tmp_path: Path) -> None:
    """promtool judges each state with series of its own. A message about a failure names the alert."""
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [*map(state, STATES)]}))
    # Without the texts for people, which promtool would compare.
    texts = re.compile(r"(?m)^ +(annotations:|summary: .*|description: .*)\n")
    (tmp_path / "rules.yml").write_text(texts.sub("", RULES.read_text(encoding="utf-8")))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_its_state() -> None:
    assert set(re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8"))) == set(STATES)
