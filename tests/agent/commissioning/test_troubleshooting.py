from __future__ import annotations

import pytest

from agent.commissioning.troubleshooting import failure_line, remedy, state_in_words
from drivers.errors import (
    BadReplyError,
    ConnectError,
    DriverError,
    LinkError,
    RtuFrameError,
    SilentError,
    UnsupportedError,
    WrongTransactionError,
    exception_reply,
)

HOST, LINE = "192.0.2.7:502 unit 3", "/dev/ttyUSB0 unit 3"


@pytest.mark.parametrize(
    ("error", "address", "next_step", "how"),
    [
        (SilentError("x"), HOST, "`telemetry-agent scan 192.0.2.7 --units 1-247`", "no answer"),
        (SilentError("x"), "[fe80::1]:1030 unit 3", "`telemetry-agent scan fe80::1 --port 1030 --", "no answer"),
        (SilentError("x"), LINE, "A and B exchanged? `telemetry-agent scan /dev/ttyUSB0`", "no answer"),
        (BadReplyError("x"), HOST, "is it the Modbus TCP port?", "wrong answer"),
        (RtuFrameError("x"), HOST, "set transport = rtu_over_tcp", "wrong answer"),
        (WrongTransactionError("x"), HOST, "the gateway is faulty", "wrong answer"),
        (BadReplyError("x"), LINE, "check baud rate and parity", "wrong answer"),
        (exception_reply(2, "x"), HOST, "the driver does not fit; `telemetry-agent scan 192.0.2.7`", "refuses"),
        (exception_reply(6, "x"), HOST, "try again", "refuses"),
        (exception_reply(11, "x"), HOST, "the device behind it does not", "no answer"),
        (LinkError("x"), HOST, "such as the running service, hold the only connection of the device", "disconnects"),
        (exception_reply(4, "x"), HOST, "the device reports an internal failure", "refuses"),
        (ConnectError("h: connection refused; x"), "h:1030 unit 1", "`telemetry-agent scan h` tries", "no connection"),
        (ConnectError("h: no connection within 1 s"), HOST, "is the device on", "no connection"),
        (ConnectError("h: name not found (x)"), HOST, "use the IP address", "no connection"),
        (ConnectError("permission denied; the user needs the group"), LINE, "", "no connection"),
        (UnsupportedError("not SunSpec"), HOST, "", "wrong answer"),
    ],
)
def test_every_failure_has_a_next_step(error: DriverError, address: str, next_step: str, how: str) -> None:
    hint = remedy(error, address)
    assert next_step in hint
    assert bool(hint) == bool(next_step)
    assert state_in_words(error) == how
    assert failure_line("meter-1", address, error) == f"meter-1 ({address}): {error}" + (f"; {hint}" if hint else "")


def test_the_address_is_told_once() -> None:
    line = failure_line("m", HOST, ConnectError("192.0.2.7:502: connection refused; nothing listens on that port"))
    assert line.startswith(f"m ({HOST}): connection refused; nothing listens on that port; is Modbus TCP")
