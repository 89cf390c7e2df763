"""Opens the connections of httpcore. `drivers.modbus.Resolver` looks up the names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import httpcore

from agent.delivery.http_stream import BoundedStream
from drivers.modbus import Resolver

_NAMES_AT_ONCE = 4
"""Maximum number of parallel look-ups. An endpoint needs only one host name, so this limit is never reached."""


STARTED: ContextVar[int] = ContextVar("started", default=0)
"""Number of connections that the present task has started to open."""


class NetworkBackend(httpcore.AsyncNetworkBackend):
    """httpcore's backend for asyncio, with a `Resolver` for the names."""

    def __init__(self) -> None:
        self._asyncio = httpcore.AnyIOBackend()
        self._resolver = Resolver(_NAMES_AT_ONCE)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses of `host` in turn, each for an equal share of the remaining `timeout`.

        `timeout` is in seconds; None means no limit. Raises httpcore.ConnectError, httpcore.ConnectTimeout.
        """
        STARTED.set(STARTED.get() + 1)
        return BoundedStream(await self._connected(host, port, timeout, local_address, socket_options))

    async def _connected(
        self, host: str, port: int, timeout: float | None, local_address: str | None, socket_options: Any
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolver.addresses(host)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"looking up {host} takes too long") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(
                f"cannot look up {host}: {getattr(error, 'strerror', None) or error}"
            ) from error
        for left in range(len(addresses), 1, -1):
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                share = None if deadline is None else (deadline - loop.time()) / left
                return await self._asyncio.connect_tcp(addresses[-left], port, share, local_address, socket_options)
        rest = None if deadline is None else deadline - loop.time()
        return await self._asyncio.connect_tcp(addresses[-1], port, rest, local_address, socket_options)
