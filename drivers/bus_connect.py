"""Opening a connection, and saying in words why it failed."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

from drivers.bus import LinkSettings
from drivers.bus_channel import Channel
from drivers.bus_frames import Ascii, Framing, Mbap, Rtu
from drivers.errors import LinkError

_FRAMINGS: dict[str, type[Framing]] = {
    "tcp": Mbap,
    "udp": Mbap,
    "tls": Mbap,
    "rtu": Rtu,
    "rtu_over_tcp": Rtu,
    "ascii": Ascii,
    "ascii_over_tcp": Ascii,
}

_REASONS = {
    errno.ECONNREFUSED: "connection refused; nothing listens on that port",
    errno.EHOSTUNREACH: "no route to the host; is it switched on and in this network?",
    errno.ENETUNREACH: "network unreachable; is this machine connected?",
    errno.ECONNRESET: "the device closed the connection while it was being opened",
    errno.ENOENT: "no such serial port; is the adapter plugged in?",
    errno.EACCES: "permission denied; the user needs the serial port's group, often dialout",
    errno.EAGAIN: "the serial port is in use by another program",
}


async def connect(settings: LinkSettings) -> Channel:
    """An open channel, within `settings.timeout_s`. Raises LinkError that names address and reason."""
    try:
        async with asyncio.timeout(settings.timeout_s):
            return await _open(settings)
    except OSError as error:  # TimeoutError, ssl.SSLError and serial.SerialException are some
        raise LinkError(f"{settings.address}: {_reason(error, settings)}") from None


async def _open(settings: LinkSettings) -> Channel:
    datagrams = settings.transport == "udp"
    channel = Channel(_FRAMINGS[settings.transport](), settings.address, datagrams=datagrams)
    if settings.serial:
        from drivers.bus_serial import open_serial

        await open_serial(channel, settings)
        return channel
    loop = asyncio.get_running_loop()
    if datagrams:
        await loop.create_datagram_endpoint(lambda: channel, remote_addr=(str(settings.host), settings.port))
    else:
        context = _tls_context(settings) if settings.transport == "tls" else None
        await loop.create_connection(lambda: channel, str(settings.host), settings.port, ssl=context)
    return channel


def _tls_context(settings: LinkSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise LinkError(f"{settings.address}: ca_file {settings.ca_file} cannot be used ({error.strerror})") from None
    if settings.client_cert_file is not None:
        try:
            context.load_cert_chain(settings.client_cert_file, settings.client_key_file)
        except OSError as error:
            raise LinkError(
                f"{settings.address}: client_cert_file {settings.client_cert_file} cannot be used ({error.strerror})"
            ) from None
    return context


def _reason(error: OSError, settings: LinkSettings) -> str:
    match error:
        case TimeoutError():
            return f"no connection within {settings.timeout_s:g} s"
        case ssl.SSLCertVerificationError():
            return f"the device's TLS certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS handshake failed: {error.reason or error}"
        case socket.gaierror():
            return "name not found"
    if error.errno is None:  # a name with several addresses: asyncio quotes the error of each
        return next((reason for number, reason in _REASONS.items() if f"[Errno {number}]" in str(error)), str(error))
    return _REASONS.get(error.errno) or error.strerror or str(error)
