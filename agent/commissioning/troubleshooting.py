"""Why a device could not be read → what the person in front of it does next. Pure."""

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
    SilentError,
)

_NETWORK: tuple[tuple[type[Exception], str], ...] = (
    (SilentError, "is the unit id right? `{scan} --units 1-247` finds those that answer"),
    (BadReplyError, "is it the port of Modbus TCP? A converter that does not translate needs transport = rtu_over_tcp"),
)
_LINE: tuple[tuple[type[Exception], str], ...] = (
    (SilentError, "unit id, baud rate, parity, or A and B exchanged? `{scan}` tries the usual ones"),
    (BadReplyError, "another baud rate or parity, or two devices with one unit id? `{scan}` tries the usual ones"),
)
_BOTH: tuple[tuple[type[Exception], str], ...] = (
    (GatewayError, "the gateway answers, the unit behind it does not: its unit id, wiring, baud rate, parity"),
    (BusyError, "it is busy with something else; try again"),
    (IllegalFunctionError, "the driver does not fit; `{scan}` names one that does"),
    (IllegalAddressError, "the driver does not fit; `{scan}` names one that does"),
    (IllegalValueError, "the driver does not fit, or max_registers is too large; `{scan}` names a driver that fits"),
    (RefusedError, "it reports a failure of its own; is it starting up, or is it another device?"),
    (LinkError, "does another client hold its only connection, such as the running service?"),
)
_UNCONNECTED = {
    "connection refused": "is Modbus TCP switched on in the device? `{scan}` tries the usual ports",
    "no connection within": "is it switched on, is the address right, is a firewall in between?",
    "name not found": "give its address instead, or mend the name service",
}
"""By the reason of a ConnectError; the others say it themselves."""


def remedy(error: Exception, address: str) -> str:
    """What to look at next; empty where the error says it itself. `address` is that of the device."""
    place = address.rpartition(" unit ")[0]
    if isinstance(error, ConnectError):
        hint = next((words for reason, words in _UNCONNECTED.items() if reason in str(error)), "")
    else:
        hints = (_LINE if place.startswith("/") else _NETWORK) + _BOTH
        hint = next((words for kind, words in hints if isinstance(error, kind)), "")
    target = place.rpartition(":")[0].strip("[]") if isinstance(error, ConnectError) else _target(place)
    return hint.format(scan=f"telemetry-agent scan {target}")


def state(error: Exception) -> str:
    """How a device that could not be read behaves, in a few words."""
    if isinstance(error, ConnectError):
        return "no connection"
    if isinstance(error, RefusedError):
        return "refuses"
    if isinstance(error, SilentError | GatewayError):
        return "no answer"
    return "hangs up" if isinstance(error, LinkError) else "answers wrongly"


def told(name: str, address: str, error: Exception) -> str:
    """The line for a device that could not be read."""
    hint = remedy(error, address)
    return f"{name} ({address}): {error}" + (f"; {hint}" if hint else "")


def _target(place: str) -> str:
    """As `scan` takes it."""
    if place.startswith("/"):
        return place
    host, _, port = place.rpartition(":")
    return host.strip("[]") + (f" --port {port}" if port not in ("502", "1502") else "")
