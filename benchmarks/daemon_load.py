"""The whole daemon on 50 TCP devices of 20 adjacent float32 values each, polled once a second.

Beside it, in the same run, a bare asyncio Modbus client does the same reads and unpacks the words: the ratio of the two
says what the daemon's care costs. Devices, endpoint, daemon and bare client are processes of their own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue, get_context
from pathlib import Path
from tempfile import TemporaryDirectory

DEVICES = 50
VALUES = 20
WARM_UP_S = 4.0
MEASURED_S = 20.0
_CONTEXT = get_context("spawn")

PROFILE = """
manufacturer = "Benchmark"
models = ["20 values"]
kind = "meter"
source = "this benchmark"
[[point]]
quantity = "active_power"
table = "input"
address = 0
type = "float32"
"""


def profile() -> str:
    """20 adjacent float32 values: the total power, and voltages, currents and the like to fill the block."""
    quantities = ["voltage", "current", "active_power", "apparent_power", "reactive_power", "power_factor"]
    places = [(quantity, phase) for quantity in quantities for phase in ("l1", "l2", "l3")] + [("frequency", None)]
    text = PROFILE
    for number, (quantity, phase) in enumerate(places[: VALUES - 1], start=1):
        text += f'[[point]]\nquantity = "{quantity}"\ntable = "input"\naddress = {2 * number}\ntype = "float32"\n'
        text += f'phase = "{phase}"\n' if phase else ""
    return text


class Device(asyncio.Protocol):
    """Answers each read of input registers with 50.0 everywhere; counts requests."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        type(self).requests += 1
        count = int.from_bytes(data[10:12], "big")
        payload = struct.pack(">f", 50.0) * (count // 2)
        header = data[:4] + (3 + len(payload)).to_bytes(2, "big") + data[6:8] + bytes([len(payload)])
        self.transport.write(header + payload)  # type: ignore[attr-defined]  # a stream transport


def serve_devices(ports: Queue[list[int]], counts: Queue[int]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Device, "127.0.0.1", 0) for _ in range(DEVICES)]
        ports.put([server.sockets[0].getsockname()[1] for server in servers])
        while True:
            before = Device.requests
            await asyncio.sleep(1)
            counts.put(Device.requests - before)

    asyncio.run(run())


def serve_endpoint(ports: Queue[int]) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports.put(server.server_address[1])
    server.serve_forever()


class Bare(asyncio.Protocol):
    """The least that can be called a Modbus TCP client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""
        self.tid = 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) >= 6 and len(self.buffer) >= 6 + int.from_bytes(self.buffer[4:6], "big"):
            self.reply.set_result(self.buffer)
            self.buffer = b""

    async def read(self, address: int, count: int) -> tuple[int, ...]:
        self.tid = (self.tid + 1) & 0xFFFF
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(struct.pack(">HHHBBHH", self.tid, 0, 6, 1, 4, address, count))  # type: ignore[attr-defined]
        async with asyncio.timeout(1):
            frame = await self.reply
        return struct.unpack(f">{count}H", frame[9:])


def bare_client(ports: list[int]) -> None:
    async def one(port: int) -> None:
        _, client = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
        at = time.monotonic()
        while True:
            await client.read(0, 2 * VALUES)
            at += 1.0
            await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def run() -> None:
        await asyncio.gather(*(one(port) for port in ports))

    asyncio.run(run())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024


def measure(pid: int) -> tuple[float, float]:
    """Per cent of one core and MB of PSS, after a warm-up."""
    time.sleep(WARM_UP_S)
    before, started = cpu_s(pid), time.monotonic()
    time.sleep(MEASURED_S)
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - started), pss_mb(pid)


def site(folder: Path, ports: list[int], endpoint: int, endpoints: int = 1) -> Path:
    """Write the configuration of a daemon that pushes to `endpoints` endpoints, all on the port `endpoint`."""
    profiles = folder / "profiles"
    profiles.mkdir()
    (profiles / "benchmark.toml").write_text(profile())
    devices = "".join(
        f'[[device]]\nnode_id = "m{number}"\ntype = "variable_power_load"\ndriver = "benchmark"\n'
        f'host = "127.0.0.1"\nport = {port}\n'
        for number, port in enumerate(ports)
    )
    path = folder / "config.toml"
    push = f'url = "http://127.0.0.1:{endpoint}/"\ntoken = "t"\ninterval_s = 5\n'
    pushes = [f'[[push]]\nname = "e{number}"\n{push}' for number in range(endpoints)]
    path.write_text(
        f'[site]\nnode_id = "B"\n{"".join(pushes)}'
        f'[outbox]\npath = "{folder}/outbox.sqlite3"\n[poll]\ninterval_s = 1\n'
        f'[drivers]\nprofile_dirs = ["{profiles}"]\n{devices}'
    )
    return path


def main() -> None:
    ports_queue: Queue[list[int]] = _CONTEXT.Queue()
    counts: Queue[int] = _CONTEXT.Queue()
    endpoint_queue: Queue[int] = _CONTEXT.Queue()
    helpers: list[Process] = [
        _CONTEXT.Process(target=serve_devices, args=(ports_queue, counts), daemon=True),  # type: ignore[list-item]
        _CONTEXT.Process(target=serve_endpoint, args=(endpoint_queue,), daemon=True),  # type: ignore[list-item]
    ]
    for helper in helpers:
        helper.start()
    ports, endpoint = ports_queue.get(), endpoint_queue.get()
    bare = _CONTEXT.Process(target=bare_client, args=(ports,), daemon=True)
    bare.start()
    bare_cpu, _ = measure(bare.pid or 0)
    bare.terminate()
    bare.join()
    with TemporaryDirectory() as name:
        config = site(Path(name), ports, endpoint)
        daemon = subprocess.Popen([sys.executable, "-m", "agent", "run", "--config", str(config)])
        while not counts.empty():
            counts.get()
        cpu, memory = measure(daemon.pid)
        seen = []
        while not counts.empty():
            seen.append(counts.get())
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)
    requests = sorted(seen)[len(seen) // 2]
    print(
        f"{DEVICES} devices x {VALUES} float32 a second: {requests} requests a second"
        f" (one by one it would be {DEVICES * VALUES})"
    )
    print(f"daemon {cpu:.2f} % of one core, {memory:.1f} MB PSS; bare asyncio client {bare_cpu:.2f} %")
    print(f"ratio daemon / bare client: {cpu / bare_cpu:.2f}")
    for helper in helpers:
        helper.terminate()


if __name__ == "__main__":
    main()
