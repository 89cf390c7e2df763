"""The protocol's facts, held against pymodbus and against the types that name them."""

from __future__ import annotations

from typing import get_args

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from drivers.model import WORD_ORDERS, Table, WordOrder
from drivers.protocol import (
    BITS,
    EXCEPTION,
    FUNCTIONS,
    IDENTIFICATION,
    MAX_BITS,
    MAX_REGISTERS,
    TABLES,
    TRANSPORTS,
    ExceptionCode,
    TransportName,
    host_and_port,
    is_ip_address,
    link_address,
    max_count,
    unit_address,
    zone_mistake,
)


def test_function_codes_and_limits_are_those_of_pymodbus() -> None:
    assert {function: DecodePDU.pdu_table[function][0].__name__ for function in (*TABLES, IDENTIFICATION)} == {
        1: "ReadCoilsRequest",
        2: "ReadDiscreteInputsRequest",
        3: "ReadHoldingRegistersRequest",
        4: "ReadInputRegistersRequest",
        43: "_EncapsulatedInterfaceTransport",
    }
    assert set(FUNCTIONS) == set(Table)
    assert {table: max_count(table) for table in Table} == {
        table: ReadCoilsRequest.MAX_COUNT if table in BITS else ReadHoldingRegistersRequest.MAX_COUNT for table in Table
    }
    assert (MAX_BITS, MAX_REGISTERS, EXCEPTION) == (2000, 125, 0x80)


def test_exception_codes_are_those_of_pymodbus() -> None:
    assert {int(code) for code in ExceptionCode} <= {int(code) for code in ExcCodes}


def test_every_name_has_its_meaning() -> None:
    assert tuple(TRANSPORTS) == get_args(TransportName)
    assert tuple(WORD_ORDERS) == get_args(WordOrder)
    assert len(set(WORD_ORDERS.values())) == len(WORD_ORDERS)


@pytest.mark.parametrize(
    "link", [host_and_port("192.168.1.20", 502), host_and_port("fe80::1%eth0", 802), "/dev/ttyUSB0"]
)
def test_the_address_of_a_unit_holds_that_of_its_link(link: str) -> None:
    assert unit_address(link, 3) == f"{link} unit 3"
    assert link_address(unit_address(link, 3)) == link


def test_an_ipv6_address_has_brackets_before_its_port() -> None:
    assert host_and_port("::1", 502) == "[::1]:502"
    assert host_and_port("meter.lan", 502) == "meter.lan:502"


@pytest.mark.parametrize(
    ("host", "wrong"),
    [("fe80::1", True), ("FE80::1", True), ("febf::1", True), ("fe80::1%eth0", False), ("2001:db8::1", False)],
)
def test_a_link_local_address_needs_its_interface(host: str, wrong: bool) -> None:
    assert (zone_mistake(host) is not None) == wrong
    assert is_ip_address(host)


def test_a_name_is_no_address() -> None:
    assert not is_ip_address("meter.lan")
    assert not is_ip_address("[::1]")
