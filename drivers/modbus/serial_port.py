"""Serial lines, through pymodbus' asyncio transport over pyserial."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios

from pymodbus.transport.serialtransport import SerialTransport

from drivers.modbus.settings import LinkSettings
from drivers.modbus.transport import Transport


class _SerialTransport(SerialTransport):
    """Sends at once and tells its protocol of every close, as asyncio's own transports do."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Without waiting for the event loop: a request that was given up must not be sent after it."""
        sent = 0
        if not self.intern_write_buffer:
            # Not pyserial's write, which waits for a port that takes nothing. What fails here fails again below.
            with contextlib.suppress(OSError):
                sent = os.write(self.sync_serial.fileno(), data)
        if sent < len(data):
            super().write(data[sent:])

    def close(self, exc: Exception | None = None) -> None:
        super().close(exc or ConnectionAbortedError("closed"))

    def is_closing(self) -> bool:
        return not self.sync_serial


async def open_serial(channel: Transport, settings: LinkSettings) -> None:
    """Open the port of `settings` for `channel`. Raises OSError (serial.SerialException is one)."""
    try:
        transport = _SerialTransport(
            asyncio.get_running_loop(),
            channel,
            settings.serial_port,
            settings.baudrate,
            data_bits(settings),
            settings.parity,
            settings.stop_bits,
            settings.timeout_s,
        )
    except termios.error as error:
        raise OSError(*error.args) from None
    transport.setup()
    try:
        await asyncio.sleep(0)  # until it has called connection_made
    except asyncio.CancelledError:
        transport.abort()  # or the port stays locked
        raise


def data_bits(settings: LinkSettings) -> int:
    """RTU has eight. ASCII has characters of ten bits in all: 7E1, 7O1, 7N2, or the 8N1 of many adapters."""
    plain = settings.parity == "N" and settings.stop_bits == 1
    return 8 if settings.kind.framing == "rtu" or plain else 7
