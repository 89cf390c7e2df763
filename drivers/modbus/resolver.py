"""Looks up the addresses of host names, each in a daemon thread of its own.

While a site is offline, a look-up can hang. `loop.getaddrinfo` uses a small thread pool. There, a look-up that hangs
would block other tasks that use the pool. It would also block the end of the process, which waits for the pool.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address
from weakref import WeakKeyDictionary

_Lookup = asyncio.Future[list[str]]


class Resolver:
    """Looks up host names. All links share one resolver. Each endpoint has its own, so it never waits for a link."""

    def __init__(self, threads: int) -> None:
        """At most `threads` names are looked up at the same time in one event loop; further names wait."""
        self._threads = threads
        self._pending: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Lookup]] = WeakKeyDictionary()
        """Event loop → host name → current look-up. Callers with the same name share one look-up."""

    async def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of `host`, at least one. `host` is a name or an IP address.

        Raises OSError if there is no address or no thread for the look-up, UnicodeError if `host` is no valid name.
        """
        with suppress(ValueError):
            return [str(ip_address(host))]
        loop = asyncio.get_running_loop()
        pending = self._pending.setdefault(loop, {})
        while host not in pending and len(pending) >= self._threads:
            await asyncio.wait(list(pending.values()), return_when=asyncio.FIRST_COMPLETED)
        lookup = pending.get(host)
        if lookup is None:
            lookup = pending[host] = loop.create_future()
            # Read the exception, so that asyncio logs no warning if no caller waits for it any more.
            lookup.add_done_callback(lambda done: (pending.pop(host, None), done.cancelled() or done.exception()))
            thread = threading.Thread(target=_look_up, args=(loop, host, lookup), name=f"look up {host}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                del pending[host]
                raise OSError("the system cannot start another thread") from None
        return await asyncio.shield(lookup)


def _look_up(loop: asyncio.AbstractEventLoop, host: str, lookup: _Lookup) -> None:
    try:
        settle, outcome = lookup.set_result, _find(host)
    except (OSError, UnicodeError) as error:
        # `set_result` accepts a list, and `set_exception` accepts an error.
        settle, outcome = lookup.set_exception, error  # type: ignore[assignment]
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(settle, outcome)


def _find(host: str) -> list[str]:
    found = [str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    if not found:
        raise OSError(f"no address for {host}")
    return list(dict.fromkeys(found))
