"""Finding out what a SunSpec device offers: the marker, the chain of models, who made it.

A chain is a run of models, each with its id and length in front, up to an end model (id 0xFFFF). Devices get much of
that wrong, so an exception behind at least one model, or a header of an unknown model that makes no sense, ends the
chain as well. A model that we know with a length that cannot be is refused: what follows it would be read askew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from drivers.driver import Reader
from drivers.errors import (
    DeviceFailureError,
    IllegalAddressError,
    IllegalFunctionError,
    IllegalRangeError,
    SilentError,
    UnsupportedError,
)
from drivers.model import Table
from drivers.protocol import ADDRESSES
from drivers.sunspec.mapping import COMMON, DcInput
from drivers.sunspec.models import HEADER, Model, ModelPoint, load, of, text

# "SunS"; the addresses are those of the SunSpec Device Information Model Specification 1.1, section 6.
MARKER = (0x5375, 0x6E53)
BASES = (40000, 50000, 0)

_STRINGS = ("Mn", "Md", "Vr", "SN")
_END = 0xFFFF
_MOST_MODELS = 100

# How devices say that no model is at an address. A busy device says nothing about it.
_NOTHING_THERE = (IllegalFunctionError, IllegalRangeError, DeviceFailureError)


# The point that tells what a channel is. Model 160 has no type, but Fronius names a hybrid's battery channels "StCha 3"
# and "StDisCha 4" (words of a real one: evcc issue 16256). Model 714 has one: 0 PV, 1 energy storage, others neither.
_LABELS = {160: "IDStr", 714: "PrtTyp"}
_BY_PORT_TYPE = {0: DcInput.PV, 1: DcInput.STORAGE}


@dataclass(frozen=True, slots=True)
class CommonModel:
    """Who made the device, from the common model; empty where it does not say."""

    manufacturer: str = ""
    model: str = ""
    version: str = ""
    serial: str = ""


class ModelDiscovery:
    """Walks the chain of one device; keeps, from one attempt to the next, where it fell silent."""

    def __init__(self, known: Collection[int]) -> None:
        self._known = known
        self._bases = deque(BASES)
        self._silent_at: int | None = None
        self.open_end = False
        """The last chain had no end model: there may be more behind what cut it short."""

    async def base(self, reader: Reader) -> int:
        """Address of the "SunS" marker. Raises UnsupportedError when no base has it."""
        for _ in BASES:
            if await self._marked(reader, self._bases[0]):
                return self._bases[0]
            self._bases.rotate(-1)
        places = ", ".join(str(base) for base in BASES)
        raise UnsupportedError(f'not SunSpec: no "SunS" at holding registers {places}; is SunSpec enabled in its menu?')

    async def _marked(self, reader: Reader, base: int) -> bool:
        try:
            return tuple(await reader.read(Table.HOLDING, base, len(MARKER))) == MARKER
        except _NOTHING_THERE:
            return False
        except SilentError:
            self._bases.rotate(-1)  # it may be silent only here: the next attempt begins elsewhere
            raise

    async def models(self, reader: Reader, base: int) -> tuple[Model, ...]:
        """Every model behind the marker at `base`. Raises UnsupportedError for a chain that cannot be."""
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
                    raise UnsupportedError(f"model {model.id} at {address}: length {model.length} cannot be")
                break
            models.append(model)
            if len(models) > _MOST_MODELS:
                raise UnsupportedError(f"more than {_MOST_MODELS} models from {base} to {address}: not a model chain")
            address = model.end
        return tuple(models)

    async def _header(self, reader: Reader, address: int, *, behind_a_model: bool) -> tuple[int, int] | None:
        """Id and length at `address`, or None where the chain ends without an end model."""
        try:
            model_id, length = await reader.read(Table.HOLDING, address, HEADER)
        except _NOTHING_THERE:
            if not behind_a_model:
                raise
            return None
        except SilentError:
            # Silence is how some devices say "no such address", but once may as well be a lost reply.
            if not behind_a_model or self._silent_at != address:
                self._silent_at = address
                raise
            return None
        return model_id, length


async def identify(reader: Reader, models: Collection[Model]) -> CommonModel:
    """The first common model's strings; later ones name attached devices such as meters."""
    common = next(of(models, COMMON), None)
    if common is None:
        return CommonModel()
    points = load(COMMON, frozenset(_STRINGS)).points
    return CommonModel(*[await _string(reader, common, points[name]) for name in _STRINGS])


async def doubles(reader: Reader, devices: Collection[Collection[Model]]) -> set[Model]:
    """The models of those devices of a chain that have the serial number of an earlier one."""
    seen: set[str] = set()
    found: set[Model] = set()
    for models in devices:
        serial = (await identify(reader, models)).serial
        if serial and serial in seen:
            found.update(models)
        seen.add(serial)
    return found


async def _string(reader: Reader, model: Model, point: ModelPoint) -> str:
    if not model.holds(point.offset, point):
        return ""
    try:
        return text(await reader.read(Table.HOLDING, model.address + point.offset, point.size))
    except IllegalAddressError:
        return ""


async def channels(reader: Reader, model: Model) -> tuple[DcInput, ...]:
    """What hangs on each DC input of a model 160 or 714, in their order; empty where it does not say."""
    label = _LABELS[model.id]
    definition = load(model.id, frozenset({label}))
    point = definition.repeated[label]
    found = []
    for index in range(definition.repetitions(model.length)):
        address = model.address + definition.fixed_size + index * definition.repeated_size + point.offset
        try:
            words = await reader.read(Table.HOLDING, address, point.size)
        except IllegalRangeError:
            return ()
        found.append(_by_name(text(words)) if point.type == "string" else _BY_PORT_TYPE.get(words[0], DcInput.OTHER))
    return tuple(found)


def _by_name(name: str) -> DcInput:
    if name.startswith("StCha"):
        return DcInput.CHARGE
    return DcInput.DISCHARGE if name.startswith("StDisCha") else DcInput.PV
