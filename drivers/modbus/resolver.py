"""Host names → addresses, in threads that nobody has to wait for.

The event loop's own look-ups share a small pool of threads with everything else, and the loop waits for them when it
ends: where the resolver hangs because the site is offline, they would starve the rest of the agent, and outlive it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address
from weakref import WeakKeyDictionary

AT_ONCE = 16
"""Threads. A service may have a few dozen in all, and a site of hundreds of names may be offline when it starts."""

_Lookup = asyncio.Future[list[str]]
_lookups: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Lookup]] = WeakKeyDictionary()
"""Those that have not ended yet: a name that hangs has one thread, however often it is asked for."""


async def addresses(host: str) -> list[str]:
    """The addresses of `host`, which may be one itself. Raises OSError, or UnicodeError for what is no name."""
    with suppress(ValueError):
        return [str(ip_address(host))]
    loop = asyncio.get_running_loop()
    pending = _lookups.setdefault(loop, {})
    while host not in pending and len(pending) >= AT_ONCE:
        await asyncio.wait(list(pending.values()), return_when=asyncio.FIRST_COMPLETED)
    lookup = pending.get(host)
    if lookup is None:
        lookup = pending[host] = loop.create_future()
        lookup.add_done_callback(lambda done: (pending.pop(host, None), done.cancelled() or done.exception()))
        try:
            threading.Thread(target=_look_up, args=(loop, host, lookup), name=f"look up {host}", daemon=True).start()
        except RuntimeError:
            del pending[host]
            raise OSError("the system lets no further thread be started") from None
    return await asyncio.shield(lookup)


def _look_up(loop: asyncio.AbstractEventLoop, host: str, lookup: _Lookup) -> None:
    try:
        found = [str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        settle, outcome = lookup.set_result, list(dict.fromkeys(found))
    except (OSError, UnicodeError) as error:
        settle, outcome = lookup.set_exception, error  # type: ignore[assignment]  # one or the other
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(settle, outcome)
