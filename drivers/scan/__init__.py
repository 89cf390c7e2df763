"""Finds and identifies devices on networks and serial lines.

The commands `init`, `scan`, `check` and `dump` use it. The daemon does not import it.
"""

from drivers.scan.identify import Identifier, Identity, Match
from drivers.scan.scanner import LINES, Scanner, ScanSettings
from drivers.scan.targets import TargetError, Targets, parse_numbers, parse_targets
from drivers.scan.unit_search import FoundUnit, SearchLocation

__all__ = [
    "LINES",
    "FoundUnit",
    "Identifier",
    "Identity",
    "Match",
    "ScanSettings",
    "Scanner",
    "SearchLocation",
    "TargetError",
    "Targets",
    "parse_numbers",
    "parse_targets",
]
