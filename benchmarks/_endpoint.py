"""Not a benchmark: the endpoint that others post to, in a process of its own."""

from __future__ import annotations

import asyncio
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Self

# As large as a message of the device-type level.
BODY = (b'{"time":%d,"siteNodeId":"BENCHMARK_site_0","grid":{"active_power_W":0}}' + b" " * 512)[:512]
_CONTEXT = get_context("spawn")


class Protocol(asyncio.Protocol):
    """Takes posts with Content-Length, remembers when each live one came, answers 204 after a delay."""

    arrivals: dict[str, float] = {}  # noqa: RUF012 - of the whole process
    delay_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length or 0):
            self._buffer = b""
            if body.startswith(b"live-"):
                self.arrivals[body.partition(b"{")[0].decode()] = time.monotonic()
            answer = b"HTTP/1.1 204 No Content\r\n\r\n"
            asyncio.get_running_loop().call_later(self.delay_s, self._transport.write, answer)  # type: ignore[attr-defined]  # a stream transport


def _serve(pipe: Connection, delay_s: float) -> None:
    Protocol.delay_s = delay_s

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        loop.add_reader(pipe.fileno(), command)
        await asyncio.Event().wait()

    def command() -> None:
        if pipe.recv() == "forget":
            Protocol.arrivals.clear()
        pipe.send(dict(Protocol.arrivals))

    asyncio.run(main())


class Endpoint:
    """The server's process."""

    def __init__(self, delay_s: float = 0.0) -> None:
        """`delay_s` is the time from a message to its answer, like a round trip."""
        self._delay_s = delay_s

    def __enter__(self) -> Self:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._delay_s), daemon=True)
        self._process.start()
        self.url = f"http://127.0.0.1:{self._pipe.recv()}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def forget(self) -> None:
        self._ask("forget")

    def arrivals(self) -> dict[str, float]:
        """Monotonic seconds by name of the message."""
        return self._ask("arrivals")

    def _ask(self, what: str) -> dict[str, float]:
        self._pipe.send(what)
        return dict(self._pipe.recv())
