"""Promtool accepts the configurations of Prometheus in the documentation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; apt-get install prometheus")


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["config", "--syntax-only"], "prometheus-scrape.yml"),  # it names a file that does not exist here
        (["config", "--agent", "--syntax-only"], "examples/prometheus-agent.yml"),
        (["rules"], "telemetry-agent.rules.yml"),
    ],
)
def test_promtool_accepts_the_file(arguments: list[str], file: str) -> None:
    done = subprocess.run(["promtool", "check", *arguments, DOCS / file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
