"""Errors of drivers; the type says what to do next.

DriverError
├── ProfileError        the profile is wrong: fix the file it names
├── LinkError           the connection was lost instead of a reply: end this device's poll, the next one reconnects
│   └── ConnectError    it cannot be opened: every device on it is missing until it can be
├── SilentError         no answer in time: end this device's poll, reconnect, back off
├── BadReplyError       an answer that is not ours (short, foreign, garbled): drop it, reconnect
├── ExceptionReply      the device answered with a Modbus exception
│   ├── IllegalFunctionError   1: the table does not exist in this device
│   ├── IllegalAddressError    2: split the block, remember the hole
│   ├── IllegalValueError      3: halve the block, remember the limit
│   ├── BusyError              5, 6: try again
│   └── GatewayError           10, 11: the gateway answers for a dead unit, as good as silence
└── UnsupportedError    the device answers, but is not what the driver can read
"""

from __future__ import annotations


class DriverError(Exception):
    """Anything a driver or its link can report."""


class ProfileError(DriverError):
    """A profile that cannot be used; the message names file, place, rule and value."""


class LinkError(DriverError):
    """There is no connection, or the other side closed it."""


class ConnectError(LinkError):
    """The link could not be opened."""


class SilentError(DriverError):
    """No answer within the timeout."""


class BadReplyError(DriverError):
    """A reply that does not belong to the request, or is malformed."""


class UnsupportedError(DriverError):
    """The device answers but offers nothing this driver knows."""


class ExceptionReply(DriverError):  # noqa: N818 - the Modbus term for a reply, not a Python error name
    """A Modbus exception; `code` is the exception code of the specification."""

    code: int

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what}: Modbus exception {code} ({NAMES.get(code, 'unknown')})")
        self.code = code


class IllegalFunctionError(ExceptionReply):
    """Exception 1."""


class IllegalAddressError(ExceptionReply):
    """Exception 2."""


class IllegalValueError(ExceptionReply):
    """Exception 3."""


class BusyError(ExceptionReply):
    """Exceptions 5 and 6."""


class GatewayError(ExceptionReply):
    """Exceptions 10 and 11."""


# Modbus Application Protocol V1.1b3, section 7.
NAMES = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}

_CLASSES: dict[int, type[ExceptionReply]] = {
    1: IllegalFunctionError,
    2: IllegalAddressError,
    3: IllegalValueError,
    5: BusyError,
    6: BusyError,
    10: GatewayError,
    11: GatewayError,
}


def exception_reply(code: int, what: str) -> ExceptionReply:
    """The error for a Modbus exception code; `what` names the request."""
    return _CLASSES.get(code, ExceptionReply)(code, what)


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a text file could not be read, in words, for messages that name the file themselves."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text; save it as such"
    return error.strerror or str(error)
