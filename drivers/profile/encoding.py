"""Reads the keys of a profile that describe how a value is stored in registers, and checks them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from sys import float_info
from typing import Any

from drivers.model import WORD_ORDERS, Nature, Quantity, Table, WordOrder
from drivers.profile.toml_table import TomlTable
from drivers.protocol import ADDRESSES, BITS, MAX_REGISTERS
from drivers.registers.codec import FORMATS, Encoding

MODES = ("off", "on")
"""The values of `operation_mode`."""
MOST_BITS = 8
"""Maximum number of coils or discrete inputs that form one value of type "bits"."""

# Keys that only numbers have, and keys that only states have.
_NUMBER_KEYS = {"scale", "offset", "magnitude", "min", "max"}
_STATE_KEYS = {"bit", "values"}


def table_and_address(table: TomlTable) -> tuple[Table, int]:
    """Return the table and the zero-based address of the first register."""
    return Table(table.choice("table", Table)), table.whole("address", 0, ADDRESSES - 1)


def require_in_table(table: TomlTable, address: int, encoding: Encoding) -> None:
    """Raise ProfileError if the value extends beyond the last address."""
    if address + encoding.width > ADDRESSES:
        raise table.wrong("address", f"must leave room for {encoding.width} registers below {ADDRESSES}", address)


def encoding(table: TomlTable, where: Table, order: WordOrder, quantity: Quantity | None) -> Encoding:
    """Return the encoding of a value. Raises ProfileError.

    `where` is the table of the registers, `order` the word order of the profile. `quantity` decides which types and
    keys are allowed. It is None for the registers of marks, repetitions and serial numbers: they can have any type of
    their table except "bits".
    """
    in_bits = where in BITS
    known = [*FORMATS, "string"] if not in_bits else ["bool", "bits"] if quantity is not None else ["bool"]
    type_ = table.choice("type", known, "bool" if in_bits else ...)
    scale = table.number("scale", 1.0)
    if abs(scale) < float_info.min:  # for a smaller number, 1 / scale may be infinite
        raise table.wrong("scale", "must not be 0", scale)
    result = Encoding(
        type=type_,
        length=_length(table, type_),
        word_order=table.choice("word_order", WORD_ORDERS, order),
        scale=scale,
        offset=table.number("offset", 0.0),
        magnitude=table.take("magnitude", bool, False),
        invalid=_patterns(table, type_),
        on_invalid=table.choice("on_invalid", ("missing", "zero"), "missing"),
        bit=table.whole("bit", 0, 63, None),
        values=_names(table, table.take("values", dict, None)),
        minimum=table.number("min", None),
        maximum=table.number("max", None),
    )
    _consistent(table, result)
    if quantity is not None:
        _fits(table, result, quantity)
    return result


def _length(table: TomlTable, type_: str) -> int:
    """Return `length`, which is required for the types "bits" and "string". Without the key, other types get 1."""
    least, most = (2, MOST_BITS) if type_ == "bits" else (1, MAX_REGISTERS)
    length: int = table.whole("length", least, most, ... if type_ in ("bits", "string") else 1)
    return length


def _patterns(table: TomlTable, type_: str) -> tuple[int, ...]:
    """Return `invalid` as bit patterns.

    The key `invalid` lists bit patterns, negative numbers of a signed type, or values of a float.
    """
    found = table.some("invalid", (int, float), "raw numbers", [])
    if found and type_ in ("string", "bool"):
        raise table.wrong("invalid", f"has no meaning for type {type_}", found)
    if type_ == "bits":
        return tuple(_bits(table, "invalid", raw) for raw in found)
    return tuple(_pattern(table, type_, raw) for raw in found)


def _bits(table: TomlTable, key: str, number: float) -> int:
    """Return `number` if it fits the `length` of a value of type "bits". Raises ProfileError."""
    length = table.content["length"]
    if not isinstance(number, int) or not 0 <= number < 1 << length:
        raise table.wrong(key, f"must be 0..{(1 << length) - 1} for {length} bits", number)
    return number


def _pattern(table: TomlTable, type_: str, raw: float) -> int:
    """Return one entry of `invalid` as a bit pattern. Raises ProfileError if it does not fit the type."""
    form, bits = FORMATS[type_], Encoding(type_).bits
    if isinstance(raw, float):
        if form not in "fd":
            raise table.wrong("invalid", f"must be whole numbers for type {type_}", raw)
        try:
            return int.from_bytes(struct.pack(f">{form}", raw), "big")
        except OverflowError:
            raise table.wrong("invalid", f"must fit {type_}", raw) from None
    lowest = -(1 << bits - 1) if form in "hiq" else 0
    if not lowest <= raw < 1 << bits:
        hint = "; a value needs a decimal point, such as -1.0" if form in "fd" else ""
        raise table.wrong("invalid", f"must be bit patterns of {bits} bits{hint}", raw)
    return raw & (1 << bits) - 1


def _names(table: TomlTable, values: Mapping[str, Any] | None) -> dict[int, str] | None:
    """Return raw number → name. TOML keys are texts such as "3" or "0x03"."""
    if values is None:
        return None
    names: dict[int, str] = {}
    for raw, name in values.items():
        try:
            number = int(raw, 0)
        except ValueError:
            raise table.wrong("values", 'must map raw numbers to names, such as { "0" = "off" }', raw) from None
        if not isinstance(name, str):
            raise table.wrong("values", "must map to text", name)
        if number in names:
            raise table.wrong("values", "has this number twice", raw)
        names[number] = name
    if not names:
        raise table.wrong("values", "must name at least one raw number", values)
    return names


def _consistent(table: TomlTable, encoding: Encoding) -> None:
    """Raise ProfileError if keys of the encoding contradict each other."""
    whole = not encoding.is_float and encoding.type not in ("bool", "bits", "string")
    if encoding.type not in ("bits", "string") and table.has("length"):
        raise table.wrong("length", "is for types string and bits; other types have a fixed length", encoding.length)
    if encoding.type == "bitfield" and encoding.bit is None:
        raise table.wrong("type", "bitfield needs bit = 0..15", encoding.type)
    if encoding.bit is not None and not (whole and encoding.bit < encoding.bits):
        rule = f"must be 0..{encoding.bits - 1} for {encoding.type}" if whole else "needs a type of whole numbers"
        raise table.wrong("bit", rule, encoding.bit)
    if encoding.values is not None and encoding.type not in ("bool", "bits") and not whole:
        raise table.wrong("values", "needs a type of whole numbers", encoding.type)
    if encoding.type == "bits":
        for number in encoding.values or ():
            _bits(table, "values", number)
    if encoding.values is not None and encoding.on_invalid == "zero":
        raise table.wrong("on_invalid", "zero cannot be used with values", "zero")
    if encoding.minimum is not None and encoding.maximum is not None and encoding.minimum > encoding.maximum:
        raise table.wrong("min", f"must not be above max = {encoding.maximum:g}", encoding.minimum)


def _fits(table: TomlTable, encoding: Encoding, quantity: Quantity) -> None:
    """Raise ProfileError if the encoding does not give what the quantity needs.

    `on` needs true or false, `operation_mode` needs a mode, and every other quantity needs a number.
    """
    if encoding.type == "string":
        raise table.wrong("type", "string is only for [identify], [mark.NAME] and [serial]", encoding.type)
    is_state = quantity.nature is Nature.STATE
    if not is_state and encoding.type in ("bool", "bits", "bitfield"):
        raise table.wrong("type", f"must be a number for {quantity.value}", encoding.type)
    for key in sorted(_NUMBER_KEYS if is_state else _STATE_KEYS):
        if table.has(key):
            raise table.wrong(key, f"has no meaning for {quantity.value}", table.content[key])
    if quantity is Quantity.ON and (encoding.values is not None or (encoding.type != "bool" and encoding.bit is None)):
        raise table.wrong("type", "on is a bool or one bit; named states are an operation_mode", encoding.type)
    if quantity is Quantity.OPERATION_MODE:
        names = table.take("values", dict)
        if not set(names.values()) <= set(MODES):
            raise table.wrong("values", "must name each mode off or on", names)
