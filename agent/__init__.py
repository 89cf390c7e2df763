"""The daemon and its command line; its version, and the directories of the installed service."""

from pathlib import Path

__version__ = "0.1.0"

CONFIG_DIRECTORY = Path("/etc/telemetry-agent")
DEFAULT_CONFIG = CONFIG_DIRECTORY / "config.toml"
"""The configuration of the service."""
STATE_DIRECTORY = Path("/var/lib/telemetry-agent")
"""The queues and the energies of the service."""
