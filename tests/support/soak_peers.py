"""The peers of a daemon in a soak: endpoint, devices, log and service manager. Their memory stays small."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drivers.model import Table
from tests.faults.device import Faults
from tests.faults.http import (
    Behaviour,
    Exchange,
    HttpFaults,
    answer,
    answer_then_close,
    close_after_body,
    drip,
    endless_chunks,
    endless_headers,
    endless_interim,
    gzip_bomb,
    hang_before_headers,
    hang_in_body,
    hang_unread,
    huge,
    raw,
    redirect,
    reset_after_body,
    reset_before_body,
    reset_in_headers,
)
from tests.faults.modbus import FaultServer
from tests.support.site import sdm630

DEVICES = 20

FAILURES: tuple[Behaviour, ...] = (
    answer(503),
    answer(429, retry_after="60"),
    answer(401),
    redirect(302, "http://127.0.0.1:1/"),
    answer(404, b"<html>no such page</html>" * 100, content_type="text/html"),
    hang_unread(),
    hang_before_headers(),
    hang_in_body(500),
    reset_before_body(),
    reset_after_body(),
    reset_in_headers(),
    close_after_body(),
    drip(every_s=1.0, head_first=False),
    endless_headers(),
    endless_interim(b"HTTP/1.1 100 Continue\r\n\r\n"),
    endless_chunks(b"1\r\nx\r\n", 500),
    huge(500, times=100),
    gzip_bomb(500),
    raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
)
ACCEPTANCES: tuple[Behaviour, ...] = (
    answer_then_close(),
    hang_in_body(),
    drip(every_s=1.0),
    endless_chunks(b"1\r\nx\r\n"),
    huge(times=100),
)
"""Strange answers that accept the message."""
DEVICE_FAULTS = (
    Faults(silent=True),
    Faults(exception=2),
    Faults(exception=4),
    Faults(exception=11),
    Faults(reset_mid_frame=True),
    Faults(close_instead=True),
    Faults(garbage=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    Faults(fewer=1),
    Faults(unit_offset=1),
    Faults(stale=True),
    Faults(latency_s=0.3),
    Faults(max_registers=10),
)


@dataclass(slots=True)
class Log:
    """The standard error of the daemon. It keeps the number of bytes and of events."""

    size: int = 0
    events: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    """Events with a traceback, and those that no fault of a peer may cause."""

    def write(self, text: str) -> int:
        self.size += len(text.encode())
        for line in text.splitlines():
            event = json.loads(line)
            self.events[event["event"]] += 1
            if "exception" in event or event["event"] in ("stuck", "push_error"):
                self.defects.append(line)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@dataclass(slots=True)
class Ledger:
    """The outcome of the messages of an endpoint, over all rounds."""

    stored: int = 0
    """Number of messages of all ticks from the first accepted one to the last accepted one."""
    accepted: int = 0
    twice: int = 0
    """Messages that were accepted more than once."""


class Receiver:
    """The endpoint. It answers as `behaviour` says, 204 by default, and 422 to a message that it refuses."""

    def __init__(self) -> None:
        self.server = HttpFaults(self._answer)
        self.behaviour: Behaviour | None = None
        self.met: set[Behaviour] = set()
        """The behaviours that answered a request."""
        self.ledger = Ledger()
        self._accepted: dict[int, Counter[str]] = {}
        """Numbers of acceptances since the last `settle`, by id of the message, by its `time`."""
        self._settled = 0
        self._to_refuse = False
        self._refused: str | None = None

    async def _answer(self, exchange: Exchange) -> None:
        if self.behaviour is not None:
            self.met.add(self.behaviour)
        if self.behaviour in FAILURES:
            await self.behaviour(exchange)
            return
        await exchange.accept()
        headers, body = exchange.request.headers, exchange.request.body
        identity = headers["webhook-id"]
        if self._to_refuse:
            self._to_refuse, self._refused = False, identity
        if identity == self._refused:
            await exchange.answer(422)
            return
        message = json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
        self._accepted.setdefault(message["time"], Counter())[identity] += 1
        await (self.behaviour or answer(204))(exchange)

    async def change(self, behaviour: Behaviour | None) -> None:
        """Change the answers, and close all connections, because some answers have no end."""
        self.behaviour = behaviour
        await self.server.down()
        await self.server.up()

    def refuse_next(self) -> None:
        """Refuse the message of the next request, however often it is sent."""
        self._to_refuse = True

    def settle(self, levels: int, push_s: int) -> None:
        """Add the messages since the last call to the ledger: `levels` every `push_s`. Forget them and all requests."""
        self.server.requests.clear()
        self.server.accepted.clear()
        times = self._accepted
        first = self._settled + push_s if self._settled else min(times)
        self._settled = max(times)
        self.ledger.stored += levels * len(range(first, self._settled + 1, push_s))
        self.ledger.accepted += sum(map(len, times.values()))
        self.ledger.twice += sum(count > 1 for ids in times.values() for count in ids.values())
        times.clear()


class Devices:
    """Twenty meters: one on each of 12 connections, and 4 behind each of 2 gateways. Their counters grow."""

    def __init__(self) -> None:
        units = [[number] for number in range(12)] + [[12, 13, 14, 15], [16, 17, 18, 19]]
        self.servers = [
            FaultServer({(number + 1, Table.INPUT): sdm630(0, 0, 0) for number in numbers}) for numbers in units
        ]
        self._of = {number: server for server, numbers in zip(self.servers, units, strict=True) for number in numbers}
        self._refusing: list[FaultServer] = []

    def show(self, hours: float) -> None:
        """Set the registers: constant powers since `hours`, and their energies."""
        for number, server in self._of.items():
            power = 1000.0 + 50 * number
            server.registers[number + 1, Table.INPUT] = sdm630(power, power * hours / 1000, 0)

    async def break_down(self) -> None:
        """Give 12 devices a fault each, and close the ports of another one and of a gateway."""
        for number, faults in enumerate(DEVICE_FAULTS, 4):
            self._of[number].unit_faults[number + 1] = faults
        self._refusing = [self.servers[0], self.servers[13]]
        for server in self._refusing:
            await server.refuse()

    async def heal(self) -> None:
        for server in self.servers:
            server.heal()
        for server in self._refusing:
            await server.listen()

    def forget(self) -> None:
        for server in self.servers:
            assert not server.requests or server.functions <= {4}
            server.requests.clear()

    def tables(self, *, without_last: bool = False) -> str:
        return "".join(
            f'[[device]]\nnode_id = "m{number}"\ntype = "{"grid" if number % 2 else "variable_power_load"}"\n'
            f'driver = "eastron-sdm630"\nhost = "{"localhost" if number == 0 else "127.0.0.1"}"\n'
            f"port = {server.port}\nunit_id = {number + 1}\n"
            for number, server in list(self._of.items())[: DEVICES - without_last]
        )


@contextmanager
def service_manager(path: Path) -> Iterator[Counter[str]]:
    """Receive the notifications to systemd at the socket `path`. Yield the number of assignments, by key."""
    told: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        channel.bind(str(path))
        loop.add_reader(
            channel, lambda: told.update(line.partition("=")[0] for line in channel.recv(65536).decode().splitlines())
        )
        try:
            yield told
        finally:
            loop.remove_reader(channel)


async def get(port: int, path: str) -> bytes:
    """The answer of the status listener; empty if nothing listens on this port."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.close()
