"""Words ↔ numbers. Pure.

A register is a 16-bit word, 0..65535. Word orders: "big" (ABCD), "little" (CDAB, low word first), "big_swapped" (BADC)
and "little_swapped" (DCBA). Floats that are not finite are never values; other "not available" words are named per
point, since devices differ.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from drivers.model import Quality, Value

WordOrder = Literal["big", "little", "big_swapped", "little_swapped"]

# type -> struct format, or None for text
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
}

Decoded = tuple[Value | None, Quality]
MISSING: Decoded = (None, Quality.MISSING)
INVALID: Decoded = (None, Quality.INVALID)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a value stands in registers; everything a profile can say about it."""

    type: str
    length: int = 1
    """Registers, for type "string"; fixed by the other types."""
    word_order: WordOrder = "big"
    scale: float = 1.0
    offset: float = 0.0
    invalid: tuple[int, ...] = ()
    on_invalid: Literal["missing", "zero"] = "missing"
    bit: int | None = None
    values: Mapping[int, str] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def width(self) -> int:
        """Registers that the value takes."""
        return self.length if self.type == "string" else struct.calcsize(FORMATS[self.type]) // 2


def decoder(encoding: Encoding) -> Callable[[Sequence[int]], Decoded]:
    """A function from the value's words to (value, quality); what can be decided once is decided here."""
    if encoding.type == "string":
        return _text
    raw_of = _raw(encoding)
    on_invalid: Decoded = (0.0, Quality.GOOD) if encoding.on_invalid == "zero" else MISSING
    convert = _converter(encoding)
    invalid = frozenset(encoding.invalid)
    unsigned = _unsigned(encoding) if invalid else None

    def decode(words: Sequence[int]) -> Decoded:
        raw = raw_of(words)
        if unsigned is not None and unsigned(words) in invalid:
            return on_invalid
        if not math.isfinite(raw):
            return on_invalid
        return convert(raw)

    return decode


def encode(encoding: Encoding, value: Value) -> list[int]:
    """The words that decode to `value`, to the resolution of its scale. Raises ValueError when it does not fit."""
    if encoding.type == "string":
        data = str(value).encode("ascii").ljust(2 * encoding.length, b"\0")
        return list(struct.unpack(f">{encoding.length}H", data[: 2 * encoding.length]))
    raw = _to_raw(encoding, value)
    form = FORMATS[encoding.type]
    try:
        data = struct.pack(f">{form}", raw if form in "fd" else round(raw))
    except (struct.error, OverflowError):
        raise ValueError(f"{value} does not fit {encoding.type} with scale {encoding.scale}") from None
    return list(_ordered(struct.unpack(f">{len(data) // 2}H", data), encoding.word_order))


def _to_raw(encoding: Encoding, value: Value) -> float:
    if encoding.values is not None:
        return next(raw for raw, name in encoding.values.items() if name == value)
    if encoding.bit is not None:
        return int(bool(value)) << encoding.bit
    if isinstance(value, bool | str) or encoding.type == "bool":
        return int(bool(value))
    return (value - encoding.offset) / encoding.scale


def _raw(encoding: Encoding) -> Callable[[Sequence[int]], float]:
    return _unpacker(FORMATS[encoding.type], encoding.width, encoding.word_order)


def _unsigned(encoding: Encoding) -> Callable[[Sequence[int]], float]:
    """Sentinels are compared as bit patterns: 0x80000000 names the same words for int32, uint32 and float32."""
    return _unpacker("xHIxQ"[encoding.width], encoding.width, encoding.word_order)


def _unpacker(form: str, width: int, order: WordOrder) -> Callable[[Sequence[int]], float]:
    if width == 1 and form == "H" and order in ("big", "little"):
        return lambda words: words[0]
    pack = struct.Struct(f">{width}H").pack
    unpack = struct.Struct(f">{form}").unpack
    if order == "big":
        return lambda words: unpack(pack(*words))[0]
    return lambda words: unpack(pack(*_ordered(words, order)))[0]


def _ordered(words: Sequence[int], order: WordOrder) -> Sequence[int]:
    """Words in the order of the wire ↔ most significant first; its own inverse."""
    if order in ("little", "little_swapped"):
        words = words[::-1]
    if order in ("big_swapped", "little_swapped"):
        words = [word >> 8 | (word & 0xFF) << 8 for word in words]
    return words


def _converter(encoding: Encoding) -> Callable[[float], Decoded]:
    good = Quality.GOOD
    if encoding.bit is not None:
        bit = encoding.bit
        return lambda raw: (bool(int(raw) >> bit & 1), good)
    if encoding.values is not None:
        names = encoding.values
        return lambda raw: (names[int(raw)], good) if int(raw) in names else INVALID
    if encoding.type == "bool":
        return lambda raw: (bool(raw), good)
    number = _scaling(encoding)
    low, high = encoding.minimum, encoding.maximum
    if low is None and high is None:
        return lambda raw: (number(raw), good)
    least, most = (-math.inf if low is None else low), (math.inf if high is None else high)

    def bounded(raw: float) -> Decoded:
        value = number(raw)
        return (value, good) if least <= value <= most else INVALID

    return bounded


def _scaling(encoding: Encoding) -> Callable[[float], float]:
    scale, offset = encoding.scale, encoding.offset
    if scale == 1.0 and offset == 0.0:
        return float
    inverse = round(1 / scale) if scale and abs(scale) < 1 else 0
    # 2301 / 10 is 230.1; 2301 * 0.1 is 230.10000000000002.
    if inverse and math.isclose(1 / inverse, scale, rel_tol=1e-12):
        return lambda raw: raw / inverse + offset
    return lambda raw: raw * scale + offset


def _text(words: Sequence[int]) -> Decoded:
    text = struct.pack(f">{len(words)}H", *words).split(b"\0")[0].decode("ascii", "replace").strip()
    return (text, Quality.GOOD) if text else MISSING
