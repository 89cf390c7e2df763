"""Host names → addresses, in daemon threads that nobody has to wait for.

The event loop's own look-ups share a small pool of threads with everything else, and the loop waits for them when it
ends. While a site is offline its resolver can hang: it would first starve the rest of the agent, then outlive it.
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
    """Look-ups of one user, such as all links or the delivery. Users share no threads, so none waits for another."""

    def __init__(self, threads: int) -> None:
        """At most `threads` names are looked up at once; further names wait."""
        self._threads = threads
        self._pending: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Lookup]] = WeakKeyDictionary()
        """The look-ups that have not ended: a name that hangs has one thread, however often it is asked for."""

    async def addresses(self, host: str) -> list[str]:
        """At least one address of `host`, which may be an address itself.

        Raises OSError when there is none, UnicodeError when `host` cannot be a name.
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
            # Reading the exception marks it as seen: nobody may be waiting for it any more.
            lookup.add_done_callback(lambda done: (pending.pop(host, None), done.cancelled() or done.exception()))
            thread = threading.Thread(target=_look_up, args=(loop, host, lookup), name=f"look up {host}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                del pending[host]
                raise OSError("the system lets no further thread be started") from None
        return await asyncio.shield(lookup)


def _look_up(loop: asyncio.AbstractEventLoop, host: str, lookup: _Lookup) -> None:
    try:
        settle, outcome = lookup.set_result, _find(host)
    except (OSError, UnicodeError) as error:
        settle, outcome = lookup.set_exception, error  # type: ignore[assignment]  # one or the other
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(settle, outcome)


def _find(host: str) -> list[str]:
    found = [str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    if not found:
        raise OSError(f"no address for {host}")
    return list(dict.fromkeys(found))
