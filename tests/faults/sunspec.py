"""SunSpec devices, built word by word from the published offsets.

The module shares nothing with the driver or with the definitions that the driver reads. Offsets count from the first
data word, which is two words after the id of the model.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from drivers.errors import exception_reply
from drivers.model import Table

SUNS = [0x5375, 0x6E53]
END = [0xFFFF, 0x0000]

Points = dict[str, Sequence[int] | int]

NO_INT16 = 0x8000
NO_UINT16 = 0xFFFF


def words(form: str, *values: float) -> list[int]:
    """Return numbers as big-endian registers. `form` is as in `struct`."""
    raw = struct.pack(f">{form}", *values)
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


def text(value: str, registers: int) -> list[int]:
    return words(f"{2 * registers}s", value.encode())  # type: ignore[arg-type]  # struct takes bytes for "s"


def model(model_id: int, length: int, at: Mapping[int, Sequence[int] | int], fill: int = NO_UINT16) -> list[int]:
    """Return a model with its header. `at` has words by offset. All other words are `fill`."""
    data = [fill] * length
    for offset, value in at.items():
        run = [value] if isinstance(value, int) else list(value)
        data[offset : offset + len(run)] = [word & 0xFFFF for word in run]
    assert len(data) == length
    return [model_id, length, *data]


def common(manufacturer: str = "Acme", name: str = "Inverter 5", serial: str = "123", length: int = 66) -> list[int]:
    strings = text(manufacturer, 16) + text(name, 16) + text("", 8) + text("1.2", 8) + text(serial, 16)
    return model(1, length, {0: strings}, fill=NO_INT16)


def inverter(model_id: int = 103, length: int = 50, **at: Sequence[int] | int) -> list[int]:
    """Return a model 101 to 103. Points that are not in `at` are not implemented."""
    offsets = {
        "A": 0, "AphA": 1, "AphB": 2, "AphC": 3, "A_SF": 4, "PhVphA": 8, "PhVphB": 9, "PhVphC": 10, "V_SF": 11, "W": 12,
        "W_SF": 13, "Hz": 14, "Hz_SF": 15, "VA": 16, "VA_SF": 17, "VAr": 18, "VAr_SF": 19, "WH": 22, "WH_SF": 24,
        "DCA": 25, "DCA_SF": 26, "DCV": 27, "DCV_SF": 28, "DCW": 29, "DCW_SF": 30, "TmpCab": 31, "TmpSnk": 32,
        "TmpTrns": 33, "TmpOt": 34, "Tmp_SF": 35,
    }  # fmt: skip
    signed = ("W", "VA", "VAr", "DCW", "TmpCab", "TmpSnk", "TmpTrns", "TmpOt")
    named: Points = {name: NO_INT16 for name in offsets if name in signed or name.endswith("_SF")}
    named |= {"WH": [0, 0], **at}
    return model(model_id, length, {offsets[name]: value for name, value in named.items() if offsets[name] < length})


def meter(model_id: int = 203, **at: Sequence[int] | int) -> list[int]:
    """Return a model 201 to 204. Points that are not in `at` are not implemented."""
    offsets = {
        "A": 0, "AphA": 1, "AphB": 2, "AphC": 3, "A_SF": 4, "PhVphA": 6, "PhVphB": 7, "PhVphC": 8, "V_SF": 13, "Hz": 14,
        "Hz_SF": 15, "W": 16, "WphA": 17, "WphB": 18, "WphC": 19, "W_SF": 20, "TotWhExp": 36, "TotWhImp": 44,
        "TotWh_SF": 52,
    }  # fmt: skip
    named: Points = {"TotWhExp": [0, 0], "TotWhImp": [0, 0], **at}
    return model(model_id, 105, {offsets[name]: value for name, value in named.items()}, fill=NO_INT16)


def battery(**at: Sequence[int] | int) -> list[int]:
    """Return a model 802. Points that are not in `at` are not implemented."""
    offsets = {
        "WHRtg": 1, "SoC": 9, "SoH": 11, "V": 32, "A": 42, "W": 45, "WHRtg_SF": 51, "SoC_SF": 54, "SoH_SF": 56,
        "V_SF": 57, "A_SF": 59, "W_SF": 61,
    }  # fmt: skip
    named: Points = {name: NO_INT16 for name in offsets if name in ("A", "W") or name.endswith("_SF")}
    named |= at
    return model(802, 62, {offsets[name]: value for name, value in named.items()})


def device(*models: Sequence[int], base: int = 40000, end: bool = True) -> dict[int, int]:
    """Return the registers of a device with these models."""
    run = [*SUNS, *(word for each in models for word in each), *(END if end else [])]
    return dict(enumerate(run, base))


class FakeReader:
    """A unit without a connection. It raises exception 2 for missing registers. `asked` has all requests."""

    def __init__(self, registers: Mapping[int, int]) -> None:
        self.registers = dict(registers)
        self.asked: list[tuple[int, int]] = []
        self.failures: dict[int, Exception] = {}
        """Address → error. A request that includes the address raises the error."""

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.asked.append((address, count))
        assert table is Table.HOLDING
        assert 0 < count <= 125
        covered = range(address, address + count)
        for place, failure in self.failures.items():
            if place in covered:
                raise failure
        if any(each not in self.registers for each in covered):
            raise exception_reply(2, f"holding {address}+{count}")
        return [self.registers[each] for each in covered]
