"""The manual page of the package names arguments and the values of options, as the help does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "debian" / "manual.py"


def test_it_has_the_commands_with_their_values() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "0"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    for line in (
        r".SS telemetry\-agent scan WHERE...",
        r".SS telemetry\-agent outbox retry [ID]...",
        r".SS telemetry\-agent drivers show NAME",
        r".B \-\-config \fIFILE\fR",
        r".B \-\-interval \fISECONDS\fR",
        r".B \-\-strict",
    ):
        assert line in lines, line
