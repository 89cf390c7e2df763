"""The unit is as closed as docs/operations.md says, judged by the systemd of this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
CLAIM = re.compile(r"rates its exposure at most ([\d.]+) \(([\d.]+) with serial ports\) of 10")


def exposure(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze cannot judge a file here: {done.stderr.strip()[:200]}")
    return float(found[1])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize("serial", [False, True])
def test_the_unit_is_as_closed_as_the_page_says(tmp_path: Path, serial: bool) -> None:
    claim = CLAIM.search((REPO / "docs" / "operations.md").read_text(encoding="utf-8"))
    assert claim is not None
    unit = tmp_path / "telemetry-agent.service"
    shutil.copy(REPO / "systemd" / unit.name, unit)
    if serial:
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        shutil.copy(REPO / "systemd" / "serial.conf", folder)
    assert exposure(unit) <= float(claim[2 if serial else 1])


def test_no_core_is_dumped() -> None:
    assert "\nLimitCORE=0\n" in (REPO / "systemd" / "telemetry-agent.service").read_text(encoding="utf-8")
