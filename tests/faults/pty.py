"""A simulated serial line: a pseudo-terminal. The client opens a path such as /dev/pts/3.

The kernel passes the bytes of a pseudo-terminal on in a thread of its own. On a busy machine, this thread can be later
than a time-out of the client. So `without_delay` makes both ends wait until the kernel has passed their bytes on.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from unittest import mock

from drivers.modbus import serial_port

_lines: dict[str, Pty] = {}
"""The open lines by the path of their port."""

_ARRIVES_S = 10.0
"""Maximum wait for the kernel. If it takes longer, the test goes on, and the client sees a late reply."""
_MOST_UNREAD = 4095
"""The kernel keeps at most this many bytes for the reader of an end, and the rest until they are read."""


class Pty:
    """The end of the device. `path` is the port that a client opens."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._open = True
        self._thread = 0
        self._client_is_here = False
        """Whether the client runs in the thread of the device. No byte can then be read while this thread waits."""

    def start(self, received: Callable[[bytes], None]) -> None:
        """Call `received` with the bytes that a client sends."""
        self._thread = threading.get_ident()
        _lines[self.path] = self
        asyncio.get_running_loop().add_reader(self._master, lambda: received(os.read(self._master, 4096)))

    def write(self, data: bytes) -> None:
        if self._open:
            expected = _unread(self._slave) + len(data)
            with suppress(BlockingIOError):
                os.write(self._master, data)
                if self._client_is_here:
                    _wait_for(self._slave, expected)

    def close(self) -> None:
        """Close both ends. A client with an open port gets an error."""
        if self._open:
            self._open = False
            _lines.pop(self.path, None)
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._slave)
            os.close(self._master)

    def client_writes(self, transport: asyncio.WriteTransport, write: Callable[[], None], count: int) -> None:
        """Call `write`, which sends `count` bytes from the end of the client, and wait until they have arrived.

        A write that fails closes the `transport`.
        """
        self._client_is_here = threading.get_ident() == self._thread
        expected = _unread(self._master) + count
        write()
        if self._client_is_here and self._open and not transport.is_closing():
            _wait_for(self._master, expected)


@contextmanager
def without_delay() -> Iterator[None]:
    """Let no byte be under way between an agent and a `Pty` of the same thread."""
    transport = serial_port._SerialTransport
    real = transport.write

    def write(self: serial_port._SerialTransport, data: bytes | bytearray | memoryview) -> None:
        line = _lines.get(self._port.port)
        if line is None:
            real(self, data)
        else:
            line.client_writes(self, lambda: real(self, data), len(data))

    with mock.patch.object(transport, "write", write):
        yield


def _unread(fd: int) -> int:
    """Return the number of bytes that wait to be read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), "little")


def _wait_for(fd: int, count: int) -> None:
    """Wait until `count` bytes can be read, or as many as the kernel keeps."""
    until = time.monotonic() + _ARRIVES_S
    while _unread(fd) < min(count, _MOST_UNREAD) and time.monotonic() < until:
        time.sleep(0.0001)
