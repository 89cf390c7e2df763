"""Maps SunSpec points to quantities, one point a line. `drivers.sunspec.layout` uses these tables.

Not mapped on purpose:

- power factors of models 10x and 20x: a percentage by the definition, but a fraction in several devices
- ratings and settings (12x, 702), except the capacity of a battery; `RATINGS` has the points of the rated power
- the values of each string, module or cell (803-805)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from drivers.model import NodeType, Phase, Quantity

L1, L2, L3 = Phase.L1, Phase.L2, Phase.L3


class Rule(NamedTuple):
    """Point of a model → quantity. If several rules have the same quantity and phase, the first with a value is used.

    But if several inverters are behind one unit id, the first rule is used even if its point has no value. `sign` is 1,
    or -1 if the value of the point has the opposite sign.
    """

    point: str
    quantity: Quantity
    phase: Phase | None = None
    sign: int = 1


class DcInput(Enum):
    """The type of a DC input of an inverter."""

    PV = auto()
    CHARGE = auto()
    DISCHARGE = auto()
    STORAGE = auto()
    OTHER = auto()


class InputRule(NamedTuple):
    """Point of a DC input → quantity. The quantity is the sum over the inputs whose type is in `signs`.

    `signs` has the sign of each type: 1 or -1.
    """

    node: NodeType
    point: str
    quantity: Quantity
    signs: Mapping[DcInput, int]


# 101-103 integers with scale factors, 111-113 the same points as floats. Positive power is production.
_INVERTER = (
    Rule("W", Quantity.ACTIVE_POWER),
    Rule("WH", Quantity.PRODUCED_ENERGY),
    Rule("VA", Quantity.APPARENT_POWER),
    Rule("VAr", Quantity.REACTIVE_POWER),
    Rule("A", Quantity.CURRENT),
    Rule("AphA", Quantity.CURRENT, L1),
    Rule("AphB", Quantity.CURRENT, L2),
    Rule("AphC", Quantity.CURRENT, L3),
    Rule("PhVphA", Quantity.VOLTAGE, L1),
    Rule("PhVphB", Quantity.VOLTAGE, L2),
    Rule("PhVphC", Quantity.VOLTAGE, L3),
    Rule("Hz", Quantity.FREQUENCY),
    Rule("DCW", Quantity.DC_POWER),
    Rule("DCV", Quantity.DC_VOLTAGE),
    Rule("DCA", Quantity.DC_CURRENT),
    Rule("TmpCab", Quantity.TEMPERATURE),
    Rule("TmpSnk", Quantity.TEMPERATURE),
    Rule("TmpTrns", Quantity.TEMPERATURE),
    Rule("TmpOt", Quantity.TEMPERATURE),
)

# "Active power is positive for DER generation and negative for absorption" (model 701, point W).
_DER = (
    Rule("W", Quantity.ACTIVE_POWER),
    Rule("WL1", Quantity.ACTIVE_POWER, L1),
    Rule("WL2", Quantity.ACTIVE_POWER, L2),
    Rule("WL3", Quantity.ACTIVE_POWER, L3),
    Rule("TotWhInj", Quantity.PRODUCED_ENERGY),
    Rule("VA", Quantity.APPARENT_POWER),
    Rule("Var", Quantity.REACTIVE_POWER),
    Rule("PF", Quantity.POWER_FACTOR),
    Rule("A", Quantity.CURRENT),
    Rule("AL1", Quantity.CURRENT, L1),
    Rule("AL2", Quantity.CURRENT, L2),
    Rule("AL3", Quantity.CURRENT, L3),
    Rule("VL1", Quantity.VOLTAGE, L1),
    Rule("VL2", Quantity.VOLTAGE, L2),
    Rule("VL3", Quantity.VOLTAGE, L3),
    Rule("Hz", Quantity.FREQUENCY),
    Rule("TmpCab", Quantity.TEMPERATURE),
    Rule("TmpSnk", Quantity.TEMPERATURE),
    Rule("TmpAmb", Quantity.TEMPERATURE),
)

# 201-204 integers with scale factors, 211-214 floats. Positive power and "Imp" are import from the grid.
_METER = (
    Rule("W", Quantity.ACTIVE_POWER),
    Rule("WphA", Quantity.ACTIVE_POWER, L1),
    Rule("WphB", Quantity.ACTIVE_POWER, L2),
    Rule("WphC", Quantity.ACTIVE_POWER, L3),
    Rule("TotWhImp", Quantity.IMPORTED_ENERGY),
    Rule("TotWhExp", Quantity.EXPORTED_ENERGY),
    Rule("VA", Quantity.APPARENT_POWER),
    Rule("VAR", Quantity.REACTIVE_POWER),
    Rule("A", Quantity.CURRENT),
    Rule("AphA", Quantity.CURRENT, L1),
    Rule("AphB", Quantity.CURRENT, L2),
    Rule("AphC", Quantity.CURRENT, L3),
    Rule("PhVphA", Quantity.VOLTAGE, L1),
    Rule("PhVphB", Quantity.VOLTAGE, L2),
    Rule("PhVphC", Quantity.VOLTAGE, L3),
    Rule("Hz", Quantity.FREQUENCY),
)

INVERTERS = {**dict.fromkeys((101, 102, 103, 111, 112, 113), _INVERTER), 701: _DER}
METERS = dict.fromkeys((201, 202, 203, 204, 211, 212, 213, 214), _METER)

# Model 802 does not define the sign of W and A ("flowing to/from the battery bank"). Public software (evcc, template
# sunspec-battery-control) reads discharge as positive, so the sign is inverted here.
BATTERIES = {
    802: (
        Rule("W", Quantity.ACTIVE_POWER, sign=-1),
        Rule("WHRtg", Quantity.ENERGY_CAPACITY),
        Rule("SoC", Quantity.SOC),
        Rule("SoH", Quantity.SOH),
        Rule("V", Quantity.DC_VOLTAGE),
        Rule("A", Quantity.DC_CURRENT, sign=-1),
    ),
}

# Battery points of other models, only for a device with a battery. They are used, in this order, for quantities that
# have no value in the model of BATTERIES.
STORAGE_DETAILS = {
    713: (
        Rule("SoC", Quantity.SOC),
        Rule("SoH", Quantity.SOH),
        Rule("WHAvail", Quantity.ENERGY_STORED),
        Rule("WHRtg", Quantity.ENERGY_CAPACITY),
    ),
    124: (Rule("ChaState", Quantity.SOC), Rule("InBatV", Quantity.DC_VOLTAGE)),
    120: (Rule("WHRtg", Quantity.ENERGY_CAPACITY),),
    803: (Rule("ModTmpAvg", Quantity.TEMPERATURE),),
}

# The lifetime counter of the status model. It is used only if the models of INVERTERS lack the point of a lifetime
# counter. A point without a value is not replaced.
STATUS = {122: (Rule("ActWh", Quantity.PRODUCED_ENERGY),)}

# Sums over the DC inputs. Model 160 has only positive powers, and one input for each direction of the battery. In
# model 714, positive power and "Inj" are in the direction of generation, as in model 701. So for a storage input, they
# are discharge.
_PV = {DcInput.PV: 1}
CHANNELS = {
    160: (
        InputRule(NodeType.SOLAR, "DCW", Quantity.ACTIVE_POWER, _PV),
        InputRule(NodeType.SOLAR, "DCW", Quantity.DC_POWER, _PV),
        InputRule(NodeType.SOLAR, "DCWH", Quantity.PRODUCED_ENERGY, _PV),
        InputRule(NodeType.STORAGE, "DCW", Quantity.ACTIVE_POWER, {DcInput.CHARGE: 1, DcInput.DISCHARGE: -1}),
        InputRule(NodeType.STORAGE, "DCWH", Quantity.CHARGED_ENERGY, {DcInput.CHARGE: 1}),
        InputRule(NodeType.STORAGE, "DCWH", Quantity.DISCHARGED_ENERGY, {DcInput.DISCHARGE: 1}),
    ),
    714: (
        InputRule(NodeType.SOLAR, "DCW", Quantity.ACTIVE_POWER, _PV),
        InputRule(NodeType.SOLAR, "DCW", Quantity.DC_POWER, _PV),
        InputRule(NodeType.SOLAR, "DCWhInj", Quantity.PRODUCED_ENERGY, _PV),
        InputRule(NodeType.STORAGE, "DCW", Quantity.ACTIVE_POWER, {DcInput.STORAGE: -1}),
        InputRule(NodeType.STORAGE, "DCWhAbs", Quantity.CHARGED_ENERGY, {DcInput.STORAGE: 1}),
        InputRule(NodeType.STORAGE, "DCWhInj", Quantity.DISCHARGED_ENERGY, {DcInput.STORAGE: 1}),
    ),
}


class Quirk(Enum):
    """How the meter models of a manufacturer deviate from the standard."""

    EXPORT_POSITIVE = "exported power is positive; the counters follow the standard"
    NEGATIVE_EXPORT = "the counter of exported energy counts down from zero, in two's complement"


# The beginning of the manufacturer's name, in lower case → its quirk. Sources:
# - SolarEdge: evcc inverts only the power of model 203 (templates solaredge-inverter, solaredge-hybrid).
# - KOSTAL: ha-sunspec issue 249, mbmd pull request 97, and the registers of a real device in evcc issue 18358.
QUIRKS = {"solaredge": Quirk.EXPORT_POSITIVE, "kostal": Quirk.NEGATIVE_EXPORT}

# Model → the point with the rated power in W. The first of these models that a device has is used.
RATINGS = {702: "WMaxRtg", 120: "WRtg"}

COMMON = 1
"""The common model: manufacturer and product of a device. The other models of the device follow it."""

KNOWN = frozenset({COMMON, *INVERTERS, *METERS, *BATTERIES, *STORAGE_DETAILS, *STATUS, *CHANNELS})
