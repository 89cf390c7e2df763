"""Dumps: a dump is a file with the registers of one device."""

from drivers.dump.capture import Capture, Wanted, of_profiles, of_ranges, of_sunspec, parse_range, take
from drivers.dump.file import Dump, DumpError, expected_of, load, reading_name, to_json
from drivers.dump.redact import redact

__all__ = [
    "Capture",
    "Dump",
    "DumpError",
    "Wanted",
    "expected_of",
    "load",
    "of_profiles",
    "of_ranges",
    "of_sunspec",
    "parse_range",
    "reading_name",
    "redact",
    "take",
    "to_json",
]
