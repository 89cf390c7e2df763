"""The load test of the endpoint for a fleet: the messages of 10,000 simulated sites on connections of their own.

`make load-test` runs it. Every site sends a message a minute, at its own second. From the second minute on, half of the
sites also send a message of their backlog in each minute: the load after an outage (docs/operations.md). 3 % of the
messages are sent again, as after a lost answer. At the end, the database must have every message once, and the newest
message of every site. Then 64 sites send without pauses, which gives the capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import resource
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.parse import urlsplit

from tests.receivers.fleet import Fleet, fleet
from tests.receivers.processes import cpu_s, memory_mb
from tests.receivers.programs import Database

INTERVAL_S = 60
DUPLICATES = 0.03
HOUR_S, DAY_S = 3600, 86_400
CONNECTS_AT_ONCE = 100
RETRY_S = (1.0, 4.0)
"""Limits of the pause before a message that was not accepted is sent again."""
CAPACITY_S, CAPACITY_SITES = 20, 64


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A message to send. `at` is in seconds since the start."""

    at: float
    site: int
    time: int
    identity: str


class Site(asyncio.Protocol):
    """The connection of one site. It sends one request at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._turn = asyncio.Lock()
        self._transport: asyncio.Transport | None = None
        self._reply = b""
        self._status: asyncio.Future[int] | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reply += data
        head, end, body = self._reply.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        complete = end and len(body) >= (int(length[1]) if length else 0)
        if complete and self._status is not None and not self._status.done():
            self._status.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._status is not None and not self._status.done():
            self._status.set_result(0)

    async def send(self, request: bytes) -> int:
        """Send a request and return the status of the answer; 0 if the connection was closed."""
        async with self._turn:
            assert self._transport is not None
            self._reply = b""
            self._status = asyncio.get_running_loop().create_future()
            self._transport.write(request)
            return await self._status

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@dataclass(slots=True)
class Result:
    """What was sent in one phase, and how it was answered."""

    name: str
    duplicates: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    slowest_sync_s: float = 0.0
    """Of a small file beside the database, written ten times a second: what the disk itself needs."""
    cpu_s: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        cuts = quantiles(self.latencies_s, n=1000)
        p50, p90, p99 = (1000 * cuts[index] for index in (499, 899, 989))
        busy = ", ".join(f"{name} {seconds / self.wall_s:.2f}" for name, seconds in self.cpu_s.items())
        answers = ", ".join(f"{count} x {status}" for status, count in self.statuses.items())
        disk = f"; slowest sync of the disk {1000 * self.slowest_sync_s:.0f} ms" if self.slowest_sync_s else ""
        return (
            f"{self.name}: {sum(self.statuses.values()) / self.wall_s:.0f} requests/s for {self.wall_s:.0f} s"
            f" ({self.duplicates} duplicates); {answers}; stored after {p50:.0f} ms (median), {p90:.0f} ms (90 %),"
            f" {p99:.0f} ms (99 %), at most {1000 * max(self.latencies_s):.0f} ms{disk}; cores in use: {busy}"
        )


def message(number: int, at: int) -> bytes:
    """A device-type message of a usual size."""
    dice = random.Random(number * 1_000_003 + at)
    solar, load = dice.randrange(0, 9000), dice.randrange(200, 4000)
    body = {
        "time": at,
        "siteNodeId": f"site-{number}",
        "grid": {
            "active_power_W": load - solar,
            "today_imported_energy_Wh": dice.randrange(20_000),
            "today_exported_energy_Wh": dice.randrange(20_000),
            "import_limit_W": 17_250,
            "export_limit_W": 10_000,
        },
        "solar": {"active_power_W": solar, "today_energy_Wh": dice.randrange(40_000)},
        "storage": {
            "active_power_W": 0,
            "energy_stored_Wh": 5000,
            "energy_capacity_Wh": 10_000,
            "mean_soc_perc": 50,
            "today_charged_Wh": dice.randrange(9000),
            "today_discharged_Wh": dice.randrange(9000),
        },
        "heat_pump": {"active_power_W": 0, "operation_modes": ["off"]},
        "switched_load": {"active_power_W": 2000},
        "variable_power_load": {"active_power_W": 0},
    }
    return json.dumps(body, separators=(",", ":")).encode()


def request(host: str, path: str, due: Due) -> bytes:
    body = message(due.site, due.time)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer token-{due.site}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nUser-Agent: telemetry-push-agent/0\r\n"
        f'Idempotency-Key: "{due.identity}"\r\nwebhook-id: {due.identity}\r\n'
        "X-Telemetry-Attempt: 0\r\nX-Telemetry-Backlog: 0\r\n\r\n"
    )
    return head.encode() + body


def schedule(sites: int, minutes: range, began: int, backlog: float) -> Iterator[Due]:
    """The live messages, and in each minute one message of the backlog from this share of the sites."""
    dice = random.Random(minutes.start)
    for minute in minutes:
        start = (minute - minutes.start) * INTERVAL_S
        for site in range(sites):
            phase = INTERVAL_S * site / sites
            yield Due(start + phase, site, began + minute * INTERVAL_S + int(phase), new_id())
            if dice.random() < backlog:
                ago = DAY_S if site % 10 == 0 else HOUR_S
                yield Due(start + dice.random() * INTERVAL_S, site, began - ago + minute * INTERVAL_S, new_id())


def new_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


async def sync_often(file: Path, result: Result) -> None:
    """Measure the disk until cancelled."""

    def once(output: BinaryIO) -> float:
        began = time.monotonic()
        output.write(b"x")
        os.fdatasync(output.fileno())
        return time.monotonic() - began

    with file.open("wb", buffering=0) as output:
        while True:
            result.slowest_sync_s = max(result.slowest_sync_s, await asyncio.to_thread(once, output))
            await asyncio.sleep(0.1)


class Load:
    """The sites of the fleet, and what they sent."""

    def __init__(self, endpoint: Fleet, sites: int, scratch: Path) -> None:
        self._endpoint = endpoint
        self._scratch = scratch
        parts = urlsplit(endpoint.url)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 0, parts.path
        self._count = sites
        self._sites: list[Site] = []
        self.ids: set[str] = set()
        self.newest: dict[int, int] = {}

    async def connect(self) -> None:
        limit = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def one(number: int) -> Site:
            async with limit:
                return await self._connected(number)

        self._sites = list(await asyncio.gather(*map(one, range(self._count))))

    async def _connected(self, number: int) -> Site:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Site(number), self._host, self._port))[1]

    async def phase(self, name: str, minutes: range, began: int, backlog: float) -> Result:
        """Send the messages of these minutes, each at its time."""
        result, dice = Result(name), random.Random(name)
        due = sorted(schedule(self._count, minutes, began, backlog))
        before, start = self._cpu(), time.monotonic()
        disk = asyncio.create_task(sync_often(self._scratch / "sync", result))
        async with asyncio.TaskGroup() as group:
            for each in due:
                if (wait_s := start + each.at - time.monotonic()) > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(self._deliver(each, start, result, again=dice.random() < DUPLICATES))
        disk.cancel()
        self._measure(result, before, start)
        return result

    async def capacity(self, began: int) -> Result:
        """Some sites send without pauses."""
        result = Result(f"{CAPACITY_SITES} sites without pauses")
        before, start = self._cpu(), time.monotonic()

        async def one(site: int) -> None:
            second = began
            while time.monotonic() < start + CAPACITY_S:
                second += 1
                due = Due(time.monotonic() - start, site, second, new_id())
                await self._deliver(due, start, result, again=False)

        await asyncio.gather(*map(one, range(min(CAPACITY_SITES, self._count))))
        self._measure(result, before, start)
        return result

    async def _deliver(self, due: Due, start: float, result: Result, *, again: bool) -> None:
        data = request(self._host, self._path, due)
        while await self._send(due.site, data, result) != 204:  # noqa: ASYNC110 - the agent waits too
            await asyncio.sleep(random.uniform(*RETRY_S))
        result.latencies_s.append(time.monotonic() - start - due.at)
        if again:
            await self._send(due.site, data, result)
            result.duplicates += 1
        self.ids.add(due.identity)
        self.newest[due.site] = max(due.time, self.newest.get(due.site, 0))

    async def _send(self, site: int, data: bytes, result: Result) -> int:
        if self._sites[site].closed:
            self._sites[site] = await self._connected(site)
        status = await self._sites[site].send(data)
        result.statuses[status] += 1
        return status

    def _cpu(self) -> dict[str, float]:
        used = {"workers": cpu_s(self._endpoint.process), "PostgreSQL": cpu_s(self._endpoint.database.process)}
        return used | {"load": time.process_time()}

    def _measure(self, result: Result, before: dict[str, float], start: float) -> None:
        result.wall_s = time.monotonic() - start
        result.cpu_s = {name: used - before[name] for name, used in self._cpu().items()}

    def close(self) -> None:
        for site in self._sites:
            site.close()


def check(load: Load, database: Database) -> list[str]:
    """Raise AssertionError if a message is missing, double, or not the newest. Return lines about the tables."""
    stored = {row[0] for row in database.run("SELECT id FROM message")}
    assert stored == load.ids, f"{len(load.ids - stored)} messages are missing, {len(stored - load.ids)} are strange"
    (rows,) = database.run("SELECT count(*) FROM message")[0]
    assert int(rows) == len(stored), f"{int(rows) - len(stored)} messages are double"
    latest = database.run("SELECT substr(site, 6), extract(epoch FROM time)::bigint FROM latest")
    assert {int(site): int(at) for site, at in latest} == load.newest, "a newer message was replaced by an older one"
    days = database.run("SELECT tableoid::regclass, count(*) FROM message GROUP BY 1 ORDER BY 1")
    size, indexes = database.run(
        "SELECT sum(pg_total_relation_size(inhrelid)), sum(pg_indexes_size(inhrelid))"
        " FROM pg_inherits WHERE inhparent = 'message'::regclass"
    )[0]
    (latest_size,) = database.run("SELECT pg_total_relation_size('latest')")[0]
    (hot,) = database.run("SELECT n_tup_hot_upd::float8 / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'latest'")[
        0
    ]
    return [
        f"stored: {rows} messages, each once; " + ", ".join(f"{name} {count}" for name, count in days),
        f"size: {int(size) / int(rows):.0f} bytes a message, {int(indexes) / int(rows):.0f} of them indexes",
        f"size of latest: {int(latest_size) / 1e6:.1f} MB",
        f"updates of latest without an index entry: {100 * float(hot):.0f} %",
    ]


def lsn(database: Database) -> int:
    return int(database.run("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])


async def run(sites: int, minutes: int, workers: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    settings = {"shared_buffers": "512MB", "max_wal_size": "4GB", "wal_compression": "on"}
    with (
        TemporaryDirectory(prefix="load-") as scratch,
        fleet(Path(scratch), sites, workers, settings=settings) as endpoint,
    ):
        load, began, wal = Load(endpoint, sites, Path(scratch)), int(time.time()), lsn(endpoint.database)
        await load.connect()
        print(f"{sites} connections, {workers} workers, 1 PostgreSQL", flush=True)
        print((await load.phase("steady", range(1), began, 0.0)).line(), flush=True)
        if minutes > 1:
            print((await load.phase("after an outage", range(1, minutes), began, 0.5)).line(), flush=True)
        print(f"WAL: {(lsn(endpoint.database) - wal) / len(load.ids):.0f} bytes a message")
        print(f"memory of the workers, not shared: {memory_mb(endpoint.process):.0f} MB")
        print(*check(load, endpoint.database), sep="\n", flush=True)
        print((await load.capacity(began + DAY_S)).line(), flush=True)
        check(load, endpoint.database)
        load.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(run(options.sites, options.minutes, options.workers))


if __name__ == "__main__":
    main()
