"""The daemon seen by its service manager: a notify socket, and signals.

Where the process itself is the subject, the daemon is one, and the tests only wait for events. The others run it in
their own event loop, where no load of the machine counts as time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import pytest
from structlog.testing import capture_logs

from agent.config import load
from agent.config.apart import plain
from agent.service.daemon import Daemon
from agent.service.sd_notify import notify
from agent.site.builder import build
from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.delivery import FastClock
from tests.support.ports import free_port
from tests.support.site import TOKEN, WAIT_S, Endpoint, configuration, daemon, device, sdm630

OTHER_TOKEN = "another-token-nobody-may-read"


class Manager:
    """The service manager's end of the socket. Within `with`, it always reads."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def fill(self) -> None:
        """Fill the queue of the socket, so that nothing fits into it until the manager reads."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, contextlib.suppress(BlockingIOError):
            other.setblocking(False)
            while True:
                other.sendto(b"", self.address)

    def received(self) -> list[str]:
        """The lines that nobody has waited for yet."""
        self._read()
        return [self._lines.get_nowait() for _ in range(self._lines.qsize())]

    async def wait_for(self, wanted: Callable[[str], object]) -> str:
        """The next line that is `wanted`."""
        async with asyncio.timeout(WAIT_S):
            while not wanted(line := await self._lines.get()):
                pass
        return line

    async def ready(self) -> None:
        await self.wait_for("READY=1".__eq__)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                for line in self._socket.recv(4096).decode().split("\n"):
                    self._lines.put_nowait(line)

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@contextlib.asynccontextmanager
async def served(config: Path, manager: Manager, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The daemon as a process."""
    async with daemon(config, NOTIFY_SOCKET=manager.address, **environ) as process:
        yield process


@contextlib.asynccontextmanager
async def inside(path: Path, manager: Manager, endpoints: int = 1, **more: str) -> AsyncIterator[Daemon]:
    """The daemon in the event loop of the test; `hang_up` reaches it.

    With several `endpoints`, the file says that they do not wait for the clock.
    """
    no_wait = {"TELEMETRY_AGENT__PUSH__WAIT_FOR_CLOCK_S": "0"} if endpoints == 1 else {}
    environ = {"NOTIFY_SOCKET": manager.address, **no_wait, **more}
    config = plain(load(path, environ))  # as `load_apart` (tests/agent/config/test_apart.py)
    agent = Daemon(path, config, build(config, str(path)), environ, lambda _: None, FastClock(1.0, time.time()))

    def ready() -> None:
        notify("READY=1", environ=environ)

    with capture_logs() as logs:
        task = asyncio.create_task(agent.run(ready))
        try:
            await manager.ready()
            yield agent
        finally:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError), result
    assert TOKEN not in repr(logs)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


async def test_says_when_it_is_ready_how_it_goes_and_that_it_stops(tmp_path: Path) -> None:
    with Endpoint() as endpoint, Manager(tmp_path) as manager:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            async with served(config, manager, WATCHDOG_USEC="300000") as process:
                await manager.ready()
                for _ in range(3):
                    await manager.wait_for("WATCHDOG=1".__eq__)
                await endpoint.wait_for(1)
                await manager.wait_for(lambda line: line.startswith("STATUS=1 of 1 devices answer; last push "))
                process.send_signal(signal.SIGHUP)
                await manager.wait_for("RELOADING=1".__eq__)
                await manager.ready()
            await manager.wait_for("STOPPING=1".__eq__)


async def test_a_manager_that_does_not_read_holds_up_no_push(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter), "wait_for_clock_s = 0")
            manager.fill()
            async with served(config, manager, WATCHDOG_USEC="300000"):
                await endpoint.wait_for(3)
                with manager:
                    await manager.ready()
                    await manager.wait_for("WATCHDOG=1".__eq__)
                    await manager.wait_for(lambda line: line.startswith("STATUS=1 of 1 devices answer; last push "))


async def test_the_status_line_names_each_of_several_endpoints(tmp_path: Path) -> None:
    with Endpoint() as endpoint, Manager(tmp_path) as manager:
        async with FaultServer({(1, Table.INPUT): sdm630(500.0, 1.0, 0.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter), "wait_for_clock_s = 0")
            text = config.read_text()
            start, end = text.index("[push]"), text.index("[poll]")
            one = text[start:end].replace("[push]", "[[push]]")
            two = f'{one}name = "portal"\n{one}name = "trader"\n'.replace(endpoint.url, "http://127.0.0.1:9/", 2)
            two = two.replace("http://127.0.0.1:9/", endpoint.url, 1)
            config.write_text(text[:start] + two + text[end:])
            async with inside(config, manager, endpoints=2):
                line = "STATUS=1 of 1 devices answer; portal: last push .*, 0 waiting; trader: nothing pushed yet, "
                await manager.wait_for(
                    lambda told: re.match(f"{line}[1-9][0-9]* waiting, pushes fail: no connection", told)
                )


async def test_a_configuration_that_is_refused_is_never_ready(tmp_path: Path) -> None:
    config = configuration(tmp_path, "ftp://nowhere", "")
    with Manager(tmp_path) as manager:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "run", "--config", str(config)),
            env={**os.environ, "NOTIFY_SOCKET": manager.address},
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 78
        assert "push.url" in errors.decode()
        assert manager.received() == []


async def test_starts_without_network_names_endpoint_or_device(tmp_path: Path) -> None:
    device_tables = """
[[device]]
node_id = "meter-1"
type = "grid"
driver = "eastron-sdm630"
host = "meter.invalid"
"""
    with Manager(tmp_path) as manager:
        config = configuration(tmp_path, "https://telemetry.invalid/v1", device_tables)
        async with inside(config, manager):
            await manager.wait_for(lambda line: re.match("STATUS=0 of 1 devices answer.* [1-9][0-9]* waiting", line))


async def test_a_second_agent_on_the_same_queue_ends_and_says_why(tmp_path: Path) -> None:
    """As when somebody tries `run` on the console beside the service."""
    with Endpoint() as endpoint, Manager(tmp_path) as manager:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            async with served(config, manager):
                await manager.ready()
                second = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "agent", "run", "--config", str(config)), stderr=asyncio.subprocess.PIPE
                )
                _, errors = await second.communicate()
                assert second.returncode == 1
                assert f"another agent is running with the queue and energies in {tmp_path}/state: stop it" in str(
                    errors
                )
                await endpoint.wait_for(len(endpoint.verdicts) + 1)
                assert meter.max_connections == 1


async def test_a_reload_changes_what_changed_and_nothing_else(tmp_path: Path) -> None:
    with Endpoint() as first, Endpoint(OTHER_TOKEN) as second, Manager(tmp_path) as manager:
        async with (
            FaultServer({(1, Table.INPUT): sdm630(100.0, 2.0, 0.0)}) as same,
            FaultServer({(1, Table.INPUT): sdm630(200.0, 2.0, 0.0)}) as before,
            FaultServer({(1, Table.INPUT): sdm630(300.0, 2.0, 0.0)}) as after,
        ):
            charger = ("charger-1", "variable_power_load")
            meter = device("meter-1", "grid", same)
            config = configuration(tmp_path, first.url, meter + device(*charger, before))
            async with inside(config, manager):
                await first.wait_for(2)
                same.registers[1, Table.INPUT].update(sdm630(100.0, 2.5, 0.0))
                await first.wait_for(len(first.verdicts) + 2)
                configuration(tmp_path, second.url, meter + device(*charger, after), token=OTHER_TOKEN)
                hang_up()
                await manager.wait_for("RELOADING=1".__eq__)
                await manager.ready()
                seen = len(first.verdicts)
                await second.wait_for(3)
                assert len(first.verdicts) == seen
            assert same.total_connections == 1
            assert before.connections == 0
    assert second.desk.counts["refused"] == 0, "the new token goes with the new URL"
    message = second.messages[-1]
    assert message["grid"]["today_imported_energy_Wh"] == 500
    assert message["variable_power_load"]["active_power_W"] == 300
    times = [each["time"] for each in first.messages + second.messages]
    assert sorted(times) == list(range(min(times), max(times) + 1)), "no push is lost or made twice"


async def test_a_bad_file_leaves_the_old_configuration_running_and_says_why(tmp_path: Path) -> None:
    with Endpoint() as endpoint, Manager(tmp_path) as manager:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            good = config.read_text()
            async with inside(config, manager):
                await endpoint.wait_for(1)
                config.write_text(good.replace("interval_s = 1\n", "interval_s = 0\n"))
                hang_up()
                told = await manager.wait_for(lambda line: "reload refused" in line)
                assert "push.interval_s" in told
                config.write_text(good.replace("outbox.sqlite3", "elsewhere.sqlite3"))
                hang_up()
                told = await manager.wait_for(lambda line: "outbox.path" in line)
                await endpoint.wait_for(len(endpoint.verdicts) + 2)
                config.write_text(good)
                hang_up()
                await manager.wait_for("RELOADING=1".__eq__)
                await manager.wait_for("READY=1".__eq__)
                told = await manager.wait_for(lambda line: line.startswith("STATUS="))
                assert "refused" not in told
            assert meter.total_connections == 1
    times = sorted(message["time"] for message in endpoint.messages)
    assert times == list(range(times[0], times[0] + len(times)))


async def test_the_status_line_of_a_reload_is_replaced_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a device that does not answer during the reload and answers again before the next look at the status."""
    texts = ["STATUS=3 of 3"]

    async def status(_: Daemon) -> str:
        return texts.pop() if len(texts) > 1 else texts[0]

    async def apply(*_: object) -> None:
        texts.append("STATUS=2 of 3")

    async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
        config = configuration(tmp_path, "http://127.0.0.1:9/", device("meter-1", "grid", meter))
        monkeypatch.setattr(Daemon, "_status", status)
        monkeypatch.setattr(Daemon, "_apply", apply)
        with Manager(tmp_path) as manager:
            async with inside(config, manager):
                await manager.wait_for("STATUS=3 of 3".__eq__)
                hang_up()
                await manager.wait_for("STATUS=2 of 3".__eq__)
                await manager.wait_for("STATUS=3 of 3".__eq__)


async def test_new_bounds_of_the_queue_keep_what_waits(tmp_path: Path) -> None:
    with Endpoint() as endpoint, Manager(tmp_path) as manager:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            away = f"http://127.0.0.1:{free_port()}/"
            config = configuration(tmp_path, away, device("meter-1", "grid", meter))
            async with inside(config, manager):
                await manager.wait_for(lambda line: re.search("([2-9]|[0-9]{2,}) waiting", line))
                config.write_text(
                    config.read_text().replace(away, endpoint.url).replace("[outbox]", "[outbox]\nmax_size_mb = 2")
                )
                hang_up()
                await endpoint.wait_for_all(5)
    times = sorted(message["time"] for message in endpoint.messages)
    assert times == list(range(times[0], times[0] + len(times)))


async def test_what_is_stuck_does_not_feed_the_watchdog(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
        config = configuration(tmp_path, "http://127.0.0.1:9/", device("meter-1", "grid", meter))
        with Manager(tmp_path) as manager:
            async with inside(config, manager, WATCHDOG_USEC="60000") as agent:
                await manager.wait_for("WATCHDOG=1".__eq__)
                with agent.app.watchdog.running("something", 0.0):
                    manager.received()
                    await asyncio.sleep(0.4)
                    assert "WATCHDOG=1" not in manager.received()
                await manager.wait_for("WATCHDOG=1".__eq__)


def descriptors_of(pid: int) -> dict[int, str]:
    return {number: str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in range(3)}


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
async def test_it_runs_without_standard_streams_and_no_file_gets_their_numbers(tmp_path: Path, closed: str) -> None:
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(42.5, 1.0, 2.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            command = shlex.join([sys.executable, "-m", "agent", "run", "--config", str(config)])
            process = await asyncio.create_subprocess_shell(f"exec {command} {closed}")
            try:
                await endpoint.wait_for(2)
                descriptors = await asyncio.to_thread(descriptors_of, process.pid)
            finally:
                process.terminate()
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
    assert descriptors[2] == os.devnull
    assert not {link for link in descriptors.values() if "socket" in link or "sqlite" in link}
