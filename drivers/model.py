"""What flows out of a driver: quantities with fixed units and signs, readings, scans.

Imports nothing of ours. Signs are those of the payload contract, by the type of the node:

- grid: import positive, export negative
- solar: production positive
- storage: charge positive, discharge negative
- heat_pump, switched_load, variable_power_load: consumption positive

A meter (`Kind.METER`) always reads "into the installation behind it" as positive; binding it to a node turns its
sign and its counters into those of the node's type (`agent.domain.node`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal, NamedTuple, Self


class _Text(StrEnum):
    """A StrEnum that hashes at the speed of its text: Enum itself hashes the name, in Python, on every look-up."""

    __hash__ = str.__hash__


class NodeType(_Text):
    """The six groups of the payload contract, in its order."""

    GRID = "grid"
    SOLAR = "solar"
    STORAGE = "storage"
    HEAT_PUMP = "heat_pump"
    SWITCHED_LOAD = "switched_load"
    VARIABLE_POWER_LOAD = "variable_power_load"


class Kind(_Text):
    """What a device is; decides to which node types it can be bound."""

    METER = "meter"
    INVERTER = "inverter"
    BATTERY = "battery"
    HYBRID = "hybrid"
    HEAT_PUMP = "heat_pump"
    CHARGER = "charger"
    RELAY = "relay"

    @property
    def nodes(self) -> frozenset[NodeType]:
        """The types of node that a device of this kind can be."""
        return _NODES[self]

    @property
    def usual(self) -> NodeType:
        """The one that it mostly is. A hybrid is several at once: KeyError."""
        return _USUAL[self]


LOADS = frozenset({NodeType.HEAT_PUMP, NodeType.SWITCHED_LOAD, NodeType.VARIABLE_POWER_LOAD})
_NODES: dict[Kind, frozenset[NodeType]] = {
    Kind.METER: frozenset(NodeType),  # it can measure anything
    Kind.INVERTER: frozenset({NodeType.SOLAR}),
    Kind.BATTERY: frozenset({NodeType.STORAGE}),
    Kind.HYBRID: frozenset({NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE}),
    Kind.HEAT_PUMP: frozenset({NodeType.HEAT_PUMP}),
    Kind.CHARGER: frozenset({NodeType.VARIABLE_POWER_LOAD}),
    Kind.RELAY: LOADS,
}
_USUAL = {
    Kind.METER: NodeType.GRID,
    Kind.INVERTER: NodeType.SOLAR,
    Kind.BATTERY: NodeType.STORAGE,
    Kind.HEAT_PUMP: NodeType.HEAT_PUMP,
    Kind.CHARGER: NodeType.VARIABLE_POWER_LOAD,
    Kind.RELAY: NodeType.SWITCHED_LOAD,
}


class Table(_Text):
    """The four Modbus tables."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"


class Phase(_Text):
    """A line conductor; a reading without a phase is the total of the device."""

    L1 = "l1"
    L2 = "l2"
    L3 = "l3"


class Unit(_Text):
    """Units as they stand at the end of payload names."""

    W = "W"
    VAR = "var"
    VA = "VA"
    WH = "Wh"
    V = "V"
    A = "A"
    HZ = "Hz"
    CELSIUS = "C"
    PERCENT = "perc"
    NONE = ""


class Nature(_Text):
    """How values of a quantity combine over time."""

    GAUGE = "gauge"
    COUNTER = "counter"  # lifetime counter: grows, resets or rolls over
    DAILY = "daily"  # the device's own counter since its midnight
    STATE = "state"


class Quantity(Enum):
    """What can be measured; the member fixes unit and nature, a profile cannot restate them."""

    unit: Unit
    nature: Nature

    ACTIVE_POWER = ("active_power", Unit.W, Nature.GAUGE)
    REACTIVE_POWER = ("reactive_power", Unit.VAR, Nature.GAUGE)
    APPARENT_POWER = ("apparent_power", Unit.VA, Nature.GAUGE)
    POWER_FACTOR = ("power_factor", Unit.NONE, Nature.GAUGE)
    VOLTAGE = ("voltage", Unit.V, Nature.GAUGE)
    CURRENT = ("current", Unit.A, Nature.GAUGE)
    FREQUENCY = ("frequency", Unit.HZ, Nature.GAUGE)
    TEMPERATURE = ("temperature", Unit.CELSIUS, Nature.GAUGE)
    DC_POWER = ("dc_power", Unit.W, Nature.GAUGE)
    DC_VOLTAGE = ("dc_voltage", Unit.V, Nature.GAUGE)
    DC_CURRENT = ("dc_current", Unit.A, Nature.GAUGE)
    SOC = ("soc", Unit.PERCENT, Nature.GAUGE)
    SOH = ("soh", Unit.PERCENT, Nature.GAUGE)
    ENERGY_STORED = ("energy_stored", Unit.WH, Nature.GAUGE)
    ENERGY_CAPACITY = ("energy_capacity", Unit.WH, Nature.GAUGE)
    IMPORTED_ENERGY = ("imported_energy", Unit.WH, Nature.COUNTER)
    EXPORTED_ENERGY = ("exported_energy", Unit.WH, Nature.COUNTER)
    PRODUCED_ENERGY = ("produced_energy", Unit.WH, Nature.COUNTER)
    CHARGED_ENERGY = ("charged_energy", Unit.WH, Nature.COUNTER)
    DISCHARGED_ENERGY = ("discharged_energy", Unit.WH, Nature.COUNTER)
    CONSUMED_ENERGY = ("consumed_energy", Unit.WH, Nature.COUNTER)
    TODAY_IMPORTED_ENERGY = ("today_imported_energy", Unit.WH, Nature.DAILY)
    TODAY_EXPORTED_ENERGY = ("today_exported_energy", Unit.WH, Nature.DAILY)
    TODAY_PRODUCED_ENERGY = ("today_produced_energy", Unit.WH, Nature.DAILY)
    TODAY_CHARGED_ENERGY = ("today_charged_energy", Unit.WH, Nature.DAILY)
    TODAY_DISCHARGED_ENERGY = ("today_discharged_energy", Unit.WH, Nature.DAILY)
    TODAY_CONSUMED_ENERGY = ("today_consumed_energy", Unit.WH, Nature.DAILY)
    ON = ("on", Unit.NONE, Nature.STATE)  # bool: a relay is closed, a machine runs
    OPERATION_MODE = ("operation_mode", Unit.NONE, Nature.STATE)  # "off" or "on", vendor modes mapped

    def __new__(cls, name: str, unit: Unit, nature: Nature) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.unit = unit
        member.nature = nature
        return member

    def label(self, phase: Phase | None = None) -> str:
        """Its name in a payload: `voltage_l1_V`."""
        return "_".join(part for part in (self.value, phase, self.unit.value) if part)

    # As `_Text`; members are singletons, identity is enough.
    __hash__ = object.__hash__


class Quality(_Text):
    """Why a reading has a value, or has none."""

    GOOD = "good"
    MISSING = "missing"  # the device says "not available", or its registers could not be read
    INVALID = "invalid"  # read, but outside the physical range of the device


Value = float | bool | str


class Resolution(NamedTuple):
    """What the register behind a quantity can tell, in the unit of the quantity."""

    step: float
    """The difference between two neighbouring values."""
    range: float = 0.0
    """A counter starts again after so much; 0 where that is not known, as for a sum of registers."""


WordOrder = Literal["big", "little", "big_swapped", "little_swapped"]
"""The name of the order in which the words of 16 bits and their bytes make a longer value."""


class ByteOrder(NamedTuple):
    """What a word order means."""

    low_word_first: bool
    bytes_swapped: bool
    """In each word, the low byte comes first."""


WORD_ORDERS: dict[WordOrder, ByteOrder] = {
    "big": ByteOrder(low_word_first=False, bytes_swapped=False),  # ABCD
    "little": ByteOrder(low_word_first=True, bytes_swapped=False),  # CDAB
    "big_swapped": ByteOrder(low_word_first=False, bytes_swapped=True),  # BADC
    "little_swapped": ByteOrder(low_word_first=True, bytes_swapped=True),  # DCBA
}


class Reading(NamedTuple):
    """One quantity of one device at one moment."""

    quantity: Quantity
    phase: Phase | None
    value: Value | None
    quality: Quality
    at: float
    """Monotonic seconds at which its registers arrived."""
    node: NodeType | None = None
    """The node of a hybrid to which it belongs; None for devices with one node."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One device, one poll, possibly partial: `errors` says what could not be read and why."""

    readings: tuple[Reading, ...]
    started: float
    finished: float
    errors: tuple[Exception, ...] = ()
    requests: int = 0

    @property
    def complete(self) -> bool:
        return not self.errors
