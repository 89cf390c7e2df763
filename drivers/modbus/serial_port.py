"""Opens serial ports with pyserial, each as an asyncio transport.

pymodbus' client can also open ports. But it does not report why a port cannot be opened, and its transport does not
report when the port closes (docs/decisions/0001-pymodbus.md).
"""

from __future__ import annotations

import asyncio
import os
import termios

import serial

from drivers.modbus.settings import LinkSettings
from drivers.modbus.transport import Transport

_MOST_BYTES = 1024
"""Maximum bytes of one read from the port."""


class _SerialTransport(asyncio.Transport):
    """Writes at once, without a buffer of its own: a request is shorter than the buffer of the port."""

    def __init__(self, port: serial.Serial, protocol: Transport) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._protocol = protocol
        self._closing = False
        self._loop.add_reader(port.fd, self._read)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            written = os.write(self._port.fd, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._close(error)
            return
        if written < len(data):
            self._close(OSError("the serial port accepts no bytes; does flow control block it?"))

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self._close(None)

    def _read(self) -> None:
        try:
            data = os.read(self._port.fd, _MOST_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._close(OSError("the serial port is gone"))

    def _close(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._port.fd)
        self._port.close()
        self._loop.call_soon(self._protocol.connection_lost, error)


def open_serial(channel: Transport, settings: LinkSettings) -> None:
    """Open the port of `settings` for `channel`. Raises OSError, which includes serial.SerialException."""
    try:
        port = serial.Serial(
            settings.serial_port,
            settings.baudrate,
            data_bits(settings),
            settings.parity,
            settings.stop_bits,
            exclusive=True,
        )
    except termios.error as error:
        raise OSError(*error.args) from None
    except OverflowError:
        raise OSError(f"{settings.baudrate} baud is too fast for this system") from None
    except ValueError as error:  # such as a baud rate that the port rejects
        raise OSError(str(error)) from None
    channel.connection_made(_SerialTransport(port, channel))


def data_bits(settings: LinkSettings) -> int:
    """Return the number of data bits: 7 for ASCII with parity or with two stop bits, otherwise 8."""
    plain = settings.parity == "N" and settings.stop_bits == 1
    return 8 if settings.kind.framing == "rtu" or plain else 7
