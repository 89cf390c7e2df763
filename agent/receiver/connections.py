"""The connections of a server: their maximum number, and a deadline for each."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

MAX_CONNECTIONS = 32
"""The heads (16 KiB each) and bodies (1 MiB each) of this many connections need at most 33 MiB of memory."""


class Connections:
    """Closes connections after their deadline.

    There are at most `most` connections. A new connection beyond this number closes the connection that made no
    progress for the longest time. The time-out of a socket cannot replace the deadline, because every byte restarts
    that time-out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}
        """In monotonic seconds. The connection that made no progress for the longest time comes first."""

    def opened(self, connection: socket.socket, seconds: float) -> None:
        """Add a new connection. Its deadline is `seconds` from now."""
        with self._lock:
            while len(self._deadlines) >= self._most:
                self._close(next(iter(self._deadlines)))
            self._deadlines[connection] = time.monotonic() + seconds

    def extend(self, connection: socket.socket, seconds: float) -> None:
        """Note progress: the deadline is `seconds` from now. Raises OSError if the connection was closed."""
        self.continue_on(connection, connection, seconds)

    def continue_on(self, connection: socket.socket, by: socket.socket, seconds: float) -> None:
        """As `extend`, but `by` (such as a TLS socket) replaces `connection` from now on."""
        with self._lock:
            if self._deadlines.pop(connection, None) is None:
                raise ConnectionAbortedError
            self._deadlines[by] = time.monotonic() + seconds

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._deadlines.pop(connection, None)

    def close_overdue(self) -> None:
        now = time.monotonic()
        with self._lock:
            for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
                self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        """Shut the connection down. This wakes the thread that uses it, and that thread closes the socket."""
        del self._deadlines[connection]
        with contextlib.suppress(OSError):
            # Shut down only TCP, because another thread may use the TLS object.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
