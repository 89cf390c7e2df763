"""The daemon beside Telegraf and a bare asyncio client that do the same polls: CPU time and memory.

Each device has 20 adjacent float32 values and is polled once a second. All three run at the same time, against the same
devices, so that the load of the machine is the same for all. The devices are one process; each client has a port of its
own there, so that its polls are counted. Telegraf is measured if its program is on the PATH (docs/benchmarks.md).

Telegraf sends all values every 5 s as line protocol; the daemon sends one message of the device types every 5 s, and
writes it to the disk before.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import Process
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from agent.polling.due_times import LINKS_AT_ONCE
from benchmarks._daemon import CONTEXT, VALUES, Bare, Device, cpu_s, memory_mb, profile, serve_endpoint
from benchmarks._figures import Figure, table

FEW, SIZES = 50, (200, 500)
WARM_UP_S = 12.0
MEMORY_AFTER_S = 120.0
"""The heap of Telegraf grows for about this many seconds."""
MEASURED_S = 10.0
ROUNDS = 3
AS_SERVICE = {"MALLOC_ARENA_MAX": "1"}
"""As in the unit of the service."""
OF_TELEGRAF, OF_BARE, LEAST_RATE = 1.25, 2.2, 0.995


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def serve(pipe: Connection, clients: int) -> None:
    """Serve all devices at one port for each client. At each message from the pipe, send the number of requests."""
    kinds: list[type[Device]] = [type("Counted", (Device,), {"requests": 0}) for _ in range(clients)]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(kind, "0.0.0.0", 0, backlog=1000) for kind in kinds]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        loop.add_reader(pipe.fileno(), count)
        await asyncio.Event().wait()

    def count() -> None:
        pipe.recv()
        pipe.send([kind.requests for kind in kinds])

    asyncio.run(run())


def bare_client(devices: int, port: int) -> None:
    """Poll with nothing but asyncio. As in the daemon, as many devices as `LINKS_AT_ONCE` are polled at one moment."""

    async def one(number: int) -> None:
        await asyncio.sleep(number // LINKS_AT_ONCE * LINKS_AT_ONCE / devices)
        _, client = await asyncio.get_running_loop().create_connection(Bare, address(number), port)
        at = time.monotonic()
        while True:
            await client.read(0, 2 * VALUES)
            at += 1.0
            await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def run() -> None:
        await asyncio.gather(*(one(number) for number in range(devices)))

    asyncio.run(run())


def daemon_config(folder: Path, devices: int, port: int, endpoint: int) -> Path:
    (folder / "benchmark.toml").write_text(profile())
    tables = "".join(
        f'[[device]]\nnode_id = "m{number}"\ntype = "variable_power_load"\ndriver = "benchmark"\n'
        f'host = "{address(number)}"\nport = {port}\n'
        for number in range(devices)
    )
    path = folder / "config.toml"
    path.write_text(
        f'[site]\nnode_id = "B"\n[push]\nurl = "http://127.0.0.1:{endpoint}/"\ntoken = "t"\ninterval_s = 5\n'
        f'[outbox]\npath = "{folder}/outbox.sqlite3"\n[poll]\ninterval_s = 1\n'
        f'[drivers]\nprofile_dirs = ["{folder}"]\n{tables}'
    )
    return path


def telegraf_config(folder: Path, devices: int, port: int, endpoint: int) -> Path:
    fields = ", ".join(f'{{address={2 * n}, name="v{n}", type="FLOAT32"}}' for n in range(VALUES))
    tables = "".join(
        f'[[inputs.modbus]]\nname = "m{number}"\ncontroller = "tcp://{address(number)}:{port}"\n'
        'configuration_type = "request"\n[[inputs.modbus.request]]\nslave_id = 1\nbyte_order = "ABCD"\n'
        f'register = "input"\nfields = [{fields}]\n'
        for number in range(devices)
    )
    path = folder / "telegraf.conf"
    path.write_text(
        '[agent]\ninterval = "1s"\nflush_interval = "5s"\nmetric_batch_size = 5000\nmetric_buffer_limit = 20000\n'
        f'omit_hostname = true\n[[outputs.http]]\nurl = "http://127.0.0.1:{endpoint}/"\ndata_format = "influx"\n'
        f"{tables}"
    )
    return path


@dataclass(slots=True)
class Client:
    """A process that polls the devices."""

    name: str
    pid: int
    index: int
    percent: list[float] = field(default_factory=list)
    """Per cent of one core in each round."""
    rate: list[float] = field(default_factory=list)
    """Polls that were made, as a share of those that were asked for."""
    rss_mb: float = 0.0
    pss_mb: float = 0.0


@contextmanager
def running(devices: int) -> Iterator[tuple[list[Client], Connection]]:
    """Start the devices, an endpoint and the clients."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        pipe, theirs = CONTEXT.Pipe()
        ports = CONTEXT.Queue()
        helpers = [
            CONTEXT.Process(target=serve, args=(theirs, 3), daemon=True),
            CONTEXT.Process(target=serve_endpoint, args=(ports,), daemon=True),
        ]
        for helper in helpers:
            helper.start()
            stack.callback(helper.terminate)
        device_ports, endpoint = pipe.recv(), ports.get()
        bare: Process = CONTEXT.Process(target=bare_client, args=(devices, device_ports[1]), daemon=True)  # type: ignore[assignment]
        bare.start()
        stack.callback(bare.terminate)
        config = daemon_config(folder, devices, device_ports[0], endpoint)
        daemon = started(stack, [sys.executable, "-m", "agent", "run", "--config", str(config)])
        clients = [Client("daemon", daemon.pid, 0), Client("bare asyncio", bare.pid or 0, 1)]
        if telegraf := shutil.which("telegraf"):
            config = telegraf_config(folder, devices, device_ports[2], endpoint)
            clients.append(Client("Telegraf", started(stack, [telegraf, "--quiet", "--config", str(config)]).pid, 2))
        yield clients, pipe


def started(stack: ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    environ = os.environ | AS_SERVICE
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    stack.callback(process.wait, 20)
    stack.callback(process.send_signal, signal.SIGTERM)
    return process


def measured(devices: int, rounds: int = ROUNDS, warm_up_s: float = WARM_UP_S) -> dict[str, Client]:
    """Measure all clients in the same rounds."""
    with running(devices) as (clients, pipe):
        time.sleep(warm_up_s)
        for _ in range(rounds):
            pipe.send("count")
            before, used, began = pipe.recv(), [cpu_s(each.pid) for each in clients], time.monotonic()
            time.sleep(MEASURED_S)
            took_s = time.monotonic() - began
            pipe.send("count")
            after = pipe.recv()
            for each, cpu in zip(clients, used, strict=True):
                each.percent.append(100 * (cpu_s(each.pid) - cpu) / took_s)
                each.rate.append((after[each.index] - before[each.index]) / took_s / devices)
        for each in clients:
            each.rss_mb, each.pss_mb = memory_mb(each.pid, "Rss"), memory_mb(each.pid, "Pss")
    return {each.name: each for each in clients}


def ratio(ours: Client, theirs: Client) -> float:
    """The median of the ratios of the rounds."""
    return median(a / b for a, b in zip(ours.percent, theirs.percent, strict=True))


def figures() -> Iterator[Figure]:
    found = measured(FEW, 1, MEMORY_AFTER_S)
    ours = found["daemon"]
    yield Figure(f"memory with {FEW} devices", ours.rss_mb, "MB RSS")
    if "Telegraf" in found:
        theirs = found["Telegraf"]
        yield Figure(f"memory with {FEW} devices / Telegraf, PSS", ours.pss_mb / theirs.pss_mb, "x", 1.0)
        yield Figure(f"memory with {FEW} devices / Telegraf, RSS", ours.rss_mb / theirs.rss_mb, "x")
    for devices in SIZES:
        found = measured(devices)
        ours, bare = found["daemon"], found["bare asyncio"]
        yield Figure(f"polls made with {devices} devices", 100 * median(ours.rate), "%", 100 * LEAST_RATE, "higher")
        yield Figure(f"CPU with {devices} devices", median(ours.percent), "%", note="of one core")
        yield Figure(f"CPU with {devices} devices / bare asyncio", ratio(ours, bare), "x", OF_BARE)
        if "Telegraf" in found:
            theirs = found["Telegraf"]
            yield Figure(f"CPU with {devices} devices / Telegraf", ratio(ours, theirs), "x", OF_TELEGRAF)
            yield Figure(f"memory with {devices} devices / Telegraf", ours.pss_mb / theirs.pss_mb, "x", note="PSS")


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
