"""SunSpec devices: model discovery, mapping of points to quantities, drivers."""

from drivers.sunspec.discovery import BASES, MARKER, ModelDiscovery
from drivers.sunspec.driver import SunSpec, SunSpecMeter
from drivers.sunspec.layout import meters
from drivers.sunspec.mapping import KNOWN
from drivers.sunspec.models import HEADER

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
