"""The configuration: one TOML file and the environment, validated into frozen `*Config` models.

Add a key in the model of its table, then in config.example.toml and the docs.
A `ConfigError` has one line per mistake. The line names the file or variable, the key, the rule and the value.
"""

from agent.config.devices import ConnectionConfig, DeviceConfig
from agent.config.errors import ConfigError, did_you_mean, name_devices, no_such_driver
from agent.config.loader import load, load_profile_dirs, load_status, parse
from agent.config.model import Config, DriversConfig, LogConfig, OutboxConfig
from agent.config.push import DEFAULT_NAME, PushConfig
from agent.config.push_token import credential_of, token_of, token_path, usable
from agent.config.status import StatusConfig, token_mistake

__all__ = [
    "DEFAULT_NAME",
    "Config",
    "ConfigError",
    "ConnectionConfig",
    "DeviceConfig",
    "DriversConfig",
    "LogConfig",
    "OutboxConfig",
    "PushConfig",
    "StatusConfig",
    "credential_of",
    "did_you_mean",
    "load",
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
