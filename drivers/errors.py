"""Errors of drivers. The type tells the caller what to do.

DriverError
├── ProfileError        the profile, or a key of the device, is wrong: correct what the message names
├── UnsupportedError    the device replies, but the driver cannot read this kind of device
├── RefusedError        the device replies with a Modbus exception: read the rest
│   ├── IllegalFunctionError   1: the device does not have this table
│   ├── IllegalRangeError      the device does not have the whole range: read it in parts
│   │   ├── IllegalAddressError    2: send smaller requests, leave out an address that is refused alone
│   │   └── IllegalValueError      3: send requests of half the size
│   ├── BusyError              5, 6: try again
│   └── DeviceFailureError     4, 8 and unknown codes: omit the block from this poll
└── UnreachableError    no register of this device can be read now: end its poll, wait before the next poll
    ├── LinkError              there is no connection: the next poll connects again
    │   ├── ConnectError           the connection cannot be opened: no device on the link can be read
    │   └── DroppedError           the other side closes the connection before the first byte of a reply
    └── NoReplyError           the connection works, but the unit sends no valid reply
        ├── SilentError            no bytes within the timeout
        ├── BadReplyError          the reply is short, damaged or from another unit
        │   ├── RtuFrameError          the replies are RTU frames, not Modbus TCP: use rtu_over_tcp
        │   ├── RepeatedReplyError     only a frame equal to an earlier reply arrived: send again
        │   └── WrongTransactionError  the reply has the transaction number of another request: the gateway is faulty
        └── GatewayError           10, 11: the gateway replies for a unit that it cannot reach
"""

from __future__ import annotations

from typing import ClassVar

from drivers.protocol import ExceptionCode, link_address


class DriverError(Exception):
    """Base of all errors of drivers and links."""

    label: ClassVar[str] = "driver"
    """The name of the error in metrics and status. It is public and must not change."""


class ProfileError(DriverError):
    """The profile cannot be used, or the driver does not have this channel or this word order.

    The text names the file and the place in it, or the driver. It has the rule and, if there is one, the wrong value.
    """

    label = "profile"


class UnsupportedError(DriverError):
    """The device replies, but the driver cannot read this kind of device."""

    label = "unsupported"


class UnreachableError(DriverError):
    """No register of the device can be read now."""

    label = "unreachable"


class LinkError(UnreachableError):
    """The connection cannot be opened, failed, or was closed."""

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
    """The unit sent no bytes within the timeout."""

    label = "silent"


class BadReplyError(NoReplyError):
    """The reply does not match the request, or it is malformed."""

    label = "bad_reply"


class RtuFrameError(BadReplyError):
    """A request of Modbus TCP was answered with RTU frames."""


class WrongTransactionError(BadReplyError):
    """A reply of Modbus TCP has the transaction number of another request."""


class RepeatedReplyError(BadReplyError):
    """Only a frame that is equal to an earlier reply arrived. It may be a copy (see `drivers.modbus.copies`)."""


class _ExceptionReplyError(DriverError):
    """A Modbus exception. Callers catch RefusedError or GatewayError."""

    code: int
    """The exception code of Modbus."""

    def __init__(self, code: int, what: str) -> None:
        """`what` describes the request."""
        super().__init__(f"{what}: Modbus exception {code} ({_NAMES.get(code, 'unknown')})")
        self.code = code


class GatewayError(_ExceptionReplyError, NoReplyError):
    """Exceptions 10 and 11."""

    label = "gateway"


class RefusedError(_ExceptionReplyError):
    """The device replied with a Modbus exception other than 10 and 11."""

    label = "exception_reply"


class IllegalFunctionError(RefusedError):
    """Exception 1."""

    label = "illegal_function"


class IllegalRangeError(RefusedError):
    """The device does not have all registers of the request, or does not return them in one reply."""


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
    """Exceptions 4 and 8, and codes that the specification does not define."""

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
    """Return the error for a Modbus exception code. `what` describes the request."""
    return _CLASSES.get(code, DeviceFailureError)(code, what)


def without_address(error: Exception, address: str) -> str:
    """Return the text of `error` without the address of the link at its beginning, because the caller shows `address`.

    `address` is the address of a unit, such as "10.0.0.1:502 unit 3".
    """
    return str(error).removeprefix(f"{link_address(address)}: ")


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return why a text file could not be read. The caller adds the name of the file."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text; save it as UTF-8"
    return error.strerror or str(error)
