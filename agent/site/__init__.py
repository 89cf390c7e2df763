"""Builds connections, devices and nodes from the configuration, and binds devices to drivers."""

from agent.site.builder import Site, build, only

__all__ = [
    "Site",
    "build",
    "only",
]
