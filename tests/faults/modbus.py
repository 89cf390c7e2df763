"""A Modbus device with faults, on real sockets and pseudo-terminals.

    async with FaultServer({(1, Table.HOLDING): {0: 17, 1: 42}}) as server:
        link = Link(server.link())
        server.faults.silent = True

It is written by hand, so that it shares no code and no mistakes with the code under test. `faults` applies to every
unit without an entry in `unit_faults`. Both can be changed at any time. The device replies exception 2 to an address
without a register. It does not reply for a unit without registers. `requests` has all received requests. If one of them
is not a read, the `async with` block fails. So each test with this server also proves that the agent does not write.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, cast

from drivers.modbus.settings import LinkSettings
from tests.faults import wire
from tests.faults.device import TABLES, Faults, Registers, answer, registers_from
from tests.faults.framing import FRAMINGS, Framing, Query
from tests.faults.pty import Pty
from tests.support.ports import free_port

__all__ = ["FaultServer", "Faults", "Registers", "Seen", "registers_from"]

READS = frozenset({*TABLES, 43})


@dataclass(frozen=True, slots=True)
class Seen:
    """A received request."""

    unit_id: int
    function: int
    address: int
    count: int


@dataclass(slots=True, eq=False)
class _Peer:
    """One client of the server."""

    write: Callable[[bytes], None]
    reset: Callable[[], None]
    established: Callable[[], bool]
    since: float
    queries: asyncio.Queue[Query] = field(default_factory=asyncio.Queue)
    received: bytes = b""
    last_reply: bytes = b""
    replies: int = 0
    idle: asyncio.TimerHandle | None = None


class FaultServer:
    """One device or gateway on a loopback port, or on a pseudo-terminal."""

    def __init__(
        self, registers: Registers, *, transport: str = "tcp", tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self.registers = registers
        self.faults = Faults()
        self.unit_faults: dict[int, Faults] = {}
        self.one_client = False
        """A new client disconnects all other clients."""
        self.echo = False
        """Send each request back before the reply, as some two-wire adapters do, also for units that do not exist."""
        self.idle_close_s: float | None = None
        self.requests: list[Seen] = []
        self.connections = 0
        """Number of open connections."""
        self.max_connections = 0
        """Largest number of connections that were established at the same time."""
        self.total_connections = 0
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self._transport = transport
        self._tls = tls
        self._framing: Framing = FRAMINGS[transport]()
        self._server: asyncio.Server | asyncio.DatagramTransport | None = None
        self._pty: Pty | None = None
        self._peers: dict[_Peer, asyncio.Task[None]] = {}
        self._changed = asyncio.Condition()

    # Methods for tests.

    def link(self, **changes: Any) -> LinkSettings:
        """Return the settings of a link to this server."""
        place: dict[str, Any] = {"host": self.host, "port": self.port}
        if self._pty is not None:
            place = {"serial_port": self._pty.path, "baudrate": 115_200}
        return LinkSettings(**{"transport": self._transport, "timeout_s": 5.0, **place, **changes})

    @property
    def functions(self) -> set[int]:
        """The function codes of all received requests."""
        return {seen.function for seen in self.requests}

    def heal(self) -> None:
        """Remove all faults."""
        self.faults = Faults()
        self.unit_faults.clear()
        self.one_client = False
        self.idle_close_s = None

    async def listen(self) -> None:
        """Accept connections, always on the same port."""
        loop = asyncio.get_running_loop()
        if self._transport in ("rtu", "ascii"):
            self._pty = self._pty or Pty()
            self._join(peer := self._peer(self._pty.write, self.hang_up))
            self._pty.start(lambda data: self._received(peer, data))
        elif self._transport == "udp":
            self._server, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(self.host, self.port)
            )
        else:
            self._server = await loop.create_server(lambda: _Stream(self), self.host, self.port, ssl=self._tls)

    async def refuse(self) -> None:
        """Close the port and every connection. `listen` opens the port again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop()

    async def drop(self) -> None:
        """Close every connection, as a device does when a client is idle."""
        for peer in list(self._peers):
            peer.reset()
        await self.wait(lambda: not self.connections)

    def hang_up(self) -> None:
        """Close the serial port, as if the adapter was removed."""
        if self._pty is not None:
            self._pty.close()

    def inject(self, data: bytes) -> None:
        """Send bytes without a request to every client."""
        for peer in self._peers:
            peer.write(data)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true. Checks it after each request and each change of the connections."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), 60)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for peer, task in list(self._peers.items()):
            peer.reset()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._pty is not None:
            self._pty.close()
        await asyncio.sleep(0)
        assert self.functions <= READS, f"not only reads on the wire: function codes {self.functions}"

    # Called by the transports.

    def _peer(
        self,
        write: Callable[[bytes], None],
        reset: Callable[[], None],
        established: Callable[[], bool] = lambda: True,
    ) -> _Peer:
        return _Peer(write, reset, established, asyncio.get_running_loop().time())

    def _join(self, peer: _Peer) -> None:
        if self.one_client:
            for other in self._peers:
                other.reset()
        self._peers[peer] = asyncio.create_task(self._serve(peer))
        self.connections += 1
        self.total_connections += 1
        self.max_connections = max(self.max_connections, sum(peer.established() for peer in self._peers))
        self._notify()

    def _leave(self, peer: _Peer) -> None:
        if task := self._peers.pop(peer, None):
            task.cancel()
            if peer.idle is not None:
                peer.idle.cancel()
            self.connections -= 1
            self._notify()

    def _received(self, peer: _Peer, data: bytes) -> None:
        self._stay_awake(peer)
        queries, peer.received = self._framing.split(peer.received + data)
        for query in queries:
            address, count = int.from_bytes(query.pdu[1:3], "big"), int.from_bytes(query.pdu[3:5], "big")
            wire.record(query.pdu)
            self.requests.append(Seen(query.unit_id, query.pdu[0], address, count))
            self._notify()
            early = asyncio.get_running_loop().time() - peer.since < self._of(query).slow_after_connect_s
            if not early:
                peer.queries.put_nowait(query)

    def _stay_awake(self, peer: _Peer) -> None:
        if peer.idle is not None:
            peer.idle.cancel()
        if self.idle_close_s is not None:
            peer.idle = asyncio.get_running_loop().call_later(self.idle_close_s, peer.reset)

    def _notify(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._notifying = asyncio.ensure_future(notify())

    # A device answers one request after the other.

    def _of(self, query: Query) -> Faults:
        return self.unit_faults.get(query.unit_id, self.faults)

    async def _serve(self, peer: _Peer) -> None:
        while True:
            query = await peer.queries.get()
            faults = self._of(query)
            pdu = answer(query, self.registers, faults)
            if self.echo:
                peer.write(self._framing.build(query, 0))
            if faults.latency_s:
                await asyncio.sleep(faults.latency_s)
            if pdu is not None and not faults.silent and not self._loses(query, faults):
                await self._reply(peer, query, pdu, faults)

    @staticmethod
    def _loses(query: Query, faults: Faults) -> bool:
        asked = int.from_bytes(query.pdu[1:3], "big"), int.from_bytes(query.pdu[3:5], "big")
        if not faults.lost.get(asked):
            return False
        faults.lost[asked] -= 1
        return True

    async def _reply(self, peer: _Peer, query: Query, pdu: bytes, faults: Faults) -> None:
        offset = faults.transaction_offset + (0 if peer.replies else self.faults.first_transaction_offset)
        peer.replies += 1
        frame = self._framing.build(
            query._replace(
                unit_id=(query.unit_id + faults.unit_offset) & 0xFF,
                transaction=(query.transaction + offset) & 0xFFFF,
                pdu=pdu,
            ),
            faults.protocol,
        )
        before, peer.last_reply = peer.last_reply, frame
        if faults.close_instead:
            peer.reset()
            return
        if faults.reset_mid_frame:
            peer.write(frame[: len(frame) // 2])
            await asyncio.sleep(0.01)  # otherwise the reset would arrive before the half reply
            peer.reset()
            return
        if faults.garbage is not None:
            frame = faults.garbage
        parts = [
            faults.noise,
            before if faults.stale else b"",
            frame + faults.trailing,
            frame if faults.duplicate else b"",
        ]
        if faults.dribble_s is not None:
            parts = [frame[position : position + 1] for position in range(len(frame))]
        elif self._transport != "udp":
            parts = [b"".join(parts)]
        if faults.copy_after_s is not None:
            asyncio.get_running_loop().call_later(faults.copy_after_s, peer.write, frame)
        for part in filter(None, parts):
            peer.write(part)
            if faults.dribble_s is not None:
                await asyncio.sleep(faults.dribble_s)
                if faults is not self._of(query):
                    return


def _established(stream: asyncio.BaseTransport) -> bool:
    """Whether the kernel reports the connection as established.

    The kernel knows that a client has closed the connection before asyncio does.
    """
    state: int = stream.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state == 1


class _Stream(asyncio.Protocol):
    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._peer: _Peer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        self._peer = self._server._peer(stream.write, stream.abort, lambda: _established(stream))
        self._server._join(self._peer)

    def data_received(self, data: bytes) -> None:
        assert self._peer is not None
        self._server._received(self._peer, data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._peer is not None
        self._server._leave(self._peer)


class _Datagrams(asyncio.DatagramProtocol):
    """Each address is a separate client. A client never disconnects."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._clients: dict[Any, _Peer] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr not in self._clients:
            peer = self._server._peer(lambda frame: self._transport.sendto(frame, addr), lambda: None)
            self._clients[addr] = peer
            self._server._join(peer)
        self._server._received(self._clients[addr], data)
