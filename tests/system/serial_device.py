"""A meter on a serial line, inside the machine: `python -m tests.system.serial_device PORT`, until SIGTERM.

PORT becomes a link to a pseudo-terminal with owner, group and mode of a serial port.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from shutil import chown

from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.site import sdm630

UNIT_ID = 3
POWER_W = 777


def plug_in(terminal: str, port: Path) -> None:
    """As udev does it."""
    chown(terminal, "root", "dialout")
    Path(terminal).chmod(0o660)
    port.parent.mkdir(parents=True, exist_ok=True)
    port.symlink_to(terminal)


async def serve(port: Path) -> None:
    """Ends with an error when it was asked for anything but reads."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with FaultServer({(UNIT_ID, Table.INPUT): sdm630(POWER_W, 5.0, 0.0)}, transport="rtu") as server:
        plug_in(server.link().serial_port or "", port)
        await stop.wait()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    try:
        asyncio.run(serve(place))
    finally:
        place.unlink()
