"""Builds connections, devices and nodes from the configuration, and binds devices to drivers.

No other package combines the configuration with the driver catalogue.
"""

from agent.site.builder import Site, build, only

__all__ = [
    "Site",
    "build",
    "only",
]
