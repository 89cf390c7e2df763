"""Words of devices and what they mean, one line per fact that a profile once had wrong or left out.

Unlike the dumps these are no captures: the words are put together from the sources that the profile names, so that no
table of ours stands between them and the expected numbers. Registers that are not named read 0.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Quality, Reading, Table
from drivers.simulator.modbus_server import Image, ModbusServer, SimulatedUnit
from tests.support.cases import for_each

Words = Mapping[int, list[int]]
Expected = Mapping[str, float | Quality]

MISSING = Quality.MISSING


class Blank(dict[int, int]):
    """A table in which every register can be read."""

    def __missing__(self, address: int) -> int:
        return 0


def image(words: Words) -> Image:
    known = {first + offset: word for first, run in words.items() for offset, word in enumerate(run)}
    return {table: Blank(known) for table in Table}


def name_of(reading: Reading) -> str:
    return ".".join(part for part in (reading.node, reading.quantity.value, reading.phase) if part is not None)


async def read(driver_name: str, words: Words) -> dict[str, float | Quality]:
    server = ModbusServer([SimulatedUnit(1, lambda: image(words))], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    try:
        scan = await Catalogue().create(driver_name, ReadOptions()).poll(link.unit(1), time.monotonic)
    finally:
        await link.close()
        await server.stop()
    assert scan.complete
    return {name_of(r): r.value if isinstance(r.value, float) else r.quality for r in scan.readings}


VECTORS: list[tuple[str, str, Words, Expected]] = [
    (
        "the counter of a single-phase meter runs below zero",
        "huawei-sun2000",
        {37100: [1], 37119: [0xFFFF, 0xFFFF - 9_999]},
        {"grid.exported_energy": 100_000.0},
    ),
    (
        "three-phase meters count the same upwards",
        "huawei-sun2000",
        {37100: [1], 37119: [0, 10_000]},
        {"grid.exported_energy": 100_000.0},
    ),
    (
        "a meter that is not there has no counter",
        "huawei-sun2000",
        {37100: [1], 37119: [0x7FFF, 0xFFFF], 37121: [0x7FFF, 0xFFFF]},
        {"grid.exported_energy": MISSING, "grid.imported_energy": MISSING},
    ),
    (
        "the sum of all inputs counts, whatever their number",
        "growatt-tlxh",
        {3001: [0, 61_000], 3005: [0, 20_000], 3009: [0, 20_000], 3013: [0, 21_000]},
        {"solar.active_power": 6100.0},
    ),
    (
        "four inputs of panels",
        "deye-hybrid-3p",
        {672: [1000, 2000, 300, 40]},
        {"solar.active_power": 3340.0},
    ),
    (
        "four inputs of panels and two of batteries, in tens of watts",
        "deye-hybrid-3p-hv",
        {672: [100, 200, 300, 400], 590: [150], 595: [0x10000 - 50]},
        {"solar.active_power": 10_000.0, "storage.active_power": -1000.0},
    ),
    (
        "what the panels gave, not what the inverter fed",
        "kostal-plenticore",
        {320: [0x2400, 0x4974], 1056: [0x2400, 0x49F4]},  # 1 MWh and 2 MWh, low word first
        {"solar.produced_energy": 2_000_000.0},
    ),
    (
        "a meter that is not connected",
        "sungrow-sh",
        {5602: [0xFFFF, 0x7FFF] * 3, 5740: [0xFFFF] * 3, 13009: [0x10000 - 500, 0xFFFF]},
        {
            "grid.active_power.l1": MISSING,
            "grid.active_power.l3": MISSING,
            "grid.voltage.l1": MISSING,
            "grid.active_power": 500.0,
        },
    ),
    (
        "counters of the meter and of the day",
        "sungrow-sg",
        {5002: [123], 5003: [4567, 0], 5094: [2000, 1], 5098: [3000, 0]},
        {
            "solar.today_produced_energy": 12_300.0,
            "solar.produced_energy": 4_567_000.0,
            "grid.exported_energy": 6_753_600.0,
            "grid.imported_energy": 300_000.0,
        },
    ),
    (
        "an inverter without a meter",
        "sungrow-sg",
        {5082: [0xFFFF, 0x7FFF], 5098: [0xFFFF, 0xFFFF], 5030: [4200, 0]},
        {"grid.active_power": MISSING, "grid.imported_energy": MISSING, "solar.active_power": 4200.0},
    ),
    (
        "panels of the inverter and behind the PV meter",
        "alphaess-smile",
        {
            144: [0, 50_000],
            161: [0, 800],
            1055: [0, 1500],
            1059: [0, 700],
            1063: [0, 50],
            1086: [0, 30_000],
            281: [101],
        },
        {
            "solar.active_power": 3050.0,
            "solar.produced_energy": 3_500_000.0,
            "storage.energy_capacity": 10_100.0,
        },
    ),
    (
        "two batteries, of which one charges and one discharges",
        "sofar-hyd-g3",
        {0x0606: [300], 0x060D: [0x10000 - 100], 0x0586: [100], 0x0589: [50], 0x058C: [10]},
        {"storage.active_power": 2000.0, "solar.active_power": 1600.0},
    ),
    ("the sensor of the panels", "varta-element", {1102: [2345]}, {"solar.active_power": 2345.0}),
    (
        "they count production negative",
        "e3dc-s10-external",
        {40075: [0x10000 - 1500, 0xFFFF]},
        {"active_power": 1500.0},
    ),
    (
        "the counter's two words do not stand side by side",
        "deye-hybrid-1p",
        {78: [5000], 79: [5001], 80: [2], 81: [300, 1], 169: [0x10000 - 700], 190: [1500], 186: [100, 200, 30, 4]},
        {
            "grid.imported_energy": 13_607_200.0,
            "grid.exported_energy": 6_583_600.0,
            "grid.frequency": 50.01,
            "grid.active_power": -700.0,
            "storage.active_power": -1500.0,
            "solar.active_power": 334.0,
        },
    ),
    (
        "exports while it charges",
        "growatt-sph",
        {1: [0, 50_000], 1009: [0, 0, 0, 12_000], 1021: [0, 0], 1029: [0, 8000], 1014: [63]},
        {
            "solar.active_power": 5000.0,
            "storage.active_power": 1200.0,
            "grid.active_power": -800.0,
            "storage.soc": 63.0,
        },
    ),
    (
        "imports while it discharges",
        "huawei-emma",
        {30354: [0, 0], 30360: [0xFFFF, 0x10000 - 2500], 30368: [4250], 31657: [0, 400], 30338: [0, 0, 1, 0]},
        {
            "storage.active_power": -2500.0,
            "storage.soc": 42.5,
            "grid.active_power": 400.0,
            "grid.imported_energy": 655_360.0,
        },
    ),
    (
        "exports while it charges",
        "sungrow-ihomemanager",
        {8154: [600, 0], 8156: [0x10000 - 250, 0xFFFF], 8160: [0x10000 - 300, 0xFFFF], 8177: [10, 1]},
        {
            "solar.active_power": 6000.0,
            "grid.active_power": -2500.0,
            "storage.active_power": 3000.0,
            "grid.exported_energy": 6_554_600.0,
        },
    ),
    (
        "exports while it charges",
        "foxess-h1",
        {31002: [3000], 31005: [500], 31014: [900], 31022: [0x10000 - 2000], 31024: [55]},
        {
            "solar.active_power": 3500.0,
            "grid.active_power": -900.0,
            "storage.active_power": 2000.0,
            "storage.soc": 55.0,
        },
    ),
    (
        "imports on three phases while it discharges",
        "foxess-h3-smart",
        {38816: [0xFFFF, 0x10000 - 1000] * 3, 39237: [0, 2000], 39279: [0, 10, 0, 20, 0, 30, 0, 0, 0, 0, 0, 5]},
        {"grid.active_power": 300.0, "storage.active_power": -2000.0, "solar.active_power": 65.0},
    ),
    (
        "exports while it charges",
        "sofar-hyd-es",
        {0x0212: [120], 0x020D: [200], 0x0215: [400], 0x021C: [0, 7000], 0x0220: [1, 0]},
        {
            "grid.active_power": -1200.0,
            "storage.active_power": 2000.0,
            "solar.active_power": 4000.0,
            "solar.produced_energy": 7_000_000.0,
            "grid.imported_energy": 65_536_000.0,
        },
    ),
    (
        "imports while it discharges",
        "solinteg-hybrid",
        {11000: [0xFFFF, 0x10000 - 350], 30258: [0, 1800], 33000: [8050], 31110: [0, 12_345]},
        {
            "grid.active_power": 350.0,
            "storage.active_power": -1800.0,
            "storage.soc": 80.5,
            "storage.discharged_energy": 1_234_500.0,
        },
    ),
    (
        "floats with the low word first",
        "shelly-3em",
        {1013: [0x4000, 0xC4A2], 1020: [0x6666, 0x4370], 1162: [0x2400, 0x4974]},  # -1298, 240.4, 1e6
        {"active_power": -1298.0, "voltage.l1": 240.39999389648438, "imported_energy": 1_000_000.0},
    ),
    ("tenths of a kilowatt", "kermi-x-change", {108: [23], 200: [4]}, {"active_power": 2300.0}),
    (
        "64 bits of Wh",
        "peblar",
        {30000: [0, 0, 1, 0], 30014: [0, 11_000], 30022: [0, 15_900]},
        {"consumed_energy": 65_536.0, "active_power": 11_000.0, "current.l1": 15.9},
    ),
    (
        "the counter's low word stands first",
        "solax-evc",
        {0: [23_010], 4: [1590], 11: [7360], 16: [3, 1]},
        {"voltage.l1": 230.1, "current.l1": 15.9, "active_power": 7360.0, "consumed_energy": 6_553_900.0},
    ),
    (
        "each connector has a hundred registers",
        "alpitronic-hypercharger:2",
        {104: [0, 1], 204: [2, 0], 232: [0, 0, 0, 9]},
        {"active_power": 131_072.0, "consumed_energy": 9.0},
    ),
    (
        "counters in Wh",
        "siemens-pac1600",
        {1: [0, 23_010], 57: [0xFFFF, 0xFFFF - 99], 6687: [1, 0], 6689: [0, 7]},
        {"voltage.l1": 230.1, "active_power": -1.0, "imported_energy": 65_536.0, "exported_energy": 7.0},
    ),
    ("it sleeps", "goodwe-dt", {30127: [0xFFFF, 0xFFFF]}, {"active_power": MISSING}),
    (
        "grid power in tens of watts, the battery's in watts",  # ha-solarman issue 1072
        "deye-hybrid-1p-large",
        {169: [0x10000 - 520], 186: [2600, 2541], 190: [150]},
        {"grid.active_power": -5200.0, "solar.active_power": 5141.0, "storage.active_power": -150.0},
    ),
    (
        "tenths of a watt per phase; it swings below zero",  # the maker's issues 163 and 175
        "go-e-charger",
        {108: [0, 230], 114: [0, 109], 120: [0x0009, 0x27C0], 128: [0, 36], 146: [0, 25_000], 148: [0xFFFF, 0xFFF6]},
        {
            "voltage.l1": 230.0,
            "current.l1": 10.9,
            "active_power.l1": 2500.0,
            "active_power.l2": -1.0,
            "active_power": 2499.0,
            "consumed_energy": 3600.0,
        },
    ),
    ("no light", "growatt-sph", {1: [0xFFFF, 0xFFFF]}, {"solar.active_power": 0.0}),  # OpenInverterGateway issue 246
    ("no light", "growatt-tlxh", {3001: [0xFFFF, 0xFFFF]}, {"solar.active_power": 0.0}),
    (
        "its meter is away",  # evcc pull request 30924
        "goodwe-et-20",
        {36014: [0xFFFF], 36104: [0xFFFF] * 4, 36120: [0, 0, 0, 7]},
        {"grid.frequency": MISSING, "grid.exported_energy": MISSING, "grid.imported_energy": 70.0},
    ),
    (
        "a phase that rests reads below zero",  # evcc pull request 31363: 0xFFE4 counted as 65508 W
        "siemens-versicharge",
        {1662: [0xFFE4, 0xFFFF, 7], 1692: [0, 12_345]},
        {"active_power.l1": -28.0, "active_power.l2": 0.0, "active_power.l3": 7.0, "consumed_energy": 12_345.0},
    ),
    (
        "a phase current that is not known",
        "phoenix-charx",
        {1232: [0, 0xE0C4], 1238: [0xFFFF, 0xFFFF], 1244: [0, 11_000], 1250: [0, 0, 1, 0]},
        {"voltage.l1": 57.54, "current.l1": MISSING, "active_power": 11.0, "consumed_energy": 65_536.0},
    ),
    (
        "each controller has a thousand registers",
        "phoenix-charx:2",
        {1244: [0, 1000], 2244: [0x00A8, 0x5DC0]},  # 11,034,048 mW
        {"active_power": 11_034.048},
    ),
    (
        "counters in kWh since firmware 1098",
        "deye-hybrid-3p-hv-1098",
        {516: [1461, 0], 522: [0, 1], 534: [6484, 0], 590: [30], 672: [250, 250]},
        {
            "storage.charged_energy": 1_461_000.0,
            "grid.imported_energy": 65_536_000.0,
            "solar.produced_energy": 6_484_000.0,
            "storage.active_power": -300.0,
            "solar.active_power": 5000.0,
        },
    ),
    (
        "counted from an offset",
        "sax-power",
        {46: [80, 16_384 + 1500, 16_384 - 200]},
        {"storage.soc": 80.0, "storage.active_power": -1500.0, "grid.active_power": -200.0},
    ),
    (
        "discharge is positive on the device",
        "marstek-venus",
        {32104: [55], 32202: [0, 800], 33002: [0, 12_345]},
        {"soc": 55.0, "active_power": -800.0, "discharged_energy": 123_450.0},
    ),
    (
        "16 bits of power, tenths of a percent",
        "marstek-venus-3",
        {30006: [0x10000 - 1200], 34002: [905]},
        {"active_power": 1200.0, "soc": 90.5},
    ),
    (
        "import positive, unlike the meter at an inverter",
        "huawei-smartlogger-meter",
        {32260: [0, 23_010], 32272: [0, 125], 32278: [0xFFFF, 0x10000 - 4000], 32357: [0, 0, 0, 1500]},
        {"voltage.l1": 230.1, "current.l1": 12.5, "active_power": -4000.0, "imported_energy": 15_000.0},
    ),
    (
        "charges from the grid",
        "sma-sunny-island",
        {30595: [0, 5000, 0, 4000], 30775: [0xFFFF, 0x10000 - 2500], 30845: [0, 67]},
        {"charged_energy": 5000.0, "discharged_energy": 4000.0, "active_power": 2500.0, "soc": 67.0},
    ),
    (
        "feeds in",
        "sma-home-manager",
        {30583: [0, 9000], 30865: [0, 0, 0, 3200], 31259: [0, 1100], 31265: [0, 0]},
        {"exported_energy": 9000.0, "active_power": -3200.0, "active_power.l1": -1100.0},
    ),
    (
        "feeds in while it charges",
        "sma-data-manager",
        {30775: [0, 9000], 31249: [0, 2000], 31393: [0, 1500, 0, 0], 30513: [0, 0, 1, 0]},
        {
            "solar.active_power": 9000.0,
            "solar.produced_energy": 65_536.0,
            "grid.active_power": -2000.0,
            "storage.active_power": 1500.0,
        },
    ),
    (
        "thousandths of a volt",
        "bgetech-ds100",
        {0x0400: [0x0003, 0x82DA], 0x0420: [0xFFFF, 0xFC18], 0x010E: [0, 7], 0x0118: [0, 9]},
        {"voltage.l1": 230.106, "active_power": -1000.0, "imported_energy": 70.0, "exported_energy": 90.0},
    ),
    (
        "hundredths of a kWh",
        "bgetech-ws100",
        {0x0104: [0, 900], 0x010E: [1, 0]},
        {"active_power": 900.0, "imported_energy": 655_360.0},
    ),
    (
        "it defrosts",
        "m-tec-heat-pump",
        {702: [3210, 3], 707: [1850]},
        {"consumed_energy": 3_210_000.0, "active_power": 1850.0},
    ),
    (
        "feeds in while it charges; one phase is not known",  # NaN
        "fenecon-openems",
        {
            302: [63],
            315: [0xC49C, 0x4000],  # -1250
            327: [0x4600, 0x2000],  # 8200
            367: [0x4136, 0xE360, 0, 0],  # 1.5e6
            383: [0x406F, 0x4000, 0, 0],  # 250
            397: [0x7FC0, 0],
            415: [0xC49C, 0x4000],
            420: [0x46AB, 0xE000],  # 22,000
        },
        {
            "solar.active_power": 8200.0,
            "solar.produced_energy": 1_500_000.0,
            "storage.active_power": 1250.0,
            "storage.charged_energy": 250.0,
            "storage.energy_capacity": 22_000.0,
            "storage.soc": 63.0,
            "grid.active_power": -1250.0,
            "grid.active_power.l1": MISSING,
        },
    ),
    ("an Edge without a battery", "fenecon-openems", {302: [0xFFFF], 415: [0x7FC0, 0]}, {"storage.soc": MISSING}),
    (
        "exports while it discharges",
        "saj-h2",
        {
            0x40A5: [3200],
            0x40A6: [800],
            0x40AD: [0x10000 - 1500],
            0xA00C: [7550],
            0x40C5: [1, 0],
            0x40CD: [0, 123],
            0x4031: [2312],
            0x40FD: [0, 50_000],
        },
        {
            "solar.active_power": 3200.0,
            "storage.active_power": -800.0,
            "storage.soc": 75.5,
            "storage.charged_energy": 1230.0,
            "grid.active_power": -1500.0,
            "grid.voltage.l1": 231.2,
            "solar.produced_energy": 655_360.0,
            "grid.imported_energy": 500_000.0,
        },
    ),
    (
        "imports while it charges",
        "saj-h1",
        {0x40A1: [420], 0x40A6: [0x10000 - 900], 0x406F: [4100], 0x40F5: [0, 7]},
        {
            "grid.active_power": 420.0,
            "storage.active_power": 900.0,
            "storage.soc": 41.0,
            "grid.exported_energy": 70.0,
        },
    ),
    (
        "the block at 0x0100",
        "saj-r5",
        {0x0113: [4150], 0x0116: [2307, 601, 5001], 0x012C: [1234], 0x0131: [2, 1]},
        {
            "active_power": 4150.0,
            "voltage.l1": 230.7,
            "current.l1": 6.01,
            "frequency": 50.01,
            "today_produced_energy": 12_340.0,
            "produced_energy": 1_310_730.0,
        },
    ),
    (
        "floats with the low word first; counters in kWh",
        "ecoflow-powerocean",
        {
            40521: [0x4000, 0xC583],  # -4200
            40523: [0xC000, 0x455A],  # 3500
            40525: [0x4000, 0xC583],
            40527: [88],
            40552: [10_000],
            40580: [0x8000, 0x4366],  # 230.5
            42161: [0x5000, 0x449A],  # 1234.5
        },
        {
            "grid.active_power": -4200.0,
            "solar.active_power": 3500.0,
            "storage.active_power": -4200.0,
            "storage.soc": 88.0,
            "storage.energy_capacity": 10_000.0,
            "grid.voltage.l1": 230.5,
            "grid.imported_energy": 1_234_500.0,
        },
    ),
    (
        "hundredths of a kWh in 64 bits",
        "huawei-smartlogger",
        {40521: [1, 0], 40446: [0, 0, 1, 5]},
        {"active_power": 65_536.0, "produced_energy": 655_410.0},
    ),
    ("no inverter is there", "huawei-smartlogger", {40521: [0x7FFF, 0xFFFF]}, {"active_power": MISSING}),
    (
        "feeds in while it charges",
        "foxess-avocado",
        {39118: [0, 1400], 39237: [0, 600], 39168: [0, 790], 39424: [55], 39605: [0, 300], 39625: [0, 12]},
        {
            "solar.active_power": 1400.0,
            "storage.active_power": 600.0,
            "storage.soc": 55.0,
            "storage.charged_energy": 3000.0,
            "grid.active_power": -790.0,
            "grid.imported_energy": 120.0,
        },
    ),
    (
        "imports while it charges",
        "foxess-kh",
        {
            39168: [0xFFFF, 0x10000 - 700],
            39279: [0, 1000, 0, 2000, 0, 30, 0, 4],
            31022: [0x10000 - 2500],
            31024: [20],
            32012: [1, 0],
        },
        {
            "grid.active_power": 700.0,
            "solar.active_power": 3034.0,
            "storage.active_power": 2500.0,
            "storage.soc": 20.0,
            "grid.imported_energy": 6_553_600.0,
        },
    ),
    (
        "imports while it discharges",
        "foxess-h1-rs485",
        {11002: [900, 0, 0, 100, 0, 0, 1500, 2304], 11021: [0x10000 - 250], 11036: [81], 11069: [0, 44_000]},
        {
            "solar.active_power": 1000.0,
            "storage.active_power": -1500.0,
            "grid.voltage.l1": 230.4,
            "grid.active_power": 250.0,
            "storage.soc": 81.0,
            "solar.produced_energy": 4_400_000.0,
        },
    ),
    (
        "the system's state of charge stands before the state of health",  # foxess_modbus issue 1248
        "foxess-evo",
        {39168: [0, 1200], 39237: [0xFFFF, 0x10000 - 800], 39279: [0, 2000], 39423: [64, 99], 39617: [0, 250]},
        {
            "grid.active_power": -1200.0,
            "storage.active_power": 800.0,
            "solar.active_power": 2000.0,
            "storage.soc": 64.0,
            "grid.imported_energy": 2500.0,
        },
    ),
    (
        "four inputs in tenths of a watt",
        "marstek-venus-a",
        {30001: [0x10000 - 400], 30037: [4180, 3000, 0, 20], 32104: [47]},
        {"solar.active_power": 720.0, "storage.active_power": -400.0, "storage.soc": 47.0},
    ),
    (
        "the battery covers what the panels do not give",
        "marstek-jupiter",
        {3: [300], 6: [50], 13: [800], 16: [72]},
        {"active_power": -450.0, "soc": 72.0},
    ),
    ("four inputs of panels", "marstek-jupiter-solar", {3: [300], 6: [50], 9: [7], 13: [800]}, {"active_power": 357.0}),
    (
        "the low word stands first",  # evcc issue 31107: 166 W of grid, 297 W of battery
        "anker-solix-x1",
        {10008: [297, 0], 10014: [52], 10644: [166, 0], 10632: [2330], 10183: [0x10000 - 1, 0]},
        {
            "storage.active_power": -297.0,
            "storage.soc": 52.0,
            "grid.active_power": 166.0,
            "grid.voltage.l1": 233.0,
            "solar.active_power": 65_535.0,
        },
    ),
    (
        "the high word stands first; further panels add up",
        "anker-solix-solarbank",
        {10002: [0, 800, 0, 350], 10008: [0xFFFF, 0x10000 - 500], 10012: [0, 90], 10018: [0, 77], 10014: [33]},
        {
            "solar.active_power": 1150.0,
            "storage.active_power": 500.0,
            "grid.active_power": 90.0,
            "solar.produced_energy": 7700.0,
        },
    ),
    (
        "the low word stands first; it feeds in",  # the words of squishykid/solax issue 84: 64551, 65535 is -985
        "solax-x3-mic",
        {0x0404: [2394, 2396, 2384, 4999], 0x040A: [20, 20, 21], 0x040E: [2144], 0x0423: [1437, 0], 0x043B: [985, 0]},
        {
            "solar.active_power": 2144.0,
            "solar.voltage.l1": 239.4,
            "solar.current.l3": 2.1,
            "solar.frequency": 49.99,
            "solar.produced_energy": 143_700.0,
            "grid.active_power": -985.0,
        },
    ),
    (
        "yields in Wh",
        "solax-x3-mic-g1",
        {0x040E: [900], 0x0423: [0, 10], 0x0435: [0x10000 - 50, 0xFFFF], 0x0437: [3, 0]},
        {
            "solar.active_power": 900.0,
            "solar.produced_energy": 655_360.0,
            "grid.active_power": 50.0,
            "grid.exported_energy": 30.0,
        },
    ),
    (
        "it feeds in",
        "solax-x1",
        {0x0404: [2301], 0x0407: [5001], 0x040E: [1500], 0x0423: [7, 1], 0x043B: [700, 0], 0x043F: [9, 0]},
        {
            "solar.voltage.l1": 230.1,
            "solar.frequency": 50.01,
            "solar.active_power": 1500.0,
            "solar.produced_energy": 6_554_300.0,
            "grid.active_power": -700.0,
            "grid.imported_energy": 90.0,
        },
    ),
    (
        "three inputs of panels",
        "solax-x1-g4",
        {0x0400: [2299], 0x0403: [81], 0x0406: [4998], 0x0410: [1000, 900, 5], 0x042B: [7, 1], 0x0437: [42]},
        {
            "active_power": 1905.0,
            "voltage.l1": 229.9,
            "current.l1": 8.1,
            "produced_energy": 6_554_300.0,
            "today_produced_energy": 4200.0,
        },
    ),
    (
        "today stands before the total",
        "sofar-string-g3",
        {0x0484: [5001, 1234], 0x048D: [2315, 1780], 0x04A3: [2299, 1781], 0x0684: [0, 1234, 1, 0]},
        {
            "active_power": 12_340.0,
            "frequency": 50.01,
            "voltage.l1": 231.5,
            "current.l3": 17.81,
            "today_produced_energy": 12_340.0,
            "produced_energy": 6_553_600.0,
        },
    ),
    (
        "counters in whole kWh",
        "sofar-string",
        {0x000C: [250, 0, 4999, 2310, 1082], 0x0015: [0, 12_345], 0x0019: [777]},
        {
            "active_power": 2500.0,
            "frequency": 49.99,
            "voltage.l1": 231.0,
            "current.l1": 10.82,
            "produced_energy": 12_345_000.0,
            "today_produced_energy": 7770.0,
        },
    ),
    (
        "the output stands where newer firmware has the third input",
        "growatt-mic",
        {11: [0, 28_500, 5000, 2345], 26: [0, 91, 1, 0]},
        {
            "active_power": 2850.0,
            "frequency": 50.0,
            "voltage.l1": 234.5,
            "today_produced_energy": 9100.0,
            "produced_energy": 6_553_600.0,
        },
    ),
    (
        "it draws a little at night",
        "growatt-tlx-3000",
        {3023: [0xFFFF, 0x10000 - 30, 5002, 2312], 3049: [0, 25, 0, 54_321]},
        {
            "active_power": -3.0,
            "frequency": 50.02,
            "voltage.l1": 231.2,
            "today_produced_energy": 2500.0,
            "produced_energy": 5_432_100.0,
        },
    ),
    (
        "it discharges",
        "growatt-spf",
        {3: [0, 9000, 0, 6000], 18: [57], 50: [0, 100], 54: [0, 50], 77: [0, 12_000]},
        {
            "solar.active_power": 1500.0,
            "solar.produced_energy": 15_000.0,
            "storage.active_power": -1200.0,
            "storage.soc": 57.0,
        },
    ),
    (
        "exports while it charges",
        "growatt-wit",
        {1: [1, 14_464], 8081: [0, 0, 0, 25_000], 8093: [44], 31200: [0, 30_000], 31204: [0, 7]},
        {
            "solar.active_power": 8000.0,
            "grid.active_power": -2500.0,
            "storage.soc": 44.0,
            "storage.active_power": 3000.0,
            "storage.charged_energy": 700.0,
        },
    ),
    (
        "kilowatts as floats, the low word first",
        "ferroamp-energyhub",
        {
            3100: [0, 0xC020],  # -2.5 kW
            5100: [0, 0x40A0],  # 5 kW
            6100: [0, 0xBFC0],  # -1.5 kW
            6016: [0, 0x4282],  # 65 %
            6008: [0, 0x4170],  # 15 kWh
            6064: [0x5000, 0x449A],  # 1234.5 kWh
        },
        {
            "grid.active_power": -2500.0,
            "solar.active_power": 5000.0,
            "storage.active_power": 1500.0,
            "storage.soc": 65.0,
            "storage.energy_capacity": 15_000.0,
            "storage.charged_energy": 1_234_500.0,
        },
    ),
    (
        "the low word stands first",
        "solar-log",
        {3502: [4200, 0], 3516: [5, 100]},
        {"active_power": 4200.0, "produced_energy": 6_553_605.0},
    ),
    ("it feeds in", "solar-log-grid", {3502: [4200, 0], 3518: [900, 0]}, {"active_power": -3300.0}),
    (
        "imports while it discharges",
        "hager-flow",
        {4102: [0, 120], 4126: [0, 3000], 4138: [0xFFFF, 0x10000 - 640], 4146: [71]},
        {
            "grid.active_power": 120.0,
            "solar.active_power": 3000.0,
            "storage.active_power": -640.0,
            "storage.soc": 71.0,
        },
    ),
    (
        "the meter has the low word first, the inverter the high word",
        "ibc-homeone",
        {1600: [0, 5000], 1604: [0, 321], 1618: [0, 700], 1621: [66], 60038: [100, 0, 0x10000 - 300, 0xFFFF, 50, 0]},
        {
            "solar.active_power": 5000.0,
            "solar.produced_energy": 32_100.0,
            "storage.active_power": -700.0,
            "storage.soc": 66.0,
            "grid.active_power": -150.0,
        },
    ),
    (
        "exports while it charges",
        "afore-hybrid",
        {
            529: [0xFFFF, 0x10000 - 400] * 3,
            535: [0xFFFF, 0x10000 - 1200],
            553: [0, 4000],
            1018: [0, 12, 0, 34],
            2002: [50],
        }
        | {2007: [0xFFFF, 0x10000 - 900], 2011: [0, 1, 0, 2]},
        {
            "grid.active_power": -1200.0,
            "grid.active_power.l2": -400.0,
            "grid.exported_energy": 1200.0,
            "grid.imported_energy": 3400.0,
            "solar.active_power": 4000.0,
            "storage.active_power": 900.0,
            "storage.charged_energy": 100.0,
        },
    ),
    (
        "imports while it discharges",
        "senergy-hybrid",
        {
            0x1021: [0, 4321],
            0x1048: [0, 31_000],
            0x1300: [0, 1000] * 3,
            0x1306: [0, 500],
            0x2000: [80],
            0x2009: [0, 6000],
        },
        {
            "solar.active_power": 3100.0,
            "solar.produced_energy": 4_321_000.0,
            "grid.active_power": 300.0,
            "grid.imported_energy": 5000.0,
            "storage.active_power": -600.0,
            "storage.soc": 80.0,
        },
    ),
    (
        "exports while it charges",
        "siemens-junelight",
        {6: [0xFFFF, 0x10000 - 800, 0, 45], 14: [0xFFFF, 0x10000 - 90, 0, 2500]},
        {
            "storage.active_power": 800.0,
            "storage.soc": 45.0,
            "grid.active_power": -90.0,
            "solar.active_power": 2500.0,
        },
    ),
    (
        "tenths of a watt",
        "solarmax-smt",
        {4129: [0, 12], 4151: [1, 15_464]},
        {"active_power": 8100.0, "produced_energy": 12e3},
    ),
    (
        "exports while it charges",
        "solarmax-max-storage",
        {110: [3000, 0], 114: [900, 0], 118: [400, 0], 122: [77]},
        {
            "solar.active_power": 3000.0,
            "storage.active_power": 900.0,
            "storage.soc": 77.0,
            "grid.active_power": -400.0,
        },
    ),
    (
        "imports while it charges",
        "atmoce",
        {60031: [0, 7000], 60069: [0, 2000, 0xFFFF, 0x10000 - 500, 0, 300], 60089: [2310, 0x10000 - 130], 60095: [61]}
        | {60184: [0, 0, 1, 0]},
        {
            "storage.energy_capacity": 7000.0,
            "solar.active_power": 2000.0,
            "storage.active_power": 500.0,
            "grid.active_power": 300.0,
            "grid.voltage.l1": 231.0,
            "grid.current.l1": -1.3,
            "storage.soc": 61.0,
            "grid.imported_energy": 655_360.0,
        },
    ),
    (
        "hundreds of watts",
        "intilion-scalebloc",
        {5002: [555], 5040: [0x10000 - 250], 6010: [10, 0, 0x10000 - 4, 0, 1], 6000: [4002]},
        {
            "storage.soc": 55.5,
            "storage.active_power": 25_000.0,
            "grid.active_power": 700.0,
            "grid.voltage.l1": 400.2,
        },
    ),
    (
        "hundreds of watts",
        "adstec-storaxe",
        {1: [0x10000 - 30], 114: [0, 12_345], 125: [40], 6: [2310]},
        {"active_power": 3000.0, "discharged_energy": 12_345_000.0, "soc": 40.0, "voltage.l1": 231.0},
    ),
    (
        "it charges",
        "plexlog",
        {0: [0, 5000], 36: [90, 0xFFFF, 0x10000 - 1000]},
        {"solar.active_power": 5000.0, "storage.active_power": 1000.0, "storage.soc": 90.0},
    ),
    (
        "the panels feed house and battery",
        "plexlog-grid",
        {0: [0, 5000, 0, 700], 37: [0xFFFF, 0x10000 - 1000]},
        {"active_power": -3300.0},
    ),
    (
        "it charges; the vendor's table counts tenths of a kWh",
        "victron-battery",
        {256: [0, 1250], 262: [183], 266: [874], 301: [1234, 1500], 304: [990]},
        {
            "active_power": 1250.0,
            "temperature": 18.3,
            "soc": 87.4,
            "soh": 99.0,
            "discharged_energy": 123_400.0,
            "charged_energy": 150_000.0,
        },
    ),
    ("it keeps no counters", "victron-battery", {266: [500]}, {"charged_energy": Quality.INVALID}),
    (
        "one phase",
        "victron-acload",
        {3910: [2305, 48], 3916: [1, 0], 3922: [5001], 3924: [0, 1100]},
        {
            "active_power": 1100.0,
            "active_power.l2": 0.0,
            "voltage.l1": 230.5,
            "current.l1": 4.8,
            "frequency": 50.01,
            "imported_energy": 655_360.0,
        },
    ),
    (
        "three phases",
        "victron-pvinverter",
        {1027: [2301, 43], 1046: [0, 100, 0, 200, 0, 300], 1058: [0, 1000, 0, 1001, 0, 1002, 5000]},
        {
            "active_power": 3003.0,
            "voltage.l1": 230.1,
            "current.l1": 4.3,
            "produced_energy": 6000.0,
            "frequency": 50.0,
        },
    ),
    (
        "watts of the panels",
        "victron-solarcharger",
        {792: [0, 2750], 3728: [0, 4321]},
        {"active_power": 2750.0, "produced_energy": 4_321_000.0},
    ),
    (
        "it heats",
        "victron-heatpump",
        {5501: [3, 0, 1850, 0, 777, 452]},
        {"active_power": 1850.0, "consumed_energy": 7770.0, "temperature": 45.2},
    ),
    (
        "exports while it charges",
        "viessmann-vitocharge-vx3",
        {35105: [0, 2000], 35109: [0xFFFF, 0xFFFF], 35182: [0xFFFF, 0x10000 - 700], 36025: [0, 900], 37007: [64, 99]}
        | {36015: [0x4974, 0x2400]},
        {
            "solar.active_power": 2000.0,
            "storage.active_power": 700.0,
            "storage.soc": 64.0,
            "storage.soh": 99.0,
            "grid.active_power": -900.0,
            "grid.exported_energy": 1_000_000.0,
            "grid.imported_energy": Quality.INVALID,
        },
    ),
    (
        "the low word stands first",
        "sungrow-ac011e",
        {21299: [5, 1, 2305, 160, 2306, 158, 2307, 159, 10_900, 0]},
        {
            "active_power": 10_900.0,
            "consumed_energy": 65_541.0,
            "voltage.l1": 230.5,
            "current.l1": 16.0,
            "current.l3": 15.9,
        },
    ),
    (
        "the second connector stands 16 registers behind the first",
        "compleo-solo:2",
        {0x0102: [37], 0x0112: [110, 159, 160, 0], 0x011D: [231]},
        {"active_power": 11_000.0, "current.l1": 15.9, "voltage.l1": 231.0},
    ),
    (
        "phases with a gap between them",
        "daheimladen",
        {6: [159, 0, 160, 0, 158, 0, 0, 11_000], 16: [0, 3700], 28: [0, 12_345], 109: [2301, 0, 2302]},
        {
            "active_power": 11_000.0,
            "active_power.l1": 3700.0,
            "consumed_energy": 1_234_500.0,
            "current.l2": 16.0,
            "voltage.l2": 230.2,
        },
    ),
    (
        "the second connector",
        "em2go-duo:2",
        {512: [159], 518: [2299], 536: [0, 3600], 540: [0, 77]},
        {"current.l1": 15.9, "voltage.l1": 229.9, "active_power": 3600.0, "consumed_energy": 7700.0},
    ),
    ("the second connector", "delta-charger:2", {1005: [0, 1], 2005: [0, 15_000]}, {"active_power": 15_000.0}),
    (
        "floats",
        "kathrein-kwb",
        {
            0x30: [0x4366, 0x8000],
            0x36: [0x4180, 0],
            0x3C: [0x4566, 0x8000],
            0x54: [0x462C, 0xE000],
            0x5C: [0x4974, 0x2400],
        },
        {
            "voltage.l1": 230.5,
            "current.l1": 16.0,
            "active_power.l1": 3688.0,
            "active_power": 11_064.0,
            "consumed_energy": 1_000_000.0,
        },
    ),
    (
        "64 bits of Wh",
        "cfos-power-brain",
        {8058: [0, 0, 1, 7, 0, 7400, 0, 160]},
        {"consumed_energy": 65_543.0, "active_power": 7400.0, "current.l1": 16.0},
    ),
    (
        "milliwatts, the low word first",
        "nrgkick-gen2",
        {199: [7, 1, 0, 0], 210: [0x10A0, 0x00A8], 217: [23_012], 220: [15_900]},  # 11,014,304 mW
        {"consumed_energy": 65_543.0, "active_power": 11_014.304, "voltage.l1": 230.12, "current.l1": 15.9},
    ),
    (
        "kilowatts of the second connector",
        "etrel-inch:2",
        {114: [0x4180, 0], 126: [0x40E0, 0]},
        {"current.l1": 16.0, "active_power": 7000.0},
    ),
    (
        "whole volts and amperes, the low word first",
        "phoenix-ev-cc-ac1-eth",
        {108: [230, 0], 114: [16, 0], 120: [3680, 0], 904: [1, 2]},
        {"voltage.l1": 230.0, "current.l1": 16.0, "active_power": 3680.0, "consumed_energy": 131_073.0},
    ),
    (
        "hundredths of a kWh",
        "sigenergy-evac",
        {32001: [1, 0, 0, 11_000]},
        {"active_power": 11_000.0, "consumed_energy": 655_360.0},
    ),
    (
        "the car feeds back",
        "sigenergy-evdc",
        {31502: [0xFFFF, 0x10000 - 5000], 31519: [0, 12]},
        {"active_power": -5000.0, "consumed_energy": 120.0},
    ),
    (
        "tenths of a kilowatt",
        "goodwe-hca",
        {10009: [2301, 2302, 2303, 159, 158, 157, 109], 10065: [0, 44]},
        {"voltage.l3": 230.3, "current.l1": 15.9, "active_power": 10_900.0, "consumed_energy": 4400.0},
    ),
    (
        "tenths of a kilowatt",
        "foxess-evc",
        {0x1008: [2301, 0, 0, 159, 0, 0, 37], 0x1016: [1, 0]},
        {"voltage.l1": 230.1, "current.l1": 15.9, "active_power": 3700.0, "consumed_energy": 6_553_600.0},
    ),
    (
        "milliamperes",
        "raedian-neo",
        {0x8010: [0, 15_900], 0x8016: [0, 2305], 0x801C: [0, 3666]},
        {"current.l1": 15.9, "voltage.l1": 230.5, "active_power": 3666.0},
    ),
    (
        "millivolts",
        "voltie-charger",
        {0x2000: [3, 0x82DA], 0x2006: [0, 15_900], 0x2010: [0, 3659]},
        {"voltage.l1": 230.106, "current.l1": 15.9, "active_power": 3659.0},
    ),
    (
        "one register each",
        "kse-wbx16",
        {0x11: [230, 231, 232, 15_900, 0, 0, 3, 3657], 0x60: [0, 54_321]},
        {"voltage.l3": 232.0, "current.l1": 15.9, "active_power": 3657.0, "consumed_energy": 54_321.0},
    ),
    (
        "one register each",
        "enovates-single",
        {200: [15_900, 0, 0, 230, 231, 232, 3657], 216: [0, 999]},
        {"current.l1": 15.9, "voltage.l2": 231.0, "active_power": 3657.0, "consumed_energy": 999.0},
    ),
    (
        "the second connector",
        "dadapower-premium:2",
        {2003: [23_010], 2006: [1590], 2009: [0, 3657], 2025: [0, 0, 1, 0]},
        {"voltage.l1": 230.1, "current.l1": 15.9, "active_power": 3657.0, "consumed_energy": 65_536.0},
    ),
    (
        "the third module",
        "chargex-aqueduct:3",
        {124: [0, 11_000, 0, 15_900]},
        {"active_power": 11_000.0, "current.l1": 15.9},
    ),
    (
        "thousandths, the low word first",
        "weidmueller-ac-smart",
        {400: [0x82DA, 3], 406: [15_900, 0], 418: [0x10A0, 0x00A8], 457: [3, 1]},
        {"voltage.l1": 230.106, "current.l1": 15.9, "active_power": 11_014.304, "consumed_energy": 65_539.0},
    ),
    (
        "the counters run below zero",
        "free2move-eprowallbox",
        {40604: [0x4366, 0x8000], 40620: [0x4180, 0], 40636: [0x4566, 0x8000], 40658: [0xC974, 0x2400, 0xC974, 0x2400]},
        {
            "voltage.l1": 230.5,
            "current.l1": 16.0,
            "active_power": 3688.0,
            "consumed_energy": 2_000_000.0,
        },
    ),
    (
        "one register each",
        "etek-ekepc2",
        {159: [230, 231, 232, 16, 3657, 0, 4321]},
        {"voltage.l1": 230.0, "active_power": 3657.0, "consumed_energy": 4321.0},
    ),
    ("it heats", "askoma-askoheat", {317: [1750]}, {"active_power": 1750.0}),
    ("tens of watts", "glen-dimplex-wpm", {3: [487], 5170: [215]}, {"active_power": 2150.0, "temperature": 48.7}),
    ("tenths of a kilowatt", "solvis-control", {33545: [23]}, {"active_power": 2300.0}),
    ("kilowatts", "ovum-mira", {56021: [0x4020, 0]}, {"active_power": 2500.0}),
    (
        "three phases; the counter's low word stands first",
        "thermia",
        {72: [23_010], 78: [700, 800, 900], 83: [1, 1]},
        {"active_power": 2400.0, "voltage.l1": 230.1, "consumed_energy": 6_553_700.0},
    ),
    (
        "tenths of a kilowatt; kWh and MWh have a word each",
        "stiebel-eltron-wpmsystem",
        {2500: [1 << 6], 3511: [123, 4, 0, 45, 1], 3679: [27]},
        {"active_power": 2700.0, "consumed_energy": 5_168_000.0},
    ),
    ("heat pump 1 is not there", "stiebel-eltron-wpmsystem", {3679: [0x8000]}, {"active_power": MISSING}),
    ("it discharges", "studer-battery", {4: [0x4282, 0], 6: [0xC49C, 0x4000]}, {"soc": 65.0, "active_power": -1250.0}),
    (
        "kilowatts and megawatt-hours",
        "studer-variotrack",
        {8: [0x4020, 0], 18: [0x3F80, 0]},
        {"active_power": 2500.0, "produced_energy": 1_000_000.0},
    ),
    (
        "kilowatts and megawatt-hours",
        "studer-variostring",
        {20: [0x4020, 0], 46: [0x3F80, 0]},
        {"active_power": 2500.0, "produced_energy": 1_000_000.0},
    ),
    (
        "one direction",
        "orno-we504",
        {0: [2312, 48, 500, 1100], 7: [1, 7]},
        {
            "voltage.l1": 231.2,
            "current.l1": 4.8,
            "frequency": 50.0,
            "active_power": 1100.0,
            "imported_energy": 65_543.0,
        },
    ),
    (
        "one direction",
        "orno-we514",
        {0x0130: [5001, 23_012], 0x0139: [0, 4800], 0x0140: [0, 1100], 0xA000: [0, 12_345]},
        {
            "frequency": 50.01,
            "voltage.l1": 230.12,
            "current.l1": 4.8,
            "active_power": 1100.0,
            "imported_energy": 123_450.0,
        },
    ),
    (
        "whole numbers where an SDM630 has floats",
        "eltako-dsz15",
        {0: [0, 23_012], 6: [0, 4800], 0x34: [0xFFFF, 0x10000 - 900], 0x48: [0, 12, 0, 34]},
        {
            "voltage.l1": 230.12,
            "current.l1": 4.8,
            "active_power": -900.0,
            "imported_energy": 120.0,
            "exported_energy": 340.0,
        },
    ),
    (
        "floats",
        "ddm18sd",
        {0: [0x4366, 0x8000], 0x12: [0xC49C, 0x4000], 0x0100: [0x449A, 0x5000]},
        {"voltage.l1": 230.5, "active_power": -1250.0, "imported_energy": 1_234_500.0},
    ),
    (
        "import and export have a register each",
        "dzg-dvh4013",
        {0: [0, 0, 0, 12_500, 0, 23_012], 0x0A: [0, 4800], 0x4000: [1, 0], 0x4100: [0, 7]},
        {
            "active_power": -1250.0,
            "voltage.l1": 230.12,
            "current.l1": 4.8,
            "imported_energy": 65_536.0,
            "exported_energy": 7.0,
        },
    ),
    (
        "hundredths of a watt",
        "mpm3pm",
        {2: [0, 12, 0, 34, 0, 0, 0, 2305], 0x26: [0xFFFE, 0x7960], 0x2C: [0, 5001]},  # -1000 W
        {
            "imported_energy": 120.0,
            "exported_energy": 340.0,
            "voltage.l1": 230.5,
            "active_power": -1000.0,
            "frequency": 50.01,
        },
    ),
    (
        "tens of watts",
        "saia-ale3",
        {28: [0, 12], 32: [0, 34], 36: [231, 48, 0x10000 - 111], 51: [0x10000 - 125]},
        {
            "imported_energy": 120.0,
            "exported_energy": 340.0,
            "voltage.l1": 231.0,
            "current.l1": 4.8,
            "active_power.l1": -1110.0,
            "active_power": -1250.0,
        },
    ),
    (
        "the low word stands first",
        "solaredge-se-mtr-3y",
        {0x03EA: [0x5000, 0x449A], 0x03F0: [0x4000, 0xC49C], 0x03FA: [0x8000, 0x4366]},
        {"imported_energy": 1_234_500.0, "active_power": -1250.0, "voltage.l1": 230.5},
    ),
    (
        "it feeds in",
        "acrel-adw300",
        {20: [2305], 26: [480], 30: [0xFFFF, 0x10000 - 400] * 3, 36: [0xFFFF, 0x10000 - 1200], 62: [0, 12, 0, 34]},
        {
            "voltage.l1": 230.5,
            "current.l1": 4.8,
            "active_power.l3": -400.0,
            "active_power": -1200.0,
            "imported_energy": 120.0,
            "exported_energy": 340.0,
        },
    ),
    (
        "the low word stands first",
        "camille-bauer-aplus",
        {101: [0x8000, 0x4366], 117: [0, 0x4180], 133: [0x4000, 0xC49C]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power": -1250.0},
    ),
    (
        "the low word stands first",
        "phoenix-eem",
        {0x8006: [0x8000, 0x4366], 0x800E: [0, 0x4180], 0x8016: [0x4000, 0xC49C], 0x8100: [0x2400, 0x4974]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power": -1250.0, "imported_energy": 1_000_000.0},
    ),
    (
        "floats",
        "pqplus-umd96",
        {0x1100: [0x4366, 0x8000], 0x1200: [0x4180, 0], 0x1314: [0xC49C, 0x4000], 0x1320: [0x449C, 0x4000]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power": -1250.0, "active_power.l1": 1250.0},
    ),
    (
        "64 bits of milliwatts",
        "artemes-am2",
        {0: [3, 0x82DA], 0x0E: [0, 4800], 0x24: [0xFFFF, 0xFFFF, 0xFFF0, 0xBDC0], 0x72: [0, 50_010]}  # -1 kW
        | {0x0418: [0, 0, 1, 0, 0, 0, 0, 70]},
        {
            "voltage.l1": 230.106,
            "current.l1": 4.8,
            "active_power": -1000.0,
            "frequency": 50.01,
            "exported_energy": 7.0,
            "imported_energy": 6553.6,
        },
    ),
    (
        "tens of watts",
        "hager-ecr380d",
        {
            0xB000: [23_012],
            0xB006: [5001],
            0xB009: [0, 4800],
            0xB011: [0xFFFF, 0x10000 - 125],
            0xB060: [0, 12, 0, 0, 0, 34],
        },
        {
            "voltage.l1": 230.12,
            "frequency": 50.01,
            "current.l1": 4.8,
            "active_power": -1250.0,
            "imported_energy": 12_000.0,
            "exported_energy": 34_000.0,
        },
    ),
    (
        "floats",
        "siemens-sicam-7kg966",
        {200: [0x4366, 0x8000], 208: [0x4180, 0], 232: [0xC49C, 0x4000]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power": -1250.0},
    ),
    (
        "floats",
        "janitza-umg104",
        {1317: [0x4366, 0x8000], 1325: [0x4180, 0], 1369: [0xC49C, 0x4000], 9863: [0x4974, 0x2400]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power": -1250.0, "exported_energy": 1_000_000.0},
    ),
    (
        "floats",
        "janitza-umg511",
        {3845: [0x4366, 0x8000], 3853: [0x4180, 0], 3925: [0xC49C, 0x4000], 19068: [0x4974, 0x2400]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power": -1250.0, "imported_energy": 1_000_000.0},
    ),
    (
        "800 for a kWh",
        "mypv-wifi-meter",
        {1: [480, 0, 1100], 32: [0xFFFF, 0x10000 - 1250, 0, 8000]},
        {"current.l1": 4.8, "active_power.l1": 1100.0, "active_power": -1250.0, "imported_energy": 10_000.0},
    ),
    (
        "power per phase only",
        "algodue-uem",
        {0x1000: [0x4366, 0x8000], 0x100E: [0x4180, 0], 0x1020: [0xC49C, 0x4000, 0, 0, 0x449C, 0x4000]},
        {"voltage.l1": 230.5, "current.l1": 16.0, "active_power.l1": -1250.0, "active_power": 0.0},
    ),
    (
        "whole kWh",
        "socomec-diris-b30",
        {0x480C: [0, 23_012], 0x481A: [0, 4800], 0x482C: [0xFFFF, 0x10000 - 1250], 0x4D83: [0, 12, 0, 0, 34]},
        {
            "voltage.l1": 230.12,
            "current.l1": 4.8,
            "active_power": -1250.0,
            "imported_energy": 12_000.0,
            "exported_energy": 34_000.0,
        },
    ),
    (
        "whole kWh, tens of watts",
        "socomec-diris-a10",
        {
            0xC558: [0, 23_012],
            0xC55E: [0, 5001, 0, 4800],
            0xC568: [0xFFFF, 0x10000 - 125],
            0xC65C: [0, 12],
            0xC662: [0, 34],
        },
        {
            "voltage.l1": 230.12,
            "frequency": 50.01,
            "current.l1": 4.8,
            "active_power": -1250.0,
            "imported_energy": 12_000.0,
            "exported_energy": 34_000.0,
        },
    ),
    (
        "the high word stands first, unlike on an X1",
        "anker-smart-meter-gen2",
        {10632: [2330], 10638: [0, 100, 0, 50, 0, 16], 10644: [0, 166]},
        {"voltage.l1": 233.0, "active_power.l1": 100.0, "active_power": 166.0},
    ),
    (
        "exports while it charges",
        "solax-hybrid-g3",
        {10: [1200, 800], 22: [650, 0, 23], 28: [71, 12, 0], 70: [300, 0, 7, 1], 148: [5, 0]},
        {
            "solar.active_power": 2000.0,
            "storage.active_power": 650.0,
            "storage.temperature": 23.0,
            "storage.soc": 71.0,
            "storage.discharged_energy": 1200.0,
            "grid.active_power": -300.0,
            "grid.exported_energy": 655_430.0,
            "solar.produced_energy": 500.0,
        },
    ),
    (
        "an H3-Pro-1… with manager firmware 1.21 counts tenths of a kWh",
        "foxess-h3-smart",
        {
            30000: [0x4833, 0x2D50, 0x726F, 0x2D31],
            36003: [0x0121],
            37612: [50],
            38816: [0, 10_000] * 3,
            39237: [0, 700],
            39617: [0, 12],
        },
        {
            "storage.soc": 50.0,
            "grid.active_power": -3000.0,
            "storage.active_power": -700.0,
            "grid.imported_energy": 1200.0,
        },
    ),
    (
        "firmware that counts the battery's energy elsewhere",  # the capture storage_givenergy_hv-gen3.json
        "givenergy-hybrid",
        {59: [100], 105: [4200, 4500], 180: [0, 0]},
        {"storage.charged_energy": 450_000.0, "storage.discharged_energy": 420_000.0},
    ),
    (
        "a counter of 0 in both places is none",
        "givenergy-hybrid",
        {59: [100], 180: [0, 0]},
        {"storage.charged_energy": Quality.MISSING, "storage.discharged_energy": Quality.MISSING},
    ),
    (
        "its phase currents have no sign, its panels may draw a little",
        "huawei-emma",
        {30354: [0xFFFF, 0x10000 - 5], 31651: [0, 125, 0xFFFF, 0x10000 - 125]},
        {"solar.active_power": -5.0, "grid.current.l1": 12.5, "grid.current.l2": 12.5},
    ),
    (
        "hundredths of a hertz on some dongles; the inverter draws a little at night",
        "sungrow-sg",
        {5016: [9], 5030: [0x10000 - 5, 0xFFFF], 5035: [5001], 5084: [100, 0, 0x10000 - 300, 0xFFFF, 50, 0]},
        {"solar.frequency": 50.01, "solar.active_power": -5.0, "grid.active_power.l2": -300.0},
    ),
    (
        "the meter's words stay what they were when the sun is gone",
        "sungrow-sg",
        {5016: [0, 0], 5035: [500], 5084: [100, 0, 0x10000 - 300, 0xFFFF, 50, 0]},
        {"grid.active_power.l2": MISSING},
    ),
    ("hundredths of a hertz on some dongles", "sungrow-sh", {5035: [5001]}, {"grid.frequency": 50.01}),
    (
        "hundredths of a hertz on some dongles",
        "sungrow-sh-magnitude",
        {5035: [5001]},
        {"grid.frequency": 50.01},
    ),
    (
        "the counter's low word stands first; tens of Wh",
        "varta-element",
        {1069: [3, 1, 650]},
        {"storage.charged_energy": 65_539.0, "storage.energy_capacity": 6500.0},
    ),
    ("64 bits", "sma-data-manager", {31397: [0, 0, 1, 0]}, {"storage.charged_energy": 65_536.0}),
    (
        "capacity and temperature of the battery",
        "kostal-plenticore",
        {214: [0, 0x41BC], 1068: [0x4000, 0x461C]},
        {"storage.temperature": 23.5, "storage.energy_capacity": 10_000.0},
    ),
    (
        "health and temperature stand beside the state of charge",
        "sofar-hyd-g3",
        {0x048D: [2312], 0x0607: [23, 64, 99]},
        {"grid.voltage.l1": 231.2, "storage.temperature": 23.0, "storage.soc": 64.0, "storage.soh": 99.0},
    ),
    (
        "power per phase in tenths of a watt",
        "garo-gle",
        {144: [3657], 156: [36_570]},
        {"active_power": 3657.0, "active_power.l1": 3657.0},
    ),
    ("health", "foxess-h3-smart", {37612: [64], 37624: [98]}, {"storage.soc": 64.0, "storage.soh": 98.0}),
    (
        "import and export have a register each; the low word stands first",
        "luxpower-hybrid",
        {7: [1800, 900, 0], 12: [2457], 15: [4998], 26: [700, 0], 40: [7, 1, 3, 0], 58: [5, 0]},
        {
            "solar.active_power": 2700.0,
            "solar.produced_energy": 6_554_600.0,
            "grid.active_power": -700.0,
            "grid.voltage.l1": 245.7,
            "grid.frequency": 49.98,
            "grid.imported_energy": 500.0,
        },
    ),
    (
        "imports while it discharges",
        "growatt-vpp",
        {31012: [0, 12_000], 31016: [0, 8000], 31105: [5001], 31112: [0, 3500], 31200: [0xFFFF, 0x10000 - 9000]}
        | {31217: [44, 99]},
        {
            "solar.active_power": 2000.0,
            "grid.frequency": 50.01,
            "grid.active_power": 350.0,
            "storage.active_power": -900.0,
            "storage.soc": 44.0,
            "storage.soh": 99.0,
        },
    ),
    (
        "tens of watts; kWh and MWh have a word each",
        "stiebel-eltron-lwz",
        {15: [487], 3022: [123, 4, 0, 45, 1], 3679: [185]},
        {"active_power": 1850.0, "temperature": 48.7, "consumed_energy": 5_168_000.0},
    ),
    (
        "one register has the charge and the health of the battery, two its power",
        "luxpower-hybrid",
        {5: [98 << 8 | 55], 10: [1500], 11: [0], 50: [1234, 0], 52: [1, 1]},
        {
            "storage.soc": 55.0,
            "storage.soh": 98.0,
            "storage.active_power": 1500.0,
            "storage.charged_energy": 123_400.0,
            "storage.discharged_energy": 6_553_700.0,
        },
    ),
    (
        "a battery that discharges",
        "luxpower-hybrid",
        {10: [0], 11: [700]},
        {"storage.active_power": -700.0},
    ),
    (
        "four battery clusters and the third PV input",
        "growatt-vpp-3pv",
        {31012: [0, 10_000], 31016: [0, 20_000], 31020: [0, 5000], 31200: [0, 1000], 31217: [40], 31300: [0, 3000]}
        | {31317: [60], 31400: [0xFFFF, 0x10000 - 500], 31304: [0, 70], 31204: [0, 30]},
        {
            "solar.active_power": 3500.0,
            "storage.active_power": 350.0,
            "storage.soc": 50.0,
            "storage.charged_energy": 10_000.0,
        },
    ),
    (
        "the grid of older firmware imports positive",
        "foxess-kh-pre133",
        {31002: [900], 31005: [100], 31041: [10], 31044: [1], 31022: [0x10000 - 400], 31049: [0, 250], 31024: [71]},
        {
            "solar.active_power": 1011.0,
            "storage.active_power": 400.0,
            "storage.soc": 71.0,
            "grid.active_power": 250.0,
        },
    ),
    (
        "the third MPPT and the second battery",
        "solax-hybrid-g5",
        {10: [1000, 2000], 292: [300], 22: [500], 297: [0x10000 - 200], 28: [60], 301: [40], 70: [100, 0]},
        {
            "solar.active_power": 3300.0,
            "storage.active_power": 300.0,
            "storage.soc": 50.0,
            "grid.active_power": -100.0,
        },
    ),
    (
        "panels up to the first empty block",
        "hoymiles-dtu",
        {0x1003: [0x7701, 0, 0, 0, 0, 3211, 0, 1, 2], 0x102B: [0x7702, 0, 0, 0, 0, 9, 0, 0, 10]},
        {"active_power": 322.0, "produced_energy": 65_548.0},
    ),
    (
        "power by 230 V, and a counter in 1/256 kWh",
        "smartevse",
        {0x0105: [16 * 256, 0, 256], 0x0109: [231 * 256], 0x010D: [512, 0]},
        {"active_power": 3910.0, "voltage.l1": 231.0, "consumed_energy": 2000.0},
    ),
    (
        "L3, L2, L1, of which one is disabled and one noise",
        "abl-emh",
        {0x30: [1000, 1, 160]},
        {"active_power": 3680.0, "active_power.l3": 0.0, "active_power.l2": 0.0},
    ),
    (
        "power by 230 V",
        "hesotec-esat",
        {0x4001: [231, 230, 229, 0, 16_000, 0, 10_000, 0, 0]},
        {"active_power": 5980.0, "active_power.l2": 2300.0, "voltage.l3": 229.0},
    ),
    (
        "one phase",
        "socomec-countis-e14",
        {0xC558: [0, 23_050], 0xC560: [0, 4340], 0xC568: [0xFFFF, 0xFF9C], 0xC702: [0, 12_345], 0xC708: [0xFFFF] * 2},
        {"voltage.l1": 230.5, "current.l1": 4.34, "active_power": -1000.0, "imported_energy": 123_450.0}
        | {"exported_energy": MISSING},
    ),
    (
        "power by 230 V",
        "innogy-ebox",
        {1006: [0x41A0, 0], 307: [0x4120, 0]},
        {"active_power": 4600.0, "active_power.l2": 0.0, "consumed_energy": 10_000.0},
    ),
    ("consumption less production", "powerdog-grid", {40026: [0, 700], 40002: [0, 1900]}, {"active_power": -1200.0}),
    ("one phase", "saj-r5", {0x0116: [2307], 0x011C: [0]}, {"voltage.l1": 230.7, "voltage.l2": MISSING}),
    ("export of the meter", "kostal-plenticore", {1064: [0x2400, 0x4974]}, {"grid.exported_energy": 1_000_000.0}),
    (
        "phases of the meter",
        "goodwe-et",
        {36052: [2301, 2302, 0xFFFF, 51, 0xFFFF, 0]},
        {
            "grid.voltage.l1": 230.1,
            "grid.voltage.l2": 230.2,
            "grid.voltage.l3": MISSING,
            "grid.current.l1": 5.1,
            "grid.current.l3": 0.0,
        },
    ),
    (
        "voltages at the inverter, where firmware has none of the meter",
        "goodwe-et",
        {35121: [2311], 35126: [2312], 35131: [2313]},
        {"grid.voltage.l1": 231.1, "grid.voltage.l2": 231.2, "grid.voltage.l3": 231.3},
    ),
    (
        "phases of the meter that is the grid, the last of seven",
        "e3dc-s10",
        {40104: [4, 1, 2, 3], 40128: [1, 500, 0xFFFF, 20], 40073: [519, 0]},
        {
            "grid.active_power": 519.0,
            "grid.active_power.l1": 500.0,
            "grid.active_power.l2": -1.0,
            "grid.active_power.l3": 20.0,
        },
    ),
    (
        "phases of the meter that is the grid, the first of seven",
        "e3dc-s10",
        {40104: [1, 7, 8, 9], 40128: [0, 500, 500, 500]},
        {"grid.active_power.l1": 7.0, "grid.active_power.l2": 8.0, "grid.active_power.l3": 9.0},
    ),
    (
        "voltages to neutral, frequency in 0.1 Hz",
        "sungrow-ihomemanager",
        {4356: [2301, 0, 2302, 0, 2303], 8554: [3990, 3990, 3990, 500]},
        {
            "grid.voltage.l1": 230.1,
            "grid.voltage.l2": 230.2,
            "grid.voltage.l3": 230.3,
            "grid.frequency": 50.0,
        },
    ),
    (
        "health of a second generation, temperature below zero",
        "foxess-h1",
        {31023: [0xFFFF - 4], 37624: [97]},
        {"storage.temperature": -0.5, "storage.soh": 97.0},
    ),
    ("health of two batteries", "foxess-evo", {37624: [98], 38322: [96]}, {"storage.soh": 97.0}),
    ("temperature in 0.1 °C", "foxess-h1-rs485", {11038: [235]}, {"storage.temperature": 23.5}),
    (
        "health, temperature",
        "foxess-kh",
        {31023: [235], 37624: [97]},
        {"storage.temperature": 23.5, "storage.soh": 97.0},
    ),
    ("temperature in 0.1 °C", "foxess-kh-pre133", {31023: [235]}, {"storage.temperature": 23.5}),
    (
        "health, temperature",
        "foxess-h3",
        {31037: [235], 31090: [97]},
        {"storage.temperature": 23.5, "storage.soh": 97.0},
    ),
    (
        "two batteries",
        "foxess-h3-smart",
        {37611: [235, 60], 37624: [98], 38310: [40], 38322: [96]},
        {"storage.temperature": 23.5, "storage.soc": 50.0, "storage.soh": 97.0},
    ),
    ("temperature in 1 °C", "sofar-hyd-es", {0x0211: [24]}, {"storage.temperature": 24.0}),
    ("temperature in 0.1 °C", "growatt-sph", {1040: [0xFFFF - 14]}, {"storage.temperature": -1.5}),
    ("health in 0.1 %", "alphaess-smile", {281: [101, 0, 985]}, {"storage.soh": 98.5}),
    (
        "health, capacity in Wh",
        "solax-hybrid",
        {38: [11_600, 0], 191: [97]},
        {"storage.soh": 97.0, "storage.energy_capacity": 11_600.0},
    ),
    (
        "health, capacity of two batteries",
        "solax-hybrid-g5",
        {38: [4464, 1], 191: [97], 779: [10_000, 0], 785: [99]},
        {"storage.soh": 98.0, "storage.energy_capacity": 80_000.0},
    ),
    ("temperature of the first unit", "huawei-sun2000", {37022: [251]}, {"storage.temperature": 25.1}),
    (
        "low word first; feed-in is counted below zero",
        "ziehl-efr4001ip",
        {0xB0: [2301, 0], 0xB6: [6400, 0], 0xC2: [0xFFFF - 1499, 0xFFFF], 0xDA: [5001, 0]}
        | {0x15C: [0x10000 - 2500, 0xFFFF], 0x164: [0, 1]},
        {
            "voltage.l1": 230.1,
            "current.l1": 6.4,
            "active_power": -1500.0,
            "frequency": 50.01,
            "exported_energy": 2500.0,
            "imported_energy": 65_536.0,
        },
    ),
    (
        "the meter counts export positive",
        "sermatec-smt",
        {0x4017: [1200], 0x4002: [900], 0x4005: [800]},
        {"grid.active_power": -1200.0, "solar.active_power": 1700.0},
    ),
    (
        "the current shows the direction of the battery",
        "anenji-hybrid",
        {204: [350], 217: [600], 223: [1500], 229: [80], 232: [0x10000 - 120]},
        {
            "grid.active_power": 350.0,
            "storage.active_power": -600.0,
            "storage.soc": 80.0,
            "solar.active_power": 1500.0,
        },
    ),
    (
        "a battery whose power has the sign of the discharge",
        "anenji-hybrid",
        {217: [0x10000 - 600], 232: [120]},
        {"storage.active_power": 600.0},
    ),
    ("power without current has no direction", "anenji-hybrid", {217: [600]}, {"storage.active_power": MISSING}),
    (
        "export and discharge are positive, high word first",
        "kstar-hybrid",
        {3024: [1000, 500], 3041: [1, 0], 3065: [700, 655], 3100: [400], 3104: [300], 3108: [200], 3114: [0, 12]},
        {
            "solar.active_power": 1500.0,
            "solar.produced_energy": 6_553_600.0,
            "storage.active_power": -700.0,
            "storage.soc": 65.5,
            "grid.active_power": -900.0,
            "grid.imported_energy": 1200.0,
        },
    ),
    (
        "discharge is positive, low word first",
        "swatten-sih",
        {4067: [2100, 0], 10003: [12, 1], 10022: [0x10000 - 800, 55]},
        {
            "solar.active_power": 2100.0,
            "solar.produced_energy": 6_554_800.0,
            "storage.active_power": 800.0,
            "storage.soc": 55.0,
        },
    ),
    (
        "a register for discharge and one for charge",
        "hinen-hybrid",
        {102: [0, 0, 0, 9000], 128: [44], 339: [0, 21_000]},
        {"storage.active_power": 900.0, "storage.soc": 44.0, "solar.active_power": 2100.0},
    ),
    ("discharge", "hinen-hybrid", {102: [0, 9000]}, {"storage.active_power": -900.0}),
    (
        "high word first, the total in kWh and the day in 0.1 kWh",
        "maxge-string",
        {264: [2301], 268: [0, 3100], 273: [0, 123], 275: [0, 4567]},
        {
            "voltage.l1": 230.1,
            "active_power": 3100.0,
            "today_produced_energy": 12_300.0,
            "produced_energy": 4_567_000.0,
        },
    ),
    (
        "two inputs of panels",
        "srne-asf",
        {0x109: [900], 0x111: [800], 0xF038: [0, 1]},
        {"active_power": 1700.0, "produced_energy": 6_553_600.0},
    ),
    (
        "four inputs of panels, counters in Wh with the low word first",
        "megarevo-hybrid",
        {0x3132: [1000], 0x3135: [800], 0x3138: [60], 0x313B: [5], 0x3145: [655], 0x314A: [700], 0x3165: [5, 1]},
        {
            "solar.active_power": 1865.0,
            "solar.produced_energy": 65_541.0,
            "storage.active_power": -700.0,
            "storage.soc": 65.5,
        },
    ),
    (
        "power in W, energy in Wh, voltage in 0.01 V",
        "openwb",
        {10100: [0, 11_000], 10102: [1, 5], 10104: [23_010], 10130: [3700]},
        {"active_power": 11_000.0, "consumed_energy": 65_541.0, "voltage.l1": 230.1, "active_power.l1": 3700.0},
    ),
    (
        "the second charge point",
        "openwb:2",
        {10100: [0, 11_000], 10200: [0, 7400]},
        {"active_power": 7400.0},
    ),
    (
        "three inputs of panels shift the registers",
        "sofar-string-3mppt",
        {0x0F: [1250], 0x11: [5001, 2301], 0x18: [0, 4567], 0x1C: [1230]},
        {
            "active_power": 12_500.0,
            "frequency": 50.01,
            "voltage.l1": 230.1,
            "produced_energy": 4_567_000.0,
            "today_produced_energy": 12_300.0,
        },
    ),
    (
        "two inputs of panels, elsewhere than on a Megarevo",
        "renon-ifl",
        {0x227F: [1000], 0x2281: [800], 0x3145: [655], 0x314A: [0x10000 - 700], 0x317F: [5, 1]},
        {
            "solar.active_power": 1800.0,
            "storage.active_power": 700.0,
            "storage.soc": 65.5,
            "storage.charged_energy": 65_541.0,
        },
    ),
]


@for_each(("why", "driver", "words", "expected"), VECTORS, lambda row: f"{row[1]}: {row[0]}")
async def test_words_mean_what_the_sources_say(why: str, driver: str, words: Words, expected: Expected) -> None:
    found = await read(driver, words)
    assert {key: found[key] for key in expected} == expected
