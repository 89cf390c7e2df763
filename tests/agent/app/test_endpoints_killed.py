"""The process of a site with three endpoints is killed and reloaded while receivers fail: each receives its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.agent.app.test_endpoints import SECRET, Proxy, delivered, labels, meters, push, receives_its_own
from tests.faults import http
from tests.faults.certificates import Authority
from tests.faults.http import HttpFaults, answer
from tests.support.site import WAIT_S

PORTAL_S, TRADER_S, ARCHIVE_S = 4, 1, 2


@dataclass(slots=True)
class Process:
    """The daemon of one configuration file. It is started and killed several times."""

    folder: Path
    devices: str
    stored: dict[str, set[str]] = field(default_factory=dict)
    """Name of a queue file → ids of the messages that were in it at a kill."""
    _running: asyncio.subprocess.Process | None = None

    async def start(self, *pushes: str) -> None:
        self._write(pushes)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TELEMETRY_AGENT__")}
        arguments = ("-m", "agent", "run", "--config", str(self._config))
        self._running = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environ)

    async def reload(self, *pushes: str) -> None:
        self._write(pushes)
        self._signal(signal.SIGHUP)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)
        for queue in self._queues():
            self.stored.setdefault(queue.name, set()).update(_waiting(queue))

    async def end(self) -> None:
        """End the daemon when all queues are empty."""
        async with asyncio.timeout(WAIT_S):
            while any(map(_waiting, self._queues())):  # noqa: ASYNC110 - filled by another process
                await asyncio.sleep(0.1)
        assert await self._end(signal.SIGTERM) == 0

    async def _end(self, number: signal.Signals) -> int:
        assert self._running is not None
        self._signal(number)
        return await asyncio.wait_for(self._running.wait(), WAIT_S)

    def _signal(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    @property
    def _config(self) -> Path:
        return self.folder / "config.toml"

    def _write(self, pushes: tuple[str, ...]) -> None:
        self._config.write_text(
            f'[site]\nnode_id = "SITE_1"\n{"".join(pushes)}[poll]\ninterval_s = 0.5\nstale_after_s = 5\n'
            f'[outbox]\npath = "{self.folder}/state/outbox.sqlite3"\nbacklog_rate_per_s = 50.0\n{self.devices}'
        )

    def _queues(self) -> list[Path]:
        return sorted((self.folder / "state").glob("outbox*.sqlite3"))


def _waiting(queue: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(queue)) as opened:
        return {row[0] for row in opened.execute("SELECT id FROM message")}


@dataclass(slots=True)
class Receivers:
    """Three servers, and the table of each endpoint."""

    portal: HttpFaults
    trader: HttpFaults
    archive: HttpFaults
    proxy: Proxy
    devices: str
    folder: Path
    authority: Authority

    @property
    def portal_table(self) -> str:
        return push("portal", self.portal.url(), f"interval_s = {PORTAL_S}")

    def trader_table(self, name: str, *more: str) -> str:
        return push(
            name,
            self.trader.url(),
            f"interval_s = {TRADER_S}",
            'levels = ["device"]',
            'nodes = ["pv-*"]',
            f'signing_secret_file = "{self.folder}/secret"',
            'node_ids = { "pv-1" = "theirs" }',
            'site_node_id = "their-site"',
            *more,
        )

    @property
    def archive_table(self) -> str:
        client = self.authority.issue("client")
        return push(
            "archive",
            self.archive.url(),
            f"interval_s = {ARCHIVE_S}",
            'levels = ["device_type", "device"]',
            'device_format = "snapshot"',
            f'ca_file = "{self.authority.ca_file}"',
            f'client_cert_file = "{client.cert_file}"',
            f'client_key_file = "{client.key_file}"',
            f'proxy_url = "http://127.0.0.1:{self.proxy.port}"',
        )


@asynccontextmanager
async def receivers(folder: Path) -> AsyncIterator[Receivers]:
    (folder / "secret").write_text(f"whsec_{SECRET}")
    (folder / "secret").chmod(0o600)
    authority, proxy = Authority(folder), Proxy()
    context = authority.server_context(authority.issue("127.0.0.1"), require_client=True)
    async with AsyncExitStack() as stack:
        devices, _ = await stack.enter_async_context(meters())
        portal, trader, archive = [
            await stack.enter_async_context(HttpFaults(answer(200), tls)) for tls in (None, None, context)
        ]
        await stack.enter_async_context(proxy.serving())
        yield Receivers(portal, trader, archive, proxy, devices, folder, authority)


def more(server: HttpFaults, count: int) -> Callable[[], bool]:
    """Whether the server accepted `count` more messages since this call."""
    before = len(server.accepted)
    return lambda: len(server.accepted) >= before + count


def used(server: HttpFaults, name: str) -> Callable[[], bool]:
    """Whether the server received a message with the token of this endpoint since this call."""
    before = len(server.accepted)
    return lambda: any(each.headers["authorization"] == f"Bearer token-of-{name}" for each in server.accepted[before:])


async def test_three_endpoints_with_faults_reloads_and_kills_each_receive_exactly_their_own(tmp_path: Path) -> None:
    async with receivers(tmp_path) as site:
        portal, trader, archive = site.portal, site.trader, site.archive
        process = Process(tmp_path, site.devices)
        both = site.portal_table, site.archive_table
        await process.start(both[0], site.trader_table("trader"), both[1])
        await archive.until(more(archive, 2))
        trader.behaviour = http.reset_after_body()
        archive.behaviour = http.hang_before_headers()
        await archive.until(more(archive, 2))
        await trader.until(more(trader, 3))
        await process.kill()

        trader.behaviour, archive.behaviour = answer(503), answer(429)
        await process.start(both[0], site.trader_table("trader"), both[1])
        await trader.until(more(trader, 3))
        renamed = both[0], site.trader_table("desk", 'formerly = "trader"')
        await process.reload(*renamed)  # the archive is removed while its messages wait
        await trader.until(used(trader, "desk"))
        await portal.until(more(portal, 1))
        await process.kill()

        trader.behaviour = archive.behaviour = answer(200)
        portal.behaviour = answer(401)
        await process.start(*renamed)
        await trader.until(more(trader, 4))
        await process.reload(*renamed, both[1])
        await archive.until(more(archive, 2))
        await process.kill()

        portal.behaviour = answer(200)
        await process.start(*renamed, both[1])
        await portal.until(more(portal, 2))
        await process.end()
    receives_its_own(portal, trader, archive, complete=False)
    assert set(site.proxy.targets) == {f"127.0.0.1:{archive.port}"}
    arrived = {each.headers["webhook-id"] for server in (portal, trader, archive) for each in delivered(server)}
    assert set(process.stored) == {
        "outbox.sqlite3",
        "outbox.trader.sqlite3",
        "outbox.desk.sqlite3",
        "outbox.archive.sqlite3",
    }
    assert all(process.stored.values()), "each queue had messages at a kill"
    assert set().union(*process.stored.values()) <= arrived
    for server, interval_s in ((portal, PORTAL_S), (trader, TRADER_S), (archive, ARCHIVE_S)):
        assert len({label % interval_s for label in labels(server)}) <= 2, "a rename moves the phase"
