"""The connections of a server: how many there may be, and until when each has to get on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

MAX_CONNECTIONS = 32
"""With the bounds of a head and a body, the bound of the server's memory: 33 MiB."""


class Connections:
    """Closes what is overdue, and what has not got on for longest when there are more than `most`.

    A time-out of the socket would not do: it begins anew with every byte.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}
        """In monotonic seconds; the connection that was told of last comes last."""

    def opened(self, connection: socket.socket, seconds: float) -> None:
        """A new connection; it is closed unless `within` is called for it within `seconds`."""
        with self._lock:
            while len(self._deadlines) >= self._most:
                self._close(next(iter(self._deadlines)))
            self._deadlines[connection] = time.monotonic() + seconds

    def within(self, connection: socket.socket, seconds: float) -> None:
        """It got on, and is closed unless it does so again within `seconds`. Raises OSError if it was closed."""
        self.replaced(connection, connection, seconds)

    def replaced(self, connection: socket.socket, by: socket.socket, seconds: float) -> None:
        """The same for a connection that goes on with another socket, as for TLS. Raises OSError."""
        with self._lock:
            if self._deadlines.pop(connection, None) is None:
                raise ConnectionAbortedError
            self._deadlines[by] = time.monotonic() + seconds

    def forget(self, connection: socket.socket) -> None:
        """It is closed."""
        with self._lock:
            self._deadlines.pop(connection, None)

    def close_overdue(self) -> None:
        now = time.monotonic()
        with self._lock:
            for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
                self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        """The thread that reads from it or writes to it is woken, and closes it for good."""
        del self._deadlines[connection]
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not that of TLS, which another thread may be using
