"""The daemon and its command line. This module has the version and the directories of the installed service."""

from pathlib import Path

__version__ = "0.1.0"

CONFIG_DIRECTORY = Path("/etc/telemetry-agent")
DEFAULT_CONFIG = CONFIG_DIRECTORY / "config.toml"
PROFILE_DIRECTORY = CONFIG_DIRECTORY / "profiles"
"""The default of `drivers.profile_dirs`."""
STATE_DIRECTORY = Path("/var/lib/telemetry-agent")
"""The directory of the queues and the energies of the service."""
