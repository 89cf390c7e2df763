"""Modbus on the wire: links, connections and frames.

A link sends only the function codes 1 to 4 (reads) and 43/14 (identification). It never writes.
"""

from drivers.modbus.framer import is_mbap
from drivers.modbus.link import Link
from drivers.modbus.resolver import Resolver
from drivers.modbus.settings import LinkSettings

__all__ = [
    "Link",
    "LinkSettings",
    "Resolver",
    "is_mbap",
]
