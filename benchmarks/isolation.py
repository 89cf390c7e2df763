"""Measures how late messages arrive at an endpoint alone, and beside three broken endpoints, on the real clock.

Two daemons run at the same time, so that the load of the machine is the same for both. All endpoints push every second
at the same moment. One of the broken ones hangs, one refuses with 422, 401 and 429, and one has an expired certificate.
The bound: the median is at most 10 ms more.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks._figures import Figure, table
from drivers.model import Table
from tests.faults import http
from tests.faults.certificates import Authority
from tests.faults.http import Behaviour, Exchange, HttpFaults, answer
from tests.faults.modbus import FaultServer
from tests.support.site import device, sdm630

WARM_UP_S = 10.0
MEASURED_S = 50.0


def push_table(name: str, server: HttpFaults) -> str:
    return (
        f'[[push]]\nname = "{name}"\nurl = "{server.url()}"\ntoken = "t"\ninterval_s = 1\nalign = "clock"\n'
        "wait_for_clock_s = 0\ntimeout_s = 3\n"
    )


def good(late_s: list[float]) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        late_s.append(time.time() - json.loads(exchange.request.body)["time"])
        await exchange.answer(200)

    return behave


def broken(folder: Path) -> dict[str, HttpFaults]:
    authority = Authority(folder)
    refusals = itertools.cycle((answer(422), answer(401), answer(429, retry_after="5")))

    async def refuse(exchange: Exchange) -> None:
        await next(refusals)(exchange)

    expired = authority.server_context(authority.issue("127.0.0.1", expired=True))
    return {
        "hanging": HttpFaults(http.hang_before_headers()),
        "refusing": HttpFaults(refuse),
        "expired": HttpFaults(answer(200), expired),
    }


async def started(
    folder: Path, neighbours: dict[str, HttpFaults], late_s: list[float], stack: AsyncExitStack
) -> asyncio.subprocess.Process:
    """Start a daemon that reads a meter, with its neighbours and the good endpoint."""
    meter = await stack.enter_async_context(FaultServer({(1, Table.INPUT): sdm630(500.0, 1.0, 2.0)}))
    servers = neighbours | {"good": HttpFaults(good(late_s))}
    for server in servers.values():
        await stack.enter_async_context(server)
    pushes = "".join(push_table(name, server) for name, server in servers.items())
    config = folder / "config.toml"
    config.write_text(
        f'[site]\nnode_id = "B"\n{pushes}[poll]\ninterval_s = 1\n[outbox]\npath = "{folder}/outbox.sqlite3"\n'
        f"{device('meter-1', 'grid', meter)}"
    )
    command = (sys.executable, "-m", "agent", "run", "--config", str(config))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TELEMETRY_AGENT__")}
    return await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.DEVNULL)


async def measure(folders: tuple[Path, Path]) -> tuple[list[float], list[float]]:
    """Return how late the messages were, in seconds: alone, and beside the broken endpoints."""
    alone: list[float] = []
    beside: list[float] = []
    async with AsyncExitStack() as stack:
        daemons = [
            await started(folders[0], {}, alone, stack),
            await started(folders[1], broken(folders[1]), beside, stack),
        ]
        await asyncio.sleep(WARM_UP_S)
        alone.clear()
        beside.clear()
        await asyncio.sleep(MEASURED_S)
        for daemon in daemons:
            daemon.terminate()
            await daemon.wait()
    return alone, beside


def figures() -> Iterator[Figure]:
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        alone, beside = asyncio.run(measure((Path(first), Path(second))))
    later_ms = 1000 * (median(beside) - median(alone))
    yield Figure("a message beside three broken endpoints is later by", later_ms, "ms", 10)


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
