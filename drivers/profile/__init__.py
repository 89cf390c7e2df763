"""A TOML file of a device family: loading, checking, and the driver that reads its registers.

Add a key of the profile format here, together with docs/adding-a-device.md.
"""

from drivers.profile.loader import BUILT_IN, Profile, load, profile_files
from drivers.profile.mark import Mark
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver

__all__ = [
    "BUILT_IN",
    "Mark",
    "Point",
    "Profile",
    "RegisterDriver",
    "load",
    "profile_files",
]
