"""SunSpec devices with models that are written by hand, so that tests do not depend on the definitions of the driver.

A model is a list of registers: id, length, points.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.model import Table
from drivers.simulator.modbus_server import Image, SimulatedUnit

BASE = 40_000
# `struct` format of a point → the value that means "not implemented". Every 32-bit point uses that of an acc32.
_ABSENT = {"H": 0xFFFF, "h": -0x8000, "I": 0, "Q": 0xFFFF_FFFF_FFFF_FFFF}
PV, STORAGE = 0, 1
"""Port types of model 714."""


def sunspec_unit(name: str, models: Callable[[], Sequence[Sequence[int]]], unit_id: int = 1) -> SimulatedUnit:
    """Return a device with the common model and `models`, and no other registers. Each request calls `models`."""
    common = [1, 66, *_text("Simulated", 16), *_text(name, 16), *_text("", 8), *_text("1.0", 8), *_text(name, 16)]
    common += [unit_id, 0x8000]  # DA, Pad

    def image() -> Image:
        chain = [*_text("SunS", 2), *common, *(word for model in models() for word in model), 0xFFFF, 0]
        return {Table.HOLDING: dict(enumerate(chain, BASE))}

    return SimulatedUnit(unit_id, image)


def inverter_model(power_W: float, produced_Wh: float, voltage_V: float) -> list[int]:
    """Return model 103, three-phase inverter. `power_W` is the production at its AC terminals; it is not negative."""
    phase_A = round(100 * power_W / 3 / voltage_V)
    phase_V = round(10 * voltage_V)
    return _model(
        *(103, 50),
        _points("HHHHh", 3 * phase_A, phase_A, phase_A, phase_A, -2),  # A, AphA, AphB, AphC, A_SF
        _points("HHHHHHh", None, None, None, phase_V, phase_V, phase_V, -1),  # PPVphAB, BC, CA, PhVphA, B, C, V_SF
        _points("hhHh", round(power_W), 0, 5000, -2),  # W, W_SF, Hz, Hz_SF
        _points("hhhhhh", *[None] * 6),  # VA, VA_SF, VAr, VAr_SF, PF, PF_SF
        _points("Ih", _acc32(produced_Wh), 0),  # WH, WH_SF
        _points("HhHhhh", *[None] * 6),  # DCA, DCA_SF, DCV, DCV_SF, DCW, DCW_SF
        _points("hhhhh", 350, None, None, None, -1),  # TmpCab, TmpSnk, TmpTrns, TmpOt, Tmp_SF
        _points("HH", 4 if power_W > 0 else 2, None),  # St: 4 MPPT, 2 sleeping; StVnd
        _points("IIIIII", *[0] * 6),  # Evt1, Evt2, EvtVnd1 to 4
    )


def meter_model(power_W: float, imported_Wh: float, exported_Wh: float, voltage_V: float) -> list[int]:
    """Return model 203, three-phase meter in wye connection. Import is positive."""
    total_W = round(power_W / 10)
    phase_W = round(power_W / 30)
    phase_A = round(100 * power_W / 3 / voltage_V)
    phase_V = round(10 * voltage_V)
    line_V = round(10 * voltage_V * math.sqrt(3))
    return _model(
        *(203, 105),
        _points("hhhhh", 3 * phase_A, phase_A, phase_A, phase_A, -2),  # A, AphA, AphB, AphC, A_SF
        _points("hhhh", phase_V, phase_V, phase_V, phase_V),  # PhV, PhVphA, PhVphB, PhVphC
        _points("hhhhh", line_V, line_V, line_V, line_V, -1),  # PPV, PhVphAB, PhVphBC, PhVphCA, V_SF
        _points("hh", 5000, -2),  # Hz, Hz_SF
        _points("hhhhh", total_W, phase_W, phase_W, phase_W, 1),  # W, WphA, WphB, WphC, W_SF
        _points("hhhhh" * 3, *[None] * 15),  # VA, VAR, PF: total, A, B, C, scale factor
        _points("IIII", _acc32(exported_Wh), None, None, None),  # TotWhExp, PhA, PhB, PhC
        _points("IIII", _acc32(imported_Wh), None, None, None),  # TotWhImp, PhA, PhB, PhC
        _points("h", 0),  # TotWh_SF
        _points("IIIIIIII h", *[None] * 9),  # TotVAhExp, TotVAhImp, TotVAh_SF
        _points("IIIIIIIIIIIIIIII h", *[None] * 17),  # TotVArhImpQ1, ImpQ2, ExpQ3, ExpQ4, TotVArh_SF
        _points("I", 0),  # Evt
    )


def battery_model(power_W: float, soc_perc: float, capacity_Wh: float) -> list[int]:
    """Return model 802, battery base. `power_W` is positive for charge; the point W is positive for discharge."""
    charge_state = 4 if power_W > 0 else 3 if power_W < 0 else 6  # ChaSt: charging, discharging, holding
    return _model(
        *(802, 62),
        _points("HH", round(capacity_Wh / 400), round(capacity_Wh / 10)),  # AHRtg, WHRtg
        _points("HHH", 5000, 5000, None),  # WChaRteMax, WDisChaRteMax, DisChaRte
        _points("HHHH", 1000, 0, None, None),  # SoCMax, SoCMin, SocRsvMax, SoCRsvMin
        _points("HHH", round(10 * soc_perc), None, None),  # SoC, DoD, SoH
        _points("I", None),  # NCyc
        _points("HHHHH", charge_state, 0, 0, None, 0),  # ChaSt, LocRemCtl, Hb, CtrlHb, AlmRst
        _points("HHH", 4, 3, None),  # Typ: lithium ion; State: connected; StateVnd
        _points("IIIII", 0, 0, 0, 0, 0),  # WarrDt, Evt1, Evt2, EvtVnd1, EvtVnd2
        _points("HHH", 4000, None, None),  # V, VMax, VMin
        _points("HHHHHHH", *[None] * 7),  # CellVMax, -Str, -Mod, CellVMin, -Str, -Mod, CellVAvg
        _points("hHH", round(-100 * power_W / 400), None, None),  # A, AChaMax, ADisChaMax
        _points("hHhHH", round(-power_W), 0, None, 1, 1),  # W, ReqInvState, ReqW, SetOp, SetInvState
        _points("hhhhhhh", 0, 1, 0, None, -1, None, None),  # _SF: AHRtg, WHRtg, WChaDisChaMax, DisChaRte, SoC, DoD, SoH
        _points("hhhhh", -1, -3, -2, 0, 0),  # _SF: V, CellV, A, AMax, W
    )


@dataclass(frozen=True, slots=True)
class DcPort:
    """A DC port of model 714. Power into the inverter is positive, so a battery that discharges has a positive power.

    `injected_Wh` is the energy from the port into the inverter, `absorbed_Wh` the energy in the other direction.
    """

    type: int
    name: str
    power_W: float
    injected_Wh: float
    absorbed_Wh: float = 0.0


def dc_ports_model(*ports: DcPort) -> list[int]:
    """Return model 714, the DC ports of an inverter."""
    rows = [
        word
        for number, port in enumerate(ports, 1)
        for word in (
            *(port.type, number, *_text(port.name, 8)),  # PrtTyp, ID, IDStr
            *_points("hHh", None, None, round(port.power_W)),  # DCA, DCV, DCW
            *_points("QQ", int(port.injected_Wh), int(port.absorbed_Wh)),  # DCWhInj, DCWhAbs
            *_points("hHI", None, 1, 0),  # Tmp, DCSta: on, DCAlrm
        )
    ]
    return _model(
        *(714, 18 + 25 * len(ports)),
        _points("IH", 0, len(ports)),  # PrtAlrms, NPrt
        _points("hhQQ", None, None, None, None),  # DCA, DCW, DCWhInj, DCWhAbs: totals
        _points("hhhhh", None, None, 0, 0, None),  # _SF: DCA, DCV, DCW, DCWH, Tmp
        rows,
    )


def _model(model_id: int, length: int, *points: Sequence[int]) -> list[int]:
    words = [word for group in points for word in group]
    if len(words) != length:
        raise AssertionError(f"model {model_id} has {length} registers, {len(words)} are written")
    return [model_id, length, *words]


def _points(form: str, *values: int | None) -> tuple[int, ...]:
    """Return the registers of points with these `struct` types. None is a point that the device does not implement."""
    letters = form.replace(" ", "")
    numbers = [_ABSENT[letter] if value is None else value for letter, value in zip(letters, values, strict=True)]
    data = struct.pack(f">{letters}", *numbers)
    return struct.unpack(f">{len(data) // 2}H", data)


def _acc32(energy_Wh: float) -> int:
    """Return the value of a lifetime counter, which rolls over to 0 after its largest number."""
    return int(energy_Wh) & 0xFFFF_FFFF


def _text(text: str, registers: int) -> tuple[int, ...]:
    return struct.unpack(f">{registers}H", text.encode().ljust(2 * registers, b"\0"))
