"""Telegraf with docs/examples/telegraf.conf."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.faults.certificates import Authority
from tests.receivers.programs import EXAMPLES, needed, running, until
from tests.receivers.site import pushing
from tests.support.ports import free_port


async def test_messages_of_the_agent_become_metrics(tmp_path: Path) -> None:
    telegraf = needed("telegraf", "telegraf/telegraf")
    authority = Authority(tmp_path)
    authority.issue("server")
    controller = authority.issue("controller")
    port, output = free_port(), tmp_path / "metrics"
    environ = {**os.environ, "LISTEN": f"127.0.0.1:{port}", "TLS": str(tmp_path), "OUTPUT": str(output)}
    tls = {
        "ca_file": str(authority.ca_file),
        "client_cert_file": str(controller.cert_file),
        "client_key_file": str(controller.key_file),
    }
    url = f"https://127.0.0.1:{port}/telemetry"
    pushes = {
        "types": {"url": url, "quality": True, **tls},
        "nodes": {"url": url, "levels": ["device"], "gzip": True, **tls},
    }

    def metrics() -> list[str]:
        return output.read_text(encoding="utf-8").splitlines() if output.exists() else []

    with running([telegraf, "--config", EXAMPLES / "telegraf.conf"], port, tmp_path / "log", environ):
        async with pushing(tmp_path, pushes):
            await until(lambda: any("nodeId=battery-1" in line for line in metrics()))
            await until(lambda: sum("nodeId" not in line for line in metrics()) >= 2)
    totals = next(line for line in metrics() if "nodeId" not in line)
    assert re.match(r"telemetry,siteNodeId=DEMO_site_0 \S+ \d{10}000000000$", totals)
    for field in ("grid_active_power_W=", "solar_today_energy_Wh=", 'heat_pump_operation_modes_0="o'):
        assert field in totals
    assert 'quality_solar_today="partial"' in totals
    battery = next(line for line in metrics() if "nodeId=battery-1" in line)
    assert "storage_mean_soc_perc=" in battery
    print(totals, battery, sep="\n")  # noqa: T201 - the captured output of docs/receivers.md
