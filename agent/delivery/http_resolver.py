"""Opens connections by host name; the name is looked up in a thread that can be left behind.

The event loop's own look-ups share a small pool of threads with all other work, and the loop waits for them when it
ends. A resolver that hangs would block the pool and then the stop of the agent. Here it blocks one daemon thread for
each name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable
from typing import Any

import httpcore

Addresses = list[str]


class NetworkBackend(httpcore.AsyncNetworkBackend):
    """httpcore's asyncio backend with look-ups of our own."""

    def __init__(self) -> None:
        self._asyncio = httpcore.AnyIOBackend()
        self._lookups: dict[str, asyncio.Future[Addresses]] = {}
        self.connections = 0
        """Number of connections that were started."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses of `host` in turn, each for its share of what is left of `timeout` (seconds)."""
        self.connections += 1
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        try:
            async with asyncio.timeout(timeout):
                addresses = await asyncio.shield(self._lookup(host))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"looking up {host} takes too long") from error
        except OSError as error:
            raise httpcore.ConnectError(f"cannot look up {host}: {error.strerror or error}") from error
        for left in range(len(addresses), 1, -1):
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                share = None if deadline is None else max(0.01, (deadline - loop.time()) / left)
                return await self._asyncio.connect_tcp(addresses[-left], port, share, local_address, socket_options)
        rest = None if deadline is None else max(0.01, deadline - loop.time())
        return await self._asyncio.connect_tcp(addresses[-1], port, rest, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._asyncio.sleep(seconds)

    def _lookup(self, host: str) -> asyncio.Future[Addresses]:
        lookup = self._lookups.get(host)
        if lookup is None:
            loop = asyncio.get_running_loop()
            lookup = self._lookups[host] = loop.create_future()
            lookup.add_done_callback(lambda done: self._done(host, done))
            try:
                threading.Thread(target=_look_up, args=(loop, lookup, host), name="dns", daemon=True).start()
            except RuntimeError:
                del self._lookups[host]
                raise OSError("the system lets no further thread be started") from None
        return lookup

    def _done(self, host: str, lookup: asyncio.Future[Addresses]) -> None:
        self._lookups.pop(host, None)
        if not lookup.cancelled():
            lookup.exception()  # nobody may be waiting any more


def _look_up(loop: asyncio.AbstractEventLoop, lookup: asyncio.Future[Addresses], host: str) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        error: OSError | None = None if addresses else OSError(f"no address for {host}")
    except (OSError, UnicodeError) as problem:
        addresses, error = [], problem if isinstance(problem, OSError) else OSError(str(problem))

    def deliver() -> None:
        if not lookup.done():
            lookup.set_result(addresses) if error is None else lookup.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop may be gone by now
        loop.call_soon_threadsafe(deliver)
