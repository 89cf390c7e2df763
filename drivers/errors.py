"""Errors of drivers; the type says what to do next.

DriverError
├── ProfileError        the profile is wrong: fix the file it names
├── UnsupportedError    the device replies, but it is not what the driver can read
├── RefusedError        the device replies with a Modbus exception: read the rest
│   ├── IllegalFunctionError   1: the device does not have this table
│   ├── IllegalRangeError      the device does not have all of this: read it in parts
│   │   ├── IllegalAddressError    2: split the block, remember the hole
│   │   └── IllegalValueError      3: halve the block, remember the limit
│   ├── BusyError              5, 6: try again
│   └── DeviceFailureError     4, 8 and unknown codes: leave it out of this poll
└── UnreachableError    nothing of this device can be read now: end its poll, back off
    ├── LinkError              the connection is lost: the next poll connects again
    │   ├── ConnectError           it cannot be opened: every device on it is missing until it can be
    │   └── DroppedError           the device closes it before the first byte of a reply
    └── NoReplyError           the connection is there, a valid reply of this unit is not
        ├── SilentError            no bytes within the timeout
        ├── BadReplyError          a reply that is short, foreign or damaged
        └── GatewayError           10, 11: the gateway replies for a unit that it does not reach
"""

from __future__ import annotations

from typing import ClassVar

from drivers.protocol import ExceptionCode


class DriverError(Exception):
    """Anything a driver or its link can report."""

    label: ClassVar[str] = "driver"
    """Its name in metrics and status; public, so it never changes."""


class ProfileError(DriverError):
    """A profile that cannot be used; the message names file, place, rule and value."""

    label = "profile"


class UnsupportedError(DriverError):
    """The device replies but offers nothing this driver knows."""

    label = "unsupported"


class UnreachableError(DriverError):
    """Nothing of the device can be read now."""

    label = "unreachable"


class LinkError(UnreachableError):
    """There is no connection, or the other side closed it."""

    label = "link"


class ConnectError(LinkError):
    """The link could not be opened."""

    label = "connect"


class DroppedError(LinkError):
    """The other side closed the connection before it sent a byte of the reply."""

    label = "dropped"


class NoReplyError(UnreachableError):
    """The link works, but the unit did not give a valid reply."""

    label = "no_reply"


class SilentError(NoReplyError):
    """No bytes within the timeout."""

    label = "silent"


class BadReplyError(NoReplyError):
    """A reply that does not belong to the request, or is malformed."""

    label = "bad_reply"


class _ExceptionReplyError(DriverError):
    """What both kinds of exception replies have. Callers catch RefusedError or GatewayError."""

    code: int
    """The exception code of the specification."""

    def __init__(self, code: int, what: str) -> None:
        """`what` names the request."""
        super().__init__(f"{what}: Modbus exception {code} ({_NAMES.get(code, 'unknown')})")
        self.code = code


class GatewayError(_ExceptionReplyError, NoReplyError):
    """Exceptions 10 and 11."""

    label = "gateway"


class RefusedError(_ExceptionReplyError):
    """The device replied with a Modbus exception."""

    label = "exception_reply"


class IllegalFunctionError(RefusedError):
    """Exception 1."""

    label = "illegal_function"


class IllegalRangeError(RefusedError):
    """The device does not have all that was asked for, or not in one request."""


class IllegalAddressError(IllegalRangeError):
    """Exception 2."""

    label = "illegal_address"


class IllegalValueError(IllegalRangeError):
    """Exception 3."""

    label = "illegal_value"


class BusyError(RefusedError):
    """Exceptions 5 and 6."""

    label = "busy"


class DeviceFailureError(RefusedError):
    """Exceptions 4 and 8, and codes that the specification does not have."""

    label = "exception_reply"


_NAMES: dict[int, str] = {code: code.name.replace("_", " ").lower() for code in ExceptionCode}
_CLASSES: dict[int, type[RefusedError | GatewayError]] = {
    ExceptionCode.ILLEGAL_FUNCTION: IllegalFunctionError,
    ExceptionCode.ILLEGAL_DATA_ADDRESS: IllegalAddressError,
    ExceptionCode.ILLEGAL_DATA_VALUE: IllegalValueError,
    ExceptionCode.ACKNOWLEDGE: BusyError,
    ExceptionCode.SERVER_DEVICE_BUSY: BusyError,
    ExceptionCode.GATEWAY_PATH_UNAVAILABLE: GatewayError,
    ExceptionCode.GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND: GatewayError,
}


def exception_reply(code: int, what: str) -> RefusedError | GatewayError:
    """The error for a Modbus exception code; `what` names the request."""
    return _CLASSES.get(code, DeviceFailureError)(code, what)


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a text file could not be read, in words, for messages that name the file themselves."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text; save it as such"
    return error.strerror or str(error)
