"""Discovers a SunSpec device: the marker, the chain of models, the manufacturer.

A chain is a list of models. Each model begins with its id and its length. A chain ends with an end model (id 0xFFFF).
Many devices have wrong chains, so a chain also ends

- at an exception other than 5, 6, 10 and 11, if at least one model comes before;
- at an address that got no reply in two successive attempts to read it, if at least one model comes before;
- at an unknown model with an impossible length: 0, or beyond the last address;
- after the last address.

A known model with an impossible length is an error, because the driver cannot read its points.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from drivers.driver import Reader
from drivers.errors import (
    DeviceFailureError,
    IllegalFunctionError,
    IllegalRangeError,
    RefusedError,
    SilentError,
    UnsupportedError,
)
from drivers.model import Table
from drivers.protocol import ADDRESSES
from drivers.registers import LastingRefusals, Span
from drivers.sunspec.formulas import PointAddress
from drivers.sunspec.mapping import COMMON, RATINGS, DcInput
from drivers.sunspec.models import BASES, HEADER, MARKER, Model, ModelPoint, load, of, text

_STRINGS = ("Mn", "Md", "Vr", "SN")
_END = 0xFFFF
_MOST_MODELS = 100

# The refusals that mean "there is no model at this address": all exceptions except 5, 6, 10 and 11.
_NO_MODEL = (IllegalFunctionError, IllegalRangeError, DeviceFailureError)


# Model → the point that shows the type of a DC input. In model 160 this is the name of the input. Fronius names the
# battery inputs of a hybrid "StCha 3" and "StDisCha 4" (registers of a real device: evcc issue 16256). In model 714 it
# is a number: 0 PV, 1 energy storage. The other numbers are `DcInput.OTHER`.
_TYPE_POINTS = {160: "IDStr", 714: "PrtTyp"}
_BY_PORT_TYPE = {0: DcInput.PV, 1: DcInput.STORAGE}


@dataclass(frozen=True, slots=True)
class CommonModel:
    """The texts of a common model. A text that the device does not have is empty."""

    manufacturer: str = ""
    model: str = ""
    version: str = ""
    serial: str = ""


class ModelDiscovery:
    """Reads the chain of one device. `known` are the ids of the models that the driver can read.

    Between attempts, it remembers where to look for the marker first, and which addresses got no reply last time.
    """

    def __init__(self, known: Collection[int]) -> None:
        self._known = known
        self._bases = deque(BASES)
        self._silent_at: set[int] = set()
        self.open_end: bool
        """Whether the last chain had no end model, so that it may be incomplete."""

    async def base(self, reader: Reader) -> int:
        """Return the address of the "SunS" marker. Raises UnsupportedError if there is none."""
        for _ in BASES:
            if await self._marked(reader, self._bases[0]):
                return self._bases[0]
            self._bases.rotate(-1)
        places = ", ".join(str(base) for base in BASES)
        hint = "is SunSpec enabled in the menu of the device?"
        raise UnsupportedError(f'not SunSpec: no "SunS" at holding registers {places}; {hint}')

    async def _marked(self, reader: Reader, base: int) -> bool:
        try:
            return tuple(await reader.read(Table.HOLDING, base, len(MARKER))) == MARKER
        except _NO_MODEL:
            return False
        except SilentError:
            self._bases.rotate(-1)  # other addresses may get a reply, so the next attempt begins at the next one
            raise

    async def models(self, reader: Reader, base: int) -> tuple[Model, ...]:
        """Return every model after the marker at `base`.

        Raises UnsupportedError for a known model with an impossible length, or for more than `_MOST_MODELS` models.
        """
        models: list[Model] = []
        address = base + len(MARKER)
        self.open_end = True
        while address + HEADER <= ADDRESSES:
            header = await self._header(reader, address, behind_a_model=bool(models))
            if header is None or header[0] == _END:
                self.open_end = header is None
                break
            model = Model(header[0], address, header[1])
            if model.length == 0 or model.end > ADDRESSES:
                if model.id in self._known:
                    raise UnsupportedError(f"model {model.id} at {address}: length {model.length} is impossible")
                break
            models.append(model)
            if len(models) > _MOST_MODELS:
                raise UnsupportedError(f"more than {_MOST_MODELS} models from {base} to {address}: not a model chain")
            address = model.end
        return tuple(models)

    async def _header(self, reader: Reader, address: int, *, behind_a_model: bool) -> tuple[int, int] | None:
        """Return id and length at `address`, or None if the chain ends there without an end model."""
        try:
            model_id, length = await reader.read(Table.HOLDING, address, HEADER)
        except _NO_MODEL:
            if not behind_a_model:
                raise
            return None
        except SilentError:
            # Some devices do not reply for an address that does not exist. But a reply may also be lost, so the chain
            # ends only if the next attempt gets no reply here either.
            if not behind_a_model or address not in self._silent_at:
                self._silent_at.add(address)
                raise
            return None
        self._silent_at.discard(address)
        return model_id, length


async def identify(reader: Reader, models: Collection[Model], refusals: LastingRefusals) -> CommonModel:
    """Return the texts of the first common model. A text that the device refuses is empty.

    Later common models describe attached devices such as meters.
    """
    common = next(of(models, COMMON), None)
    if common is None:
        return CommonModel()
    points = load(COMMON, frozenset(_STRINGS)).points
    return CommonModel(*[await _string(reader, common, points[name], refusals) for name in _STRINGS])


async def serial_numbers(
    reader: Reader, devices: Collection[Collection[Model]], refusals: LastingRefusals
) -> list[str]:
    """Return the serial number of each device in the chain; empty for a device without one."""
    return [(await identify(reader, models, refusals)).serial for models in devices]


def duplicates(devices: Collection[Collection[Model]], serials: Collection[str]) -> set[Model]:
    """Return the models of each device that has the serial number of an earlier device in the chain."""
    seen: set[str] = set()
    found: set[Model] = set()
    for models, serial in zip(devices, serials, strict=True):
        if serial and serial in seen:
            found.update(models)
        seen.add(serial)
    return found


async def _string(reader: Reader, model: Model, point: ModelPoint, refusals: LastingRefusals) -> str:
    if not model.holds(point.offset, point):
        return ""
    words = await refusals.read(reader, Span(Table.HOLDING, model.address + point.offset, point.size))
    return "" if words is None else text(words)


async def channels(reader: Reader, model: Model, refusals: LastingRefusals) -> tuple[DcInput, ...]:
    """Return the type of each DC input of a model 160 or 714, in order; empty if one is refused."""
    name = _TYPE_POINTS[model.id]
    definition = load(model.id, frozenset({name}))
    point = definition.repeated[name]
    found = []
    for index in range(definition.repetitions(model.length)):
        address = model.address + definition.fixed_size + index * definition.repeated_size + point.offset
        words = await refusals.read(reader, Span(Table.HOLDING, address, point.size))
        if words is None:
            return ()
        found.append(_by_name(text(words)) if point.type == "string" else _BY_PORT_TYPE.get(words[0], DcInput.OTHER))
    return tuple(found)


async def rated_power(reader: Reader, devices: Collection[Collection[Model]]) -> float | None:
    """Return the sum of the rated powers of `devices` in W. None if one of them has no rated power; 0 for no device."""
    powers = [await _rated(reader, models) for models in devices]
    known = [power for power in powers if power is not None]
    return sum(known) if len(known) == len(powers) else None


async def _rated(reader: Reader, models: Collection[Model]) -> float | None:
    model = next((model for model_id in RATINGS for model in of(models, model_id)), None)
    if model is None:
        return None
    name = RATINGS[model.id]
    definition = load(model.id, frozenset({name}))
    point = definition.points[name]
    factor = definition.points[point.factor] if point.factor else None
    # The point comes before its factor, so a model with the factor also has the point.
    if factor is None or not model.holds(factor.offset, factor):
        return None
    address, factor_address = model.address + point.offset, model.address + factor.offset
    try:
        (raw,) = await reader.read(Table.HOLDING, address, point.size)
        (raw_factor,) = await reader.read(Table.HOLDING, factor_address, factor.size)
    except RefusedError:
        return None
    place = PointAddress(address, point, factor_address)
    power = place.decode(raw, raw_factor - 0x1_0000 if raw_factor & 0x8000 else raw_factor)
    return power if isinstance(power, float) and power > 0 else None


def _by_name(name: str) -> DcInput:
    if name.startswith("StCha"):
        return DcInput.CHARGE
    return DcInput.DISCHARGE if name.startswith("StDisCha") else DcInput.PV
