"""A simulated serial line: a pseudo-terminal. The client opens a path such as /dev/pts/3."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from contextlib import suppress


class Pty:
    """The end of the device. `path` is the port that a client opens."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._open = True

    def start(self, received: Callable[[bytes], None]) -> None:
        """Call `received` with the bytes that a client sends."""
        asyncio.get_running_loop().add_reader(self._master, lambda: received(os.read(self._master, 4096)))

    def write(self, data: bytes) -> None:
        if self._open:
            with suppress(BlockingIOError):
                os.write(self._master, data)

    def close(self) -> None:
        """Close both ends. A client with an open port gets an error."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._slave)
            os.close(self._master)
