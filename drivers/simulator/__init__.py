"""A simulated site on real Modbus sockets (physics, devices, register images, server), and a laboratory (`lab`).

The commands `demo` and `simulate`, the tests and a benchmark use this package. The daemon does not import it.
"""

from drivers.simulator.lab import LabDevice, lab_devices
from drivers.simulator.modbus_server import ModbusServer
from drivers.simulator.physics import SimulatedPlant
from drivers.simulator.register_image import dump_unit
from drivers.simulator.site_server import SimulatedDevice, SimulatedSite

__all__ = [
    "LabDevice",
    "ModbusServer",
    "SimulatedDevice",
    "SimulatedPlant",
    "SimulatedSite",
    "dump_unit",
    "lab_devices",
]
