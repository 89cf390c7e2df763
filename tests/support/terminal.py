"""The reading side of a pseudo-terminal on which a command writes."""

from __future__ import annotations

import contextlib
import os


def written_to(master: int) -> bytes:
    """Read until the last process with this terminal has ended, and close it. The caller has closed the other side.

    If nobody reads, a command blocks when it has written 4 KiB to a terminal.
    """
    written = bytearray()
    with contextlib.suppress(OSError):  # the end of the last process
        while part := os.read(master, 65_536):
            written += part
    os.close(master)
    return bytes(written)
