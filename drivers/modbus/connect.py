"""Opens connections to devices: TCP, TLS, UDP and serial ports."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

from drivers.errors import ConnectError
from drivers.modbus.framer import Ascii, Framing, Mbap, Rtu
from drivers.modbus.os_errors import in_words
from drivers.modbus.resolver import Resolver
from drivers.modbus.settings import LinkSettings
from drivers.modbus.transport import Transport
from drivers.modbus.turns import Turns, time_out
from drivers.tls import TlsFileError, client_context

NAMES_AT_ONCE = 16
"""Maximum number of host names that are looked up at the same time. Each look-up needs a thread, and a service can have
only few threads. While a site is offline, hundreds of names may wait for a look-up."""
_RESOLVER = Resolver(NAMES_AT_ONCE)
CONNECTS_AT_ONCE = 32
"""Maximum number of connections that are opened at the same time. Each takes about 0.3 ms of CPU time, or 3 ms on a
slow controller."""
_TURNS = Turns(CONNECTS_AT_ONCE, hold_s=0.25)
"""A connection that is not open after 0.25 s no longer counts towards `CONNECTS_AT_ONCE`."""

_FRAMINGS: dict[str, type[Framing]] = {
    "mbap": Mbap,
    "rtu": Rtu,
    "ascii": Ascii,
}


async def connect(settings: LinkSettings) -> Transport:
    """Wait for a turn (`Turns`). Then open a connection within `settings.timeout_s` and return it.

    Raises ConnectError with address and reason.
    """
    try:
        async with _TURNS.turn(), time_out(settings.timeout_s):
            return await _open(settings)
    except TimeoutError:
        raise ConnectError(f"{settings.address}: no connection within {settings.timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:  # ssl.SSLError and serial.SerialException are OSErrors
        raise ConnectError(f"{settings.address}: {in_words(error)}") from None


async def _open(settings: LinkSettings) -> Transport:
    """Open the serial port, or try the addresses of the host one after the other.

    Each address has an equal part of the timeout; the last one has all the time that is left.
    """
    framing = _FRAMINGS[settings.kind.framing]()
    kind = settings.kind
    channel = Transport(framing, settings.address, datagrams=kind.medium == "udp")
    if settings.serial:
        from drivers.modbus.serial_port import open_serial

        open_serial(channel, settings)
        return channel
    found = await _RESOLVER.addresses(str(settings.host))
    context = _tls_context(settings) if settings.kind.medium == "tls" else None
    for address in found[:-1]:
        with suppress(OSError):  # includes TimeoutError
            async with time_out(settings.timeout_s / len(found)):
                await _open_at(address, settings, channel, context)
                return channel
    await _open_at(found[-1], settings, channel, context)
    return channel


async def _open_at(address: str, settings: LinkSettings, channel: Transport, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    if settings.kind.medium == "udp":
        await loop.create_datagram_endpoint(lambda: channel, remote_addr=(address, settings.port))
        return
    name = (settings.server_name or settings.host) if context else None
    await loop.create_connection(lambda: channel, address, settings.port, ssl=context, server_hostname=name)


def _tls_context(settings: LinkSettings) -> ssl.SSLContext:
    try:
        return client_context(settings.ca_file, settings.client_cert_file, settings.client_key_file)
    except TlsFileError as error:
        raise ConnectError(f"{settings.address}: {error}") from None
