"""The configuration: one TOML file, every key overridable from the environment, anything unknown refused.

`load` returns a frozen `Config` or raises `ConfigError`, one line per mistake: file (or variable), key, rule, value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, StrictInt, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.config import credentials, file_checks
from agent.config.devices import ConnectionConfig, DeviceConfig
from agent.config.environment import overlay
from agent.config.errors import ConfigError, did_you_mean, name_devices
from agent.config.push import PushConfig
from agent.config.status import StatusConfig
from agent.config.types import Identifier, Seconds, Section, Watts, Zone
from agent.config.validation_messages import explain, origin_of
from drivers import toml_file
from drivers.errors import unreadable

__all__ = [
    "Config",
    "ConfigError",
    "ConnectionConfig",
    "DeviceConfig",
    "DriversConfig",
    "LogConfig",
    "OutboxConfig",
    "PollConfig",
    "PushConfig",
    "SiteConfig",
    "StatusConfig",
    "load",
    "load_status",
    "parse",
]


class SiteConfig(Section):
    """[site]: which site this is, and where its day begins."""

    node_id: Identifier
    timezone: Zone | None = None
    import_limit_W: Watts | None = None
    export_limit_W: Watts | None = None


class OutboxConfig(Section):
    """[outbox]: where messages wait, how many, how long, and how fast they follow."""

    path: Path = Path("/var/lib/telemetry-agent/outbox.sqlite3")
    max_age_s: Seconds = 604_800.0
    max_size_mb: Annotated[StrictInt, Field(ge=1)] = 64
    backlog_rate_per_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None


class PollConfig(Section):
    """[poll]: how often devices are asked, and what becomes of the answers."""

    interval_s: Seconds = 10.0
    statistic: Literal["last", "mean"] = "last"
    stale_after_s: Seconds = 30.0


class DriversConfig(Section):
    """[drivers]: where a site has profiles of its own."""

    profile_dirs: tuple[Path, ...] = (Path("/etc/telemetry-agent/profiles"),)


class LogConfig(Section):
    """[log]: what is said, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class _SiteFile(PydanticBaseSettingsSource):
    """The TOML file overlaid with the environment."""

    def __init__(self, settings_cls: type[BaseSettings], table: dict[str, Any], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._table = table
        self._environ = environ

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._table.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return overlay(self._table, self._environ, self.settings_cls)


class Config(BaseSettings):
    """Everything the operator says. Build it with `load`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", case_sensitive=True)

    site: SiteConfig
    push: PushConfig
    outbox: OutboxConfig = OutboxConfig()
    poll: PollConfig = PollConfig()
    drivers: DriversConfig = DriversConfig()
    status: StatusConfig | None = None
    log: LogConfig = LogConfig()
    connection: dict[str, ConnectionConfig] = {}
    device: tuple[DeviceConfig, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        arguments = init_settings()
        return (_SiteFile(settings_cls, arguments["table"], arguments["environ"]),)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for index, device in enumerate(self.device):
            if device.connection is not None and device.connection not in self.connection:
                raise ValueError(
                    f"device[{index}].connection: no such [connection.{device.connection}]"
                    f"{did_you_mean(device.connection, self.connection)}"
                )
        first: dict[str, int] = {}
        for index, node_id in self._enabled_nodes():
            if node_id in first:
                raise ValueError(
                    f"device[{index}].node_id: must be unique; device[{first[node_id]}] has {node_id!r} already"
                )
            first[node_id] = index
        if not any(device.enabled for device in self.device):
            raise ValueError("device: needs at least one enabled [[device]]")
        if self.push.retry.initial_s > self.push.retry.max_s:
            raise ValueError("push.retry.initial_s: must not be larger than push.retry.max_s")
        return self

    @property
    def holds_secrets(self) -> bool:
        """Whether a token or a password stands in the file itself."""
        proxy = urlsplit(self.push.proxy_url or "")
        listener = self.status.token if self.status is not None else None
        return bool(self.push.token or listener or proxy.password)

    def _enabled_nodes(self) -> Iterator[tuple[int, str]]:
        """Index of the device and node id."""
        for index, device in enumerate(self.device):
            if device.enabled:
                yield from ((index, node_id) for node_id in device.node_ids.values())


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check `path` with the overrides of `environ`. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    return parse(_read(path), environ, str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return toml_file.read(path)
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; start from config.example.toml"]) from None
    except (OSError, UnicodeDecodeError) as error:
        hint = "; it takes root, or the user of the service" if isinstance(error, PermissionError) else ""
        raise ConfigError([f"{path}: cannot be read ({unreadable(error)}){hint}"]) from None
    except toml_file.TomlError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def parse(table: dict[str, Any], environ: Mapping[str, str], origin: str) -> Config:
    """Check a parsed TOML table; `origin` names it in messages. Raises ConfigError."""
    try:
        config = Config(table=table, environ=environ)  # type: ignore[call-arg]  # taken by settings_customise_sources
    except ValidationError as error:
        raise ConfigError(name_devices(explain(error, environ, origin, Config), _names(table))) from None
    if unusable := credentials.mistake(config.push, environ):
        raise ConfigError([f"{origin_of(unusable, environ, origin)}: {unusable}"])
    if mistakes := [f"{origin_of(mistake, environ, origin)}: {mistake}" for mistake in file_checks.mistakes(config)]:
        raise ConfigError(mistakes)
    return config


def _names(table: dict[str, Any]) -> list[str]:
    """What the devices of a file are called, as far as it is right so far."""
    devices = table.get("device")
    if not isinstance(devices, list):
        return []
    tables = [device if isinstance(device, dict) else {} for device in devices]
    nodes = [each.get("nodes") or {"": each.get("node_id") or ""} for each in tables]
    return [" + ".join(map(str, names.values())) if isinstance(names, dict) else "" for names in nodes]


class _Part(BaseModel):
    """Of the whole file what is looked at without the rest."""

    status: StatusConfig | None = None
    drivers: DriversConfig = DriversConfig()


def load_status(path: Path, environ: Mapping[str, str] | None = None) -> StatusConfig | None:
    """[status] alone, for people who may not read the token of the pushes; None without such a table.

    Raises ConfigError.
    """
    return _part(path, environ, "status").status


def load_profile_dirs(path: Path, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where a site keeps profiles of its own, whatever else may be wrong with its file. Raises ConfigError."""
    return _part(path, environ, "drivers").drivers.profile_dirs


def _part(path: Path, environ: Mapping[str, str] | None, key: str) -> _Part:
    environ = os.environ if environ is None else environ
    table = overlay(_read(path), environ, Config)
    try:
        return _Part.model_validate({key: table[key]} if key in table else {})
    except ValidationError as error:
        raise ConfigError(list(explain(error, environ, str(path), Config))) from None
