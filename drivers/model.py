"""The output of a driver: quantities with fixed units and signs, readings, scans.

The sign of a power follows the payload contract:

- grid: import positive, export negative
- solar: production positive
- storage: charge positive, discharge negative
- heat_pump, switched_load, variable_power_load: consumption positive

A meter (`Kind.METER`) is the exception: power that flows into the installation behind the meter is positive, whatever
the type of its node. `agent.domain.node` converts the readings of a meter: it inverts the power on a solar node, and
renames the counters on a node that is not of type grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
from typing import Literal, NamedTuple, Self, overload


class _Text(StrEnum):
    """A StrEnum with the fast hash of str. The hash of Enum is slow, because it is Python code."""

    __hash__ = str.__hash__


class NodeType(_Text):
    """The six types of nodes in the payload contract, in the order of the contract."""

    GRID = "grid"
    SOLAR = "solar"
    STORAGE = "storage"
    HEAT_PUMP = "heat_pump"
    SWITCHED_LOAD = "switched_load"
    VARIABLE_POWER_LOAD = "variable_power_load"


class Kind(_Text):
    """The kind of a device. It decides which node types the device can feed."""

    METER = "meter"
    INVERTER = "inverter"
    BATTERY = "battery"
    HYBRID = "hybrid"
    HEAT_PUMP = "heat_pump"
    CHARGER = "charger"
    RELAY = "relay"

    @property
    def nodes(self) -> frozenset[NodeType]:
        return _NODES[self]

    @property
    def usual(self) -> NodeType:
        """The most common node type of this kind. Raises KeyError for a hybrid, which feeds several nodes."""
        return _USUAL[self]


LOADS = frozenset({NodeType.HEAT_PUMP, NodeType.SWITCHED_LOAD, NodeType.VARIABLE_POWER_LOAD})
_NODES: dict[Kind, frozenset[NodeType]] = {
    Kind.METER: frozenset(NodeType),  # a meter can measure any node type
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
    """A line conductor. A reading without a phase is about the whole node, such as a total or a temperature."""

    L1 = "l1"
    L2 = "l2"
    L3 = "l3"


class Unit(_Text):
    """The units. The name of a payload field ends with its unit, if it has one."""

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
    """How the values of a quantity behave over time."""

    GAUGE = "gauge"
    COUNTER = "counter"  # energy since installation; it may be reset or roll over
    DAILY = "daily"  # energy since the device's midnight
    STATE = "state"


class Quantity(Enum):
    """The measurable quantities. Each has a fixed unit and nature, which a profile cannot change."""

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
    ON = ("on", Unit.NONE, Nature.STATE)  # bool: the relay is closed, or the machine runs
    OPERATION_MODE = ("operation_mode", Unit.NONE, Nature.STATE)  # "off" or "on"; profiles map the vendor's modes

    def __new__(cls, name: str, unit: Unit, nature: Nature) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.unit = unit
        member.nature = nature
        return member

    def label(self, phase: Phase | None = None) -> str:
        """Return the name of the quantity in a payload, such as `voltage_l1_V`."""
        return "_".join(part for part in (self.value, phase, self.unit.value) if part)

    # Faster than the hash of Enum. There is only one object for each member, so its identity is a valid hash.
    __hash__ = object.__hash__


class Quality(_Text):
    """The quality of one reading: whether it has a value, and if not, why."""

    GOOD = "good"
    MISSING = "missing"  # the device does not have the value now, or its registers could not be read
    INVALID = "invalid"  # the value was read, but is outside its physical range, or is a state without a name


Value = float | bool | str


class Resolution(NamedTuple):
    """Step and range of the values that a register can have, in the unit of its quantity."""

    step: float
    """The smallest difference between two values."""
    range: float = 0.0
    """A counter returns to zero after this amount. 0 if the amount is unknown, as for a sum of registers."""


WordOrder = Literal["big", "little", "big_swapped", "little_swapped"]
"""The order of the 16-bit words, and of the bytes in each word, in a value of several registers."""


class ByteOrder(NamedTuple):
    """The meaning of a word order."""

    low_word_first: bool
    bytes_swapped: bool
    """The low byte of each word comes first."""


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
    """None if the quality is not good."""
    quality: Quality
    at: float
    """Monotonic seconds at which the registers arrived; the start of the poll if none arrived. A sum has the earliest
    time of its parts."""
    node: NodeType | None = None
    """The type of the node that a hybrid or SunSpec device feeds with this reading. None: the device feeds one node."""


Key = tuple[NodeType | None, Quantity, Phase | None]
"""What a reading measures. Node type None: the device feeds one node. Phase None: the whole node."""

new_reading = partial(tuple.__new__, Reading)
"""Creates a Reading from a tuple of its fields. `Reading.__new__` is Python code and takes twice as long."""


@dataclass(slots=True, eq=False, repr=False)
class ReadingColumns(Sequence[Reading]):
    """Readings that are stored as columns. Each access by index creates a new Reading.

    Most polls of a device read the same points, often 20 or more. Without an object for each reading, such a poll needs
    a quarter less CPU time in the agent.
    """

    keys: Sequence[Key]
    """A driver passes the same object in each poll with the same points, so that the agent does not look up each key
    again."""
    values: Sequence[Value | None]
    qualities: Sequence[Quality]
    times: Sequence[float]

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> ReadingColumns:
        """Return the columns of any readings."""
        rows = list(readings)
        return cls(
            [(row.node, row.quantity, row.phase) for row in rows],
            [row.value for row in rows],
            [row.quality for row in rows],
            [row.at for row in rows],
        )

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Reading: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Reading, ...]: ...

    def __getitem__(self, index: int | slice) -> Reading | tuple[Reading, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        node, quantity, phase = self.keys[index]
        return new_reading((quantity, phase, self.values[index], self.qualities[index], self.times[index], node))

    def __repr__(self) -> str:
        return repr(tuple(self))


class Scan(NamedTuple):
    """All readings of one device from one poll.

    A scan with `errors` is partial: `errors` has the reasons why values were not read.
    """

    readings: Sequence[Reading]
    started: float
    """Monotonic seconds at the start of the poll. `finished` is its end."""
    finished: float
    errors: tuple[Exception, ...] = ()
    requests: int = 0

    @property
    def complete(self) -> bool:
        return not self.errors
