"""A gateway that is too slow for the poll interval of its units: the quality counts the polls that were due."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from agent.aggregation import Summary
from agent.app import App
from agent.config import parse
from agent.runtime import SystemClock
from agent.site import build
from drivers.model import Table
from tests.faults.modbus import FaultServer, registers_from

UNITS = range(1, 6)
POLL_S, PUSH_S = 0.1, 1
ANSWER_S = 0.1
INTERVALS = 4


def registers() -> dict[int, int]:
    words = registers_from(0, [0] * 100)
    words[12], words[13] = struct.unpack(">HH", struct.pack(">f", 5.0))
    return words


async def test_the_quality_counts_the_polls_that_were_due(tmp_path: Path) -> None:
    summaries: list[Summary] = []
    enough = asyncio.Event()

    def collect(summary: Summary) -> None:
        summaries.append(summary)
        if len(summaries) == INTERVALS:
            enough.set()

    async with FaultServer({(unit, Table.INPUT): registers() for unit in UNITS}) as server:
        server.faults.latency_s = ANSWER_S
        devices = [
            {"node_id": f"m{unit}", "type": "heat_pump", "driver": "eastron-sdm120", "unit_id": unit}
            | {"host": "127.0.0.1", "port": server.link().port}
            for unit in UNITS
        ]
        config = parse(
            {
                "site": {"node_id": "SITE"},
                "push": {"url": "http://127.0.0.1:9/", "token": "t", "interval_s": PUSH_S, "wait_for_clock_s": 0.0},
                "poll": {"interval_s": POLL_S},
                "outbox": {"path": str(tmp_path / "outbox.sqlite3")},
                "device": devices,
            },
            {},
            "config.toml",
        )
        app = App(config, build(config, "config.toml"), SystemClock(), {}, collect)
        running = asyncio.create_task(app.run())
        async with asyncio.timeout(60):
            await enough.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    for number in range(len(UNITS)):
        nodes = [summary.nodes[number].summary for summary in summaries[1:]]
        expected, got = sum(node.expected for node in nodes), sum(node.got for node in nodes)
        assert expected >= 0.5 * (INTERVALS - 1) * PUSH_S / POLL_S, "a busy machine closes an interval late"
        assert 0 < got <= expected / 3, "one poll takes five intervals"
