"""Explains errors of connections to devices. Pure."""

from __future__ import annotations

import errno
import socket
import ssl

_REASONS: dict[int | None, str] = {
    errno.ECONNREFUSED: "connection refused; nothing listens on that port",
    errno.EHOSTUNREACH: "no route to the host; is it switched on and in this network?",
    errno.ENETUNREACH: "network unreachable; is this machine connected?",
    errno.ECONNRESET: "the device reset the connection",
    errno.ENOENT: "no such serial port; is the adapter plugged in?",
    errno.EACCES: "permission denied; the user needs the serial port's group, often dialout",
    errno.ENOTTY: "it is not a serial port",
    errno.EISDIR: "it is not a serial port",
    errno.EAGAIN: "the serial port is in use by another program, such as the running service",
}


def in_words(error: Exception) -> str:
    """Return the cause of `error`, and a hint where there is one."""
    match error:
        case ssl.SSLCertVerificationError():
            hint = "; set server_name to the name in the certificate" if "mismatch" in error.verify_message else ""
            return f"the device's TLS certificate is not accepted: {error.verify_message}{hint}"
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
        case socket.gaierror():
            return f"name not found ({error.strerror})"
        case UnicodeError():
            return "not a valid host name"
        case ConnectionResetError():  # during a TLS handshake, asyncio raises it without errno
            return _REASONS[errno.ECONNRESET]
        case OSError(errno=None):
            # asyncio's text quotes the error of each address. pyserial's text quotes the error of the serial port.
            text = str(error)
            quoted = (words for no, words in _REASONS.items() if f"[Errno {no}]" in text or f"({no}, '" in text)
            return next(quoted, text)
        case OSError():
            return _REASONS.get(error.errno) or error.strerror or str(error)
    return str(error)
