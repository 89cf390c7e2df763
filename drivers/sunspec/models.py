"""SunSpec model definitions, read at run time from the files of pysunspec2.

Only the requested points are kept, because the controller has little memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import isfinite
from typing import Any

# "SunS"; the addresses are those of the SunSpec Device Information Model Specification 1.1, section 6.
MARKER = (0x5375, 0x6E53)
BASES = (40000, 50000, 0)
HEADER = 2
"""Registers before a model's data: its id and its length."""

# Type of a point → struct format, and the raw values that mean "not implemented" (SunSpec Device Information Model
# Specification 1.1, table of point types). For an accumulator, this is 0, so a counter that is still 0 is missing.
# `PointAddress.zero_counts` in `drivers.sunspec.formulas` is the exception. Some devices send all ones instead of 0.
_FORMATS: dict[str, tuple[str, frozenset[int]]] = {
    "int16": ("h", frozenset({-0x8000})),
    "uint16": ("H", frozenset({0xFFFF})),
    "uint32": ("I", frozenset({0xFFFF_FFFF})),
    "acc32": ("I", frozenset({0, 0xFFFF_FFFF})),
    "uint64": ("Q", frozenset({0xFFFF_FFFF_FFFF_FFFF})),
    "acc64": ("Q", frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})),
    "float32": ("f", frozenset()),
}


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """One point of a model. `size` and `offset` are in registers.

    `offset` counts from the model's id. For a point of the repeating group, it counts from the start of its repetition.
    """

    offset: int
    size: int
    type: str
    factor: str | None
    """Name of the point that holds the scale factor."""
    unscaled: bool
    """Whether the point is valid without a factor, because the point is mandatory and its factor is optional."""

    @property
    def format(self) -> str:
        return _FORMATS[self.type][0]

    def implemented(self, raw: float) -> bool:
        """Whether `raw` is a value. False if it means "not implemented"."""
        return raw not in _FORMATS[self.type][1] and isfinite(raw)


@dataclass(frozen=True, slots=True)
class Definition:
    """The requested points of one model by name: `points` of its fixed block, `repeated` of its repeating group."""

    points: Mapping[str, ModelPoint]
    repeated: Mapping[str, ModelPoint]
    fixed_size: int
    """Registers before the first repetition, header included."""
    repeated_size: int
    """Registers of one repetition; 0 if the model has no repeating group."""

    def repetitions(self, length: int) -> int:
        """Return the number of repetitions in a model of `length` registers.

        It is calculated from the length, because a device may not implement the point with this number.
        """
        return max(0, length + HEADER - self.fixed_size) // self.repeated_size if self.repeated_size else 0


@lru_cache(maxsize=64)
def load(model_id: int, names: frozenset[str]) -> Definition:
    """Return the points `names` of a model, and the points with their scale factors.

    Names that the model does not have are omitted. Raises FileNotFoundError for an unknown model.
    """
    text = files("sunspec2").joinpath(f"models/json/model_{model_id}.json").read_text(encoding="utf-8")
    group = json.loads(text)["group"]
    points, fixed_size = _points(group)
    repeated, repeated_size = _points(group["groups"][0]) if group.get("groups") else ({}, 0)
    keep = names | {point.factor for name, point in (points | repeated).items() if name in names and point.factor}
    return Definition(
        {name: point for name, point in points.items() if name in keep},
        {name: point for name, point in repeated.items() if name in keep},
        fixed_size,
        repeated_size,
    )


def _points(group: Mapping[str, Any]) -> tuple[dict[str, ModelPoint], int]:
    """Return the points of a group by name, and the group's size in registers."""
    optional = {point["name"] for point in group["points"] if point.get("mandatory") != "M"}
    points: dict[str, ModelPoint] = {}
    offset = 0
    for raw in group["points"]:
        name, factor = raw["name"], raw.get("sf")
        unscaled = factor in optional and name not in optional
        points[name] = ModelPoint(offset, raw["size"], raw["type"], factor, unscaled)
        offset += raw["size"]
    return points, offset


def text(words: Collection[int]) -> str:
    """Return the text of a point of type string: two characters per register, padded with NULs or blanks."""
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    return raw.partition(b"\0")[0].decode("utf-8", "replace").strip()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a device: its id, the address of its id, and the number of registers after its header."""

    id: int
    address: int
    length: int

    @property
    def end(self) -> int:
        return self.address + HEADER + self.length

    def holds(self, offset: int, point: ModelPoint) -> bool:
        """Whether the model includes `point` at `offset`, counted in registers from the model's id.

        Devices of an older revision have shorter models.
        """
        return offset + point.size <= HEADER + self.length


def of(models: Collection[Model], *ids: int) -> Iterator[Model]:
    """Return the models with one of `ids`, in the order of `models`."""
    return (model for model in models if model.id in ids)
