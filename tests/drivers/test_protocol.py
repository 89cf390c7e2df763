"""The protocol's facts, held against pymodbus and against the types that name them."""

from __future__ import annotations

from typing import get_args

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
    max_count,
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
