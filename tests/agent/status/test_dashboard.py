"""The dashboard for Grafana: each query finds series of an agent (promtool evaluates it), and the panels fit."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.status.metrics import exposition
from tests.agent.status.test_metrics import device, snapshot

DASHBOARD = json.loads((Path(__file__).parents[3] / "docs/grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SCRAPED = {"job": "telemetry-agent", "instance": "controller-1"}


def queries() -> list[str]:
    """With the values of Grafana's variables."""
    texts = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [text.replace("$instance", ".*").replace("$__rate_interval", "4m") for text in texts]


def series() -> list[dict[str, str]]:
    """Of an agent with a lost and a partial device, scraped for half an hour; its counters grow."""
    text = exposition(snapshot(device("a", "lost"), device("b", "partial"))).decode()
    found = [{"series": f"up{labels(SCRAPED)}", "values": "1x30"}]
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            grows = family.type == "counter" or sample.name.endswith(("_sum", "_count"))
            values = f"{sample.value}+1x30" if grows else f"{sample.value}x30"
            found.append({"series": sample.name + labels(sample.labels | SCRAPED), "values": values})
    return found


def labels(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; apt-get install prometheus")
def test_each_query_has_a_result(tmp_path: Path) -> None:
    expected = [{"expr": f"absent({query})", "eval_time": "20m", "exp_samples": []} for query in queries()]
    test = {"interval": "1m", "input_series": series(), "promql_expr_test": expected}
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": [], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_legend_names_labels_of_its_query() -> None:
    known = {name for each in series() for name in re.findall(r'(\w+)="', each["series"])}
    for target in (target for panel in PANELS for target in panel["targets"]):
        grouped = re.search(r"by \(([^)]*)\)", target["expr"])
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= (set(re.split(r", *", grouped[1])) if grouped else known), target["expr"]


def test_the_panels_fit() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
    for one, other in itertools.combinations(PANELS, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
