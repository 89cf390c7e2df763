"""A TOML file of a device family: loading, checking, and the driver that reads its registers.

Add a key of the profile format here, together with docs/adding-a-device.md.
"""

from drivers.profile.identify_mark import Identify
from drivers.profile.loader import BUILT_IN, Profile, load, profile_files
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver
from drivers.profile.sign_bit_driver import SignBitDriver

__all__ = [
    "BUILT_IN",
    "Identify",
    "Point",
    "Profile",
    "RegisterDriver",
    "SignBitDriver",
    "load",
    "profile_files",
]
