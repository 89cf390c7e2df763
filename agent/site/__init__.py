"""From the configuration to connections, devices and nodes that are bound to drivers.

This is the only place where a configuration meets the driver catalogue.
"""

from agent.site.builder import Site, build, only

__all__ = [
    "Site",
    "build",
    "only",
]
