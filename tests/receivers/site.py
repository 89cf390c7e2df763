"""The agent with the simulated site of the demo, and the endpoints that a test gives it."""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from agent.app import App
from agent.cli.demo import SITE_ID, device_tables
from agent.config.loader import parse
from agent.runtime.clock import SystemClock
from agent.site.builder import build
from drivers.simulator import SimulatedPlant, SimulatedSite

TOKEN = "a-token-that-nobody-may-read"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

FORMATS: dict[str, dict[str, Any]] = {
    "types": {},
    "types-text-quality": {"time_format": "string", "quality": True},
    "nodes": {"levels": ["device"]},
    "nodes-all-quality": {"levels": ["device"], "device_fields": "all", "quality": True},
    "snapshot": {"levels": ["device"], "device_format": "snapshot"},
    "snapshot-all-gzip": {
        "levels": ["device"], "device_format": "snapshot", "device_fields": "all", "quality": True, "gzip": True
    },
    "both-gzip": {"levels": ["device_type", "device"], "gzip": True},
}  # fmt: skip
"""Every form of a message: keys of [push] by the name of the endpoint."""


@contextlib.asynccontextmanager
async def pushing(folder: Path, pushes: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[None]:
    """Run the agent until the block ends. It sends to each endpoint every two seconds."""
    secret = folder / "signing_secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    defaults = {"token": TOKEN, "interval_s": 2, "align": "clock", "wait_for_clock_s": 0.0}
    async with SimulatedSite(SimulatedPlant(seed=1, speed=60.0, start_s=12 * 3600.0), "127.0.0.1", 0) as plant:
        table = tomllib.loads(device_tables(plant.devices, "127.0.0.1")) | {
            "site": {"node_id": SITE_ID, "import_limit_W": 17_250, "export_limit_W": 10_000},
            "push": [{"name": name, **defaults, **push} for name, push in pushes.items()],
            "poll": {"interval_s": 1.0},
            "outbox": {"path": str(folder / "state/outbox.sqlite3")},
        }
        config = parse(table, {}, "receivers")
        app = App(config, build(config, "receivers"), SystemClock(), {})
        with capture_logs():
            task = asyncio.create_task(app.run())
            try:
                yield
            finally:
                task.cancel()
                (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError), result
