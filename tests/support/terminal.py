"""Runs a command on a pseudo-terminal, and reads what the command writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios


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


def on_a_terminal(columns: int, lines: int, *arguments: str) -> tuple[int, str]:
    """Return the exit status of a command, and what it wrote to a terminal of that size, without colours."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9]*[A-K]", "\n", written_to(ours).decode())  # another line of the terminal
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
