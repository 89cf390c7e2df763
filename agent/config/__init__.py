"""The configuration: one TOML file and the environment, validated into frozen `*Config` models.

Add a key in the model of its table, then in config.example.toml. `make schema` then writes docs/configuration.md.
A `ConfigError` has one line per mistake. The line names the file or variable, the key, the rule, and the wrong value
unless the value may be a secret.

The models need pydantic. Once imported, pydantic would stay in the memory of the daemon. So `load_apart` reads the
configuration in a process of its own (docs/decisions/0010-configuration-apart.md), and this package imports the models
only when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agent.config.apart import Loading, load_apart
from agent.config.errors import ConfigError, did_you_mean, name_devices, no_such_driver
from agent.config.push_token import USABLE, credential_of, token_of, token_path, usable
from agent.config.tables import DEFAULT_LISTEN, DEFAULT_NAME, OWNER_SUFFIX, STALE_INTERVALS, token_mistake

if TYPE_CHECKING:
    from agent.config.devices import ConnectionConfig, DeviceConfig
    from agent.config.loader import load, load_profile_dirs, load_status, parse
    from agent.config.model import Config, DriversConfig, LogConfig, OutboxConfig
    from agent.config.push import PushConfig, RetryConfig
    from agent.config.status import StatusConfig
    from agent.config.types import is_time_zone

_MODULES = {
    "devices": ("ConnectionConfig", "DeviceConfig"),
    "loader": ("load", "load_profile_dirs", "load_status", "parse"),
    "model": ("Config", "DriversConfig", "LogConfig", "OutboxConfig"),
    "push": ("PushConfig", "RetryConfig"),
    "status": ("StatusConfig",),
    "types": ("is_time_zone",),
}
"""Module that imports pydantic → its names. `__getattr__` imports them at their first use."""

__all__ = [
    "DEFAULT_LISTEN",
    "DEFAULT_NAME",
    "OWNER_SUFFIX",
    "STALE_INTERVALS",
    "USABLE",
    "Config",
    "ConfigError",
    "ConnectionConfig",
    "DeviceConfig",
    "DriversConfig",
    "Loading",
    "LogConfig",
    "OutboxConfig",
    "PushConfig",
    "RetryConfig",
    "StatusConfig",
    "credential_of",
    "did_you_mean",
    "is_time_zone",
    "load",
    "load_apart",
    "load_profile_dirs",
    "load_status",
    "name_devices",
    "no_such_driver",
    "parse",
    "token_mistake",
    "token_of",
    "token_path",
    "usable",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"agent.config.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
