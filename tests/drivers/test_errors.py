"""The tree of errors, and the labels that metrics, status and alerts know them by."""

from __future__ import annotations

import pytest

from drivers.errors import (
    ConnectError,
    DriverError,
    GatewayError,
    LinkError,
    NoReplyError,
    RefusedError,
    UnreachableError,
    exception_reply,
)
from drivers.protocol import ExceptionCode

# As the released versions name them.
LABELS = {
    "BadReplyError": "bad_reply",
    "BusyError": "busy",
    "ConnectError": "connect",
    "DeviceFailureError": "exception_reply",
    "DriverError": "driver",
    "DroppedError": "dropped",
    "GatewayError": "gateway",
    "IllegalAddressError": "illegal_address",
    "IllegalFunctionError": "illegal_function",
    "IllegalValueError": "illegal_value",
    "LinkError": "link",
    "ProfileError": "profile",
    "SilentError": "silent",
    "UnsupportedError": "unsupported",
}


def all_errors(base: type[DriverError] = DriverError) -> set[type[DriverError]]:
    return {base}.union(*(all_errors(each) for each in base.__subclasses__()))


def test_labels_never_change() -> None:
    found = {error.__name__: error.label for error in all_errors()}
    assert LABELS.items() <= found.items()


def test_a_class_that_is_raised_writes_out_its_label() -> None:
    assert [each.__name__ for each in all_errors() if each.__name__ in LABELS and "label" not in vars(each)] == []


@pytest.mark.parametrize("code", [*ExceptionCode, 0, 4, 99, 255])
def test_an_exception_reply_is_a_refusal_unless_a_gateway_sends_it(code: int) -> None:
    error = exception_reply(code, "unit 1, holding 0")
    by_gateway = code in (10, 11)
    assert isinstance(error, RefusedError) is not by_gateway
    assert isinstance(error, UnreachableError) is by_gateway
    assert error.code == code
    assert str(error).startswith(f"unit 1, holding 0: Modbus exception {code} (")


def test_every_error_of_a_poll_says_one_thing_to_do() -> None:
    both = {each for each in all_errors() if issubclass(each, RefusedError) and issubclass(each, UnreachableError)}
    assert both == set()
    assert issubclass(ConnectError, LinkError)
    assert issubclass(GatewayError, NoReplyError)
    assert not issubclass(LinkError, NoReplyError)
