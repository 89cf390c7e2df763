"""SunSpec devices: model discovery, mapping of points to quantities, drivers."""

from drivers.sunspec.discovery import ModelDiscovery
from drivers.sunspec.driver import SunSpec, SunSpecMeter
from drivers.sunspec.layout import meters
from drivers.sunspec.mapping import KNOWN
from drivers.sunspec.models import BASES, HEADER, MARKER

__all__ = [
    "BASES",
    "HEADER",
    "KNOWN",
    "MARKER",
    "ModelDiscovery",
    "SunSpec",
    "SunSpecMeter",
    "meters",
]
