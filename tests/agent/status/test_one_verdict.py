"""All that shows delivery reads one verdict: log, STATUS, /readyz, metrics, page and `telemetry-agent status`."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from structlog.testing import capture_logs

from agent.cli.status_view import ask, layout
from agent.config.loader import load
from agent.service.daemon import Daemon
from agent.site.builder import build
from drivers.model import Table
from tests.faults.disk import fill, small_disk
from tests.faults.http import Behaviour, Exchange, HttpFaults, answer, hang_before_headers
from tests.faults.modbus import FaultServer
from tests.support.delivery import FastClock
from tests.support.ports import free_port
from tests.support.site import WAIT_S, configuration, device, sdm630

SNAPSHOT_AGE_S = 0.6
"""The listener takes at most two snapshots a second."""
PUSH = "retry = { initial_s = 0.05, max_s = 0.2 }\nwait_for_clock_s = 0"
SCHEMA = "several different messages refused, the last with HTTP 422: no such field"


@dataclass(frozen=True)
class Shown:
    """What each of the six says at about one moment."""

    log: list[str]
    """The events about the endpoint so far, without those of level debug."""
    status_line: str
    readyz: tuple[int, str]
    ready: float
    failing_s: float
    pushes: dict[str, float]
    page: dict[str, Any]
    """The page has no source but /status.json."""
    command: str


class Line:
    """A real daemon with a status listener and a notify socket, in front of an endpoint that the test changes."""

    def __init__(self, folder: Path, port: int, status_lines: list[str], logs: list[Any]) -> None:
        self._config = load(folder / "config.toml", {})
        self._port = port
        self.status_lines = status_lines
        self._logs = logs

    async def shown(self) -> Shown:
        metrics = samples((await self._get("/metrics"))[1])
        code, body = await self._get("/readyz")
        assert self._config.status is not None
        asked = await asyncio.to_thread(ask, self._config.status)
        console = Console(file=StringIO(), width=200)
        console.print(layout(asked))
        assert isinstance(console.file, StringIO)
        return Shown(
            [
                each["event"]
                for each in self._logs
                if each["event"].startswith(("push_", "endpoint_")) and each["log_level"] != "debug"
            ],
            self.status_lines[-1] if self.status_lines else "",
            (code, body.strip()),
            metrics["telemetry_agent_ready",],
            metrics["telemetry_agent_push_failing_seconds", "default"],
            {name[2]: value for name, value in metrics.items() if name[0] == "telemetry_agent_pushes_total"},
            json.loads((await self._get("/status.json"))[1]),
            console.file.getvalue(),
        )

    async def until(self, holds: Callable[[Shown], bool]) -> Shown:
        async with asyncio.timeout(WAIT_S):
            while not holds(shown := await self.shown()):  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(SNAPSHOT_AGE_S / 2)
        return shown

    async def _get(self, path: str) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def line(
    folder: Path, server: HttpFaults, meter: FaultServer, clock: FastClock | None = None, push: str = PUSH
) -> AsyncIterator[Line]:
    port = free_port()
    path = configuration(folder, server.url(), device("meter-1", "grid", meter), push)
    path.write_text(path.read_text() + f'[status]\nlisten = "127.0.0.1:{port}"\n')
    config = load(path, {})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, capture_logs() as logs:
        manager.bind(str(folder / "notify"))
        manager.setblocking(False)
        status_lines: list[str] = []

        def receive() -> None:
            status_lines.extend(each for each in manager.recv(4096).decode().split("\n") if each.startswith("STATUS="))

        # Read at once: while ten messages wait in the socket, the daemon drops its other ones.
        asyncio.get_running_loop().add_reader(manager, receive)
        environ = {"NOTIFY_SOCKET": str(folder / "notify")}
        clock = clock or FastClock(1.0, time.time())
        agent = Daemon(path, config, build(config, str(path)), environ, lambda _: None, clock)
        running = asyncio.create_task(agent.run(lambda: None))
        try:
            async with asyncio.timeout(WAIT_S):
                while agent.app.status is None or agent.app.status.port is None:  # noqa: ASYNC110 - its task sets it
                    await asyncio.sleep(0.01)
            yield Line(folder, port, status_lines, logs)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            asyncio.get_running_loop().remove_reader(manager)


def all_well(shown: Shown) -> bool:
    return "last push" in shown.status_line and "pushes fail" not in shown.status_line and shown.readyz == (200, "ok")


@pytest.mark.parametrize(
    ("fault", "outcome", "event", "reason"),
    [
        (answer(422, b"no such field"), "misconfigured", "endpoint_misconfigured", SCHEMA),
        (answer(404, b"no such page"), "misconfigured", "endpoint_misconfigured", "HTTP 404: no such page"),
        (answer(503, b"down"), "retry", "push_failed", "HTTP 503: down"),
    ],
    ids=["schema", "misconfigured", "failing"],
)
async def test_all_six_say_the_same_of_an_endpoint_that_stops_to_accept(
    tmp_path: Path, fault: Behaviour, outcome: str, event: str, reason: str
) -> None:
    async with (
        HttpFaults(answer(200)) as server,
        FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter,
        line(tmp_path, server, meter) as seen,
    ):
        await server.until(lambda: len(server.accepted) >= 3)
        well = await seen.until(lambda shown: all_well(shown) and shown.pushes["delivered"] >= 3)
        assert well.log == []
        assert (well.ready, well.failing_s, well.page["ready"]) == (1, 0, True)
        assert "not pushing" not in well.command

        server.behaviour = fault
        await seen.until(lambda shown: event in shown.log and reason in shown.status_line)
        await asyncio.sleep(SNAPSHOT_AGE_S)
        told = await seen.shown()
        assert told.status_line.endswith(f"; pushes fail: {reason}")
        assert told.readyz[0] == 503
        assert told.readyz[1].startswith("no delivery for ")
        assert told.readyz[1].endswith(f": {reason}")
        assert told.ready == 0
        assert told.failing_s > 0
        assert told.pushes[outcome] >= 1
        assert told.page["ready"] is False
        assert told.page["reason"].endswith(f": {reason}")
        assert told.page["endpoints"][0]["failing_s"] > 0
        assert told.page["endpoints"][0]["outcomes"][outcome] >= 1
        assert told.page["endpoints"][0]["recent"][0]["outcome"] == outcome
        assert told.page["endpoints"][0]["recent"][0]["reason"] == reason
        assert "not pushing" in told.command
        assert reason in told.command

        server.behaviour = answer(200)
        again = await seen.until(lambda shown: "push_recovered" in shown.log and all_well(shown))
        assert again.log == [event, "push_recovered"]
        assert (again.ready, again.failing_s, again.page["ready"]) == (1, 0, True)
        assert "not pushing" not in again.command


async def agreed(seen: Line, why: str) -> None:
    """Wait until all say a reason with the words `why`. The seconds in a reason go on while the test reads it."""

    def all_say(shown: Shown) -> bool:
        said = (shown.status_line, shown.readyz[1], shown.page["reason"] or "", shown.command)
        return all(why in words for words in said)

    told = await seen.until(all_say)
    assert (told.readyz[0], told.ready, told.failing_s) == (503, 0, 0)
    assert "pushes fail" not in told.status_line


async def test_all_say_that_pushes_wait_for_the_clock(tmp_path: Path) -> None:
    async with (
        HttpFaults(answer(200)) as server,
        FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter,
        line(tmp_path, server, meter, FastClock(1.0, 40.0), "wait_for_clock_s = 600") as seen,
    ):
        await agreed(seen, "the clock is not set yet; pushes wait for it")


async def test_all_say_that_nothing_was_delivered_for_long_although_no_attempt_failed(tmp_path: Path) -> None:
    async with (
        HttpFaults(answer(200)) as server,
        FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter,
        line(tmp_path, server, meter, FastClock(20.0, time.time()), f"{PUSH}\ntimeout_s = 300") as seen,
    ):
        await server.until(lambda: len(server.accepted) >= 1)
        server.behaviour = hang_before_headers()
        await agreed(seen, "nothing delivered for ")
        parts = {part for each in seen.status_lines for part in each.split("; ") if part.startswith("nothing del")}
        assert parts <= {"nothing delivered since the start", "nothing delivered for long"}, "no duration: sent once"


async def test_all_say_that_the_endpoint_is_too_slow(tmp_path: Path) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.accept()
        await asyncio.sleep(1.5)
        await exchange.answer(200)

    push = f'{PUSH}\nconnections = 1\nlevels = ["device_type", "device"]'
    async with (
        HttpFaults(slow) as server,
        FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter,
        line(tmp_path, server, meter, push=push) as seen,
    ):
        await agreed(seen, "live messages are late: the endpoint takes ")


async def test_all_say_that_messages_or_energies_are_only_in_memory(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state") as disk:
        filler = fill(disk)
        async with (
            HttpFaults(answer(200)) as server,
            FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter,
            line(tmp_path, server, meter) as seen,
        ):
            told = await seen.until(lambda shown: "last push" in shown.status_line and shown.page["ready"])
            for words in (told.status_line, told.readyz[1], told.page["not_on_disk"], told.command):
                assert "the disk accepts no writes: new messages and energies are only in memory" in words
            assert told.readyz[0] == 200, "messages arrive at the endpoint"
            assert (told.page["endpoints"][0]["backlog"]["in_memory"], told.page["energies_in_memory"]) == (True, True)
            filler.unlink()
            # The energies are saved with the next push.
            again = await seen.until(lambda shown: all_well(shown) and "only in memory" not in shown.status_line)
            assert again.page["not_on_disk"] is None
            assert "only in memory" not in again.command
            assert not again.page["endpoints"][0]["backlog"]["in_memory"]
            assert not again.page["energies_in_memory"]


async def test_one_message_that_is_refused_says_nothing_of_the_endpoint(tmp_path: Path) -> None:
    async with (
        HttpFaults(answer(200)) as server,
        FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter,
        line(tmp_path, server, meter) as seen,
    ):
        await server.until(lambda: len(server.accepted) >= 2)
        server.script.append(answer(422, b"no such field"))
        shown = await seen.until(lambda shown: shown.pushes["refused"] == 1 and all_well(shown))
        assert (shown.ready, shown.failing_s, shown.pushes["misconfigured"]) == (1, 0, 0)
        assert shown.log == []
