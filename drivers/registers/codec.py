"""Converts words to values and back. Pure.

`drivers.model.WORD_ORDERS` has the word orders. The words of a text are always in reading order, but the swapped word
orders exchange the two bytes of each word.

A float that is not finite means "not available". Devices differ in the other words that mean this, so each point lists
them as bit patterns (`Encoding.invalid`). The codec compares bit patterns, not converted values. For example, a float32
may list 0x80000000, which is -0.0. The pattern of 0.0 is 0, so 0.0 is still a value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isfinite
from sys import float_info
from typing import Any, Literal

from drivers.model import WORD_ORDERS, Quality, Resolution, Value, WordOrder

# Type -> struct format. "bool" is true for any number except 0. "uint8_high" and "uint8_low" are bytes of a register.
# The types "string" and "bits" are not in this table, because they have no fixed length.
FORMATS: dict[str, str] = {
    "int16": "h",
    "uint16": "H",
    "bitfield": "H",
    "bool": "H",
    "int32": "i",
    "uint32": "I",
    "float32": "f",
    "int64": "q",
    "uint64": "Q",
    "float64": "d",
    "uint8_high": "Bx",
    "uint8_low": "xB",
}

Raw = Any
"""The value that struct unpacks from the words: int, float, or bytes for "string" and "bits"."""

Decoded = tuple[Value | None, Quality]


Linear = tuple[float, float, float, tuple[float, int] | None]
"""(low, high, offset, scale). Without a scale, value = raw + offset. With a scale (times, divisor),
value = raw * times / divisor + offset. The value is valid if it is in low..high. There is a divisor, because 2301 / 10
is 230.1, but 2301 * 0.1 is not. A NamedTuple would take longer to unpack."""


MISSING: Decoded = (None, Quality.MISSING)
INVALID: Decoded = (None, Quality.INVALID)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a value is stored in registers."""

    type: str
    length: int = 1
    """Number of registers of a "string", or of coils or discrete inputs of "bits". Other types ignore `length`."""
    word_order: WordOrder = "big"
    scale: float = 1.0
    offset: float = 0.0
    """value = raw * scale + offset"""
    magnitude: bool = False
    """The sign of the raw number has no meaning, so its absolute value is used."""
    invalid: tuple[int, ...] = ()
    """Bit patterns that mean "not available", as unsigned integers in the word order "big"."""
    on_invalid: Literal["missing", "zero"] = "missing"
    """What "not available" means for the value: it is missing, or it is 0 (false)."""
    bit: int | None = None
    """The number of the bit that is the value; 0 is the least significant bit. None: all bits are the value."""
    values: Mapping[int, str] | None = field(default=None, hash=False)
    """Raw number → name. With `bit`, the raw number is 0 or 1. A raw number without a name is invalid."""
    minimum: float | None = None
    maximum: float | None = None
    """Physical range in the unit of the quantity. A value outside this range is invalid."""

    @property
    def width(self) -> int:
        """Number of registers, coils or discrete inputs of the value."""
        return self.length if self.type in ("string", "bits") else struct.calcsize(FORMATS[self.type]) // 2

    @property
    def bits(self) -> int:
        """Number of bits of the raw number."""
        return 8 if self.is_byte else 16 * self.width

    @property
    def is_byte(self) -> bool:
        """Whether the value is one byte of a register. The other byte may be another value."""
        return self.type.startswith("uint8")

    @property
    def is_float(self) -> bool:
        return self.type in ("float32", "float64")

    @property
    def resolution(self) -> Resolution | None:
        """The step and the range of an integer; None for floats, texts and states."""
        if self.is_float or self.type in ("string", "bits", "bool") or self.bit is not None or self.values is not None:
            return None
        return Resolution(abs(self.scale), abs(self.scale) * 2.0**self.bits)

    @property
    def byte_orders(self) -> tuple[str, str]:
        """The byte order of struct for packing the words, and for unpacking `raw_format` from them."""
        if self.type == "bits":
            return ">", ">"
        low_word_first, bytes_swapped = WORD_ORDERS[self.word_order]
        if self.type == "string" or self.is_byte:
            low_word_first = False
        # To unpack, "<" expects the low word first and the low byte of each word first; ">" expects both high first. So
        # the words are packed with the same byte order, or with the opposite one if the device swaps the bytes.
        return ("<" if bytes_swapped != low_word_first else ">"), ("<" if low_word_first else ">")

    @property
    def raw_format(self) -> str:
        """Struct format of the raw number. A float with `invalid` patterns is first unpacked as an integer."""
        if self.type in ("string", "bits"):
            return f"{2 * self.length}s"
        return _unsigned(self) if self.invalid and self.is_float else FORMATS[self.type]


def converter(encoding: Encoding) -> Callable[[Raw], Decoded]:
    """Return a function that converts a raw number to (value, quality)."""
    if encoding.type == "string":
        return _text
    if encoding.type == "bits":
        return _bits(encoding)
    if encoding.type == "bool" or encoding.bit is not None or encoding.values is not None:
        convert = _state(encoding)
    else:
        convert = _number(encoding)
    return _guarded(encoding, convert) if encoding.invalid else convert


def decoder(encoding: Encoding) -> Callable[[Sequence[int]], Decoded]:
    """Return a function that converts the words of one value to (value, quality)."""
    packed, unpacked = encoding.byte_orders
    pack = struct.Struct(f"{packed}{encoding.width}H").pack
    unpack = struct.Struct(unpacked + encoding.raw_format).unpack
    convert = converter(encoding)
    return lambda words: convert(unpack(pack(*words))[0])


def encode(encoding: Encoding, value: Value) -> list[int]:
    """Return the words of `value`; for "bits", its bits. Inverse of `decoder`.

    If the type is an integer, the raw number is rounded. Raises ValueError if the value does not fit the encoding.
    """
    if encoding.type == "bits":
        return bits_of(int(_to_raw(encoding, value)), encoding.length)
    packed, unpacked = encoding.byte_orders
    if encoding.type == "string":
        data = str(value).encode("ascii").ljust(2 * encoding.length, b"\0")
        if len(data) > 2 * encoding.length:
            raise ValueError(f"{value!r} does not fit {encoding.length} registers")
    else:
        try:
            data = struct.pack(unpacked + FORMATS[encoding.type], _to_raw(encoding, value))
        except (struct.error, OverflowError):
            raise ValueError(f"{value!r} does not fit {encoding.type} with scale {encoding.scale:g}") from None
    return list(struct.unpack(f"{packed}{encoding.width}H", data))


def bits_of(number: int, count: int) -> list[int]:
    """Return the bits of `number`, least significant bit first, in the order of coils and discrete inputs."""
    return [number >> place & 1 for place in range(count)]


def _to_raw(encoding: Encoding, value: Value) -> float:
    if encoding.values is not None:
        named = [raw for raw, name in encoding.values.items() if name == value]
        if not named:
            raise ValueError(f"{value!r} is none of {', '.join(encoding.values.values())}")
        return named[0] << (encoding.bit or 0)
    if encoding.bit is not None:
        return int(bool(value)) << encoding.bit
    if isinstance(value, bool | str):
        return int(bool(value))
    if encoding.is_float:
        return (value - encoding.offset) / encoding.scale
    if encoding.scale == 1 and encoding.offset == 0 and isinstance(value, int):
        return value  # without rounding: a float has only 53 significant bits
    if not isfinite(value):
        raise ValueError(f"{value!r} does not fit {encoding.type}")
    return round((value - encoding.offset) / encoding.scale)


def _state(encoding: Encoding) -> Callable[[Raw], Decoded]:
    bit, names = encoding.bit, encoding.values
    if names is not None:
        decoded = {raw: (name, Quality.GOOD) for raw, name in names.items()}
        if bit is None:
            return lambda raw: decoded.get(raw, INVALID)
        return lambda raw: decoded.get(raw >> bit & 1, INVALID)
    if bit is not None:
        return lambda raw: (raw >> bit & 1 == 1, Quality.GOOD)
    return lambda raw: (raw != 0, Quality.GOOD)


def _bits(encoding: Encoding) -> Callable[[Raw], Decoded]:
    """See `converter`. The raw bytes have one word for each bit. The bits form a number: see `values` and `invalid`."""
    numbers = {number: (name, Quality.GOOD) for number, name in (encoding.values or {}).items()}
    meaning = numbers | dict.fromkeys(encoding.invalid, MISSING)
    pack = struct.Struct(f">{encoding.length}H").pack
    decoded = {pack(*bits_of(number, encoding.length)): what for number, what in meaning.items()}
    return lambda raw: decoded.get(raw, INVALID)


def linear(encoding: Encoding) -> Linear | None:
    """Return how to calculate a number; None for texts and states, and with `magnitude` or `invalid`."""
    special = encoding.invalid or encoding.magnitude or encoding.bit is not None or encoding.values is not None
    if special or encoding.type in ("string", "bits", "bool"):
        return None
    times, divisor, offset, low, high = _scaling(encoding)
    # An integer is always divided, because this converts it to a float; the divisor may be 1. The offset is always
    # added, because this converts -0.0 to 0.0; the offset may be 0.0.
    unscaled = encoding.is_float and times == divisor == 1
    return low, high, offset, None if unscaled else (times, divisor)


def _scaling(encoding: Encoding) -> tuple[float, int, float, float, float]:
    """Return (times, divisor, offset, low, high) of a number; see `Linear`."""
    divisor = _divisor(encoding.scale)
    low = -float_info.max if encoding.minimum is None else encoding.minimum
    high = float_info.max if encoding.maximum is None else encoding.maximum
    return 1 if divisor else encoding.scale, divisor or 1, encoding.offset, low, high


def _number(encoding: Encoding) -> Callable[[Raw], Decoded]:
    good, unavailable = Quality.GOOD, _unavailable(encoding)
    times, divisor, offset, low, high = _scaling(encoding)

    def scaled(raw: Raw) -> Decoded:
        value = raw * times / divisor + offset
        if low <= value <= high:
            return value, good
        return INVALID if isfinite(raw) else unavailable

    return (lambda raw: scaled(abs(raw))) if encoding.magnitude else scaled


def _guarded(encoding: Encoding, convert: Callable[[Raw], Decoded]) -> Callable[[Raw], Decoded]:
    """Return a function that checks for "not available" before it calls `convert`."""
    invalid, unavailable = _patterns(encoding), _unavailable(encoding)
    if not encoding.is_float:
        return lambda raw: unavailable if raw in invalid else convert(raw)
    pack = struct.Struct(f">{_unsigned(encoding)}").pack
    unpack = struct.Struct(f">{FORMATS[encoding.type]}").unpack
    return lambda raw: unavailable if raw in invalid else convert(unpack(pack(raw))[0])


def _divisor(scale: float) -> int:
    """Return 1 / `scale` if this is an integer, otherwise 0."""
    divisor = round(1 / scale)
    return divisor if divisor and isclose(1 / divisor, scale, rel_tol=1e-12) else 0


def _unavailable(encoding: Encoding) -> Decoded:
    if encoding.on_invalid == "missing":
        return MISSING
    return (False if encoding.type == "bool" or encoding.bit is not None else 0.0), Quality.GOOD


def _unsigned(encoding: Encoding) -> str:
    """Return the struct format of the bits of a float, as an integer."""
    return {2: "I", 4: "Q"}[encoding.width]


def _patterns(encoding: Encoding) -> frozenset[int]:
    """Return the "not available" patterns as struct unpacks them: for a signed type, as signed numbers."""
    if not encoding.type.startswith("int"):
        return frozenset(encoding.invalid)
    bits = 16 * encoding.width
    return frozenset(raw - (1 << bits) if raw >> (bits - 1) else raw for raw in encoding.invalid)


def _text(raw: Raw) -> Decoded:
    text = raw.split(b"\0")[0].decode("ascii", "replace").strip()
    return (text, Quality.GOOD) if text else MISSING
