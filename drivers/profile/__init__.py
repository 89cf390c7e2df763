"""Profiles: loads and checks the TOML file of a device family, and reads the registers of a device.

docs/adding-a-device.md describes all keys of a profile. Add a new key there, too.
"""

from drivers.profile.loader import BUILT_IN, Profile, load, profile_files
from drivers.profile.mark import Mark
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver
from drivers.profile.variant import RATED_TIMES, bounded

__all__ = [
    "BUILT_IN",
    "RATED_TIMES",
    "Mark",
    "Point",
    "Profile",
    "RegisterDriver",
    "bounded",
    "load",
    "profile_files",
]
