"""Hints for the installer about a device that could not be read. Pure."""

from __future__ import annotations

from drivers.errors import (
    BadReplyError,
    BusyError,
    ConnectError,
    GatewayError,
    IllegalAddressError,
    IllegalFunctionError,
    IllegalValueError,
    LinkError,
    RefusedError,
    RtuFrameError,
    SilentError,
    WrongTransactionError,
    without_address,
)
from drivers.protocol import USUAL_PORTS, link_address

# Error → hint: for links over the network, for serial lines, and for both. The first entry that fits the error is used;
# the entries for both come last. `{scan}` becomes the scan command for the link.
_NETWORK: tuple[tuple[type[Exception], str], ...] = (
    (SilentError, "is the unit id correct? `{scan} --units 1-247` finds the unit ids that answer"),
    (RtuFrameError, "the converter does not translate to Modbus TCP: set transport = rtu_over_tcp"),
    (WrongTransactionError, "the gateway is faulty: restart it, and update its firmware"),
    (BadReplyError, "is it the Modbus TCP port? `{scan}` tries the usual ports"),
)
_LINE: tuple[tuple[type[Exception], str], ...] = (
    (SilentError, "check unit id, baud rate, parity; are A and B exchanged? `{scan}` tries the usual settings"),
    (BadReplyError, "check baud rate and parity; is a unit id used twice? `{scan}` tries the usual settings"),
)
_BOTH: tuple[tuple[type[Exception], str], ...] = (
    (GatewayError, "the gateway answers, the device behind it does not: check unit id, wiring, baud rate and parity"),
    (BusyError, "the device is busy; try again"),
    (IllegalFunctionError, "the driver does not fit; `{scan}` names one that does"),
    (IllegalAddressError, "the driver does not fit; `{scan}` names one that does"),
    (IllegalValueError, "the driver does not fit, or max_registers is too large; `{scan}` names a driver that fits"),
    (RefusedError, "the device reports an internal failure; is it still starting, or is the driver wrong?"),
    (LinkError, "does another client, such as the running service, hold the only connection of the device?"),
)
_UNCONNECTED = {
    "connection refused": "is Modbus TCP enabled in the device? `{scan}` tries the usual ports",
    "no connection within": "is the device on, is the address correct, does a firewall block the connection?",
    "name not found": "use the IP address instead, or fix the name resolution",
}
"""A part of the text of a ConnectError → hint. A ConnectError with another text needs no hint."""


def remedy(error: Exception, address: str) -> str:
    """Return a hint; empty if there is none for this error. `address` is the address of the device."""
    place = link_address(address)
    if isinstance(error, ConnectError):
        hint = next((words for reason, words in _UNCONNECTED.items() if reason in str(error)), "")
    else:
        hints = (_LINE if place.startswith("/") else _NETWORK) + _BOTH
        hint = next((words for kind, words in hints if isinstance(error, kind)), "")
    target = place.rpartition(":")[0].strip("[]") if isinstance(error, ConnectError) else _target(place)
    return hint.format(scan=f"telemetry-agent scan {target}")


def state_in_words(error: Exception) -> str:
    """Return the state of a device that could not be read, in one or two words."""
    if isinstance(error, ConnectError):
        return "no connection"
    if isinstance(error, RefusedError):
        return "refuses"
    if isinstance(error, SilentError | GatewayError):
        return "no answer"
    return "disconnects" if isinstance(error, LinkError) else "wrong answer"


def failure_line(name: str, address: str, error: Exception) -> str:
    """Return the line for a device that could not be read, with a hint."""
    hint = remedy(error, address)
    return f"{name} ({address}): {without_address(error, address)}" + (f"; {hint}" if hint else "")


def _target(place: str) -> str:
    """Return the arguments of `scan` for a link: a serial port, or a host and, if it is unusual, its port."""
    if place.startswith("/"):
        return place
    host, _, port = place.rpartition(":")
    return host.strip("[]") + (f" --port {port}" if int(port) not in USUAL_PORTS else "")
