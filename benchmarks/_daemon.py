"""Not a benchmark: devices, an endpoint, a bare client and the figures of a process, for the others.

Each device has 20 adjacent float32 values.
"""

from __future__ import annotations

import asyncio
import os
import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Queue, get_context
from pathlib import Path

DEVICES = 50
VALUES = 20
CONTEXT = get_context("spawn")

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


MEASURED = struct.pack(">20f", *(50.0,) * 16, *(1.0,) * 3, 50.0)
"""Plausible values of the quantities of `profile`."""


class Device(asyncio.Protocol):
    """Answers each read of all values with 50.0, and with power factors of 1.0; counts requests."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        type(self).requests += 1
        count = int.from_bytes(data[10:12], "big")
        payload = MEASURED[: 2 * count]
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


def cpu_s(pid: int, *, with_children: bool = False) -> float:
    """CPU time of a process, with that of its ended children if asked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_children else 13])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, key: str) -> float:
    """Memory of a process: `Rss`, or `Pss` without what other processes share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


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
