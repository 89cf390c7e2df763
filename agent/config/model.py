"""The whole configuration as one frozen model, and its smaller tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from agent import PROFILE_DIRECTORY, STATE_DIRECTORY
from agent.config import endpoints
from agent.config.devices import ConnectionConfig, DeviceConfig
from agent.config.environment import ONE_OR_SEVERAL, EnvironmentSource
from agent.config.errors import did_you_mean
from agent.config.push import PushConfig
from agent.config.status import StatusConfig
from agent.config.tables import ENERGIES, OWNER_SUFFIX, STALE_INTERVALS, ConfigTable, OutboxTable
from agent.config.types import MAX_SECONDS, MIN_SECONDS, FilePath, Identifier, Seconds, Section, Watts, Zone


class SiteConfig(Section):
    """[site]: the id of the site, its time zone and its limits at the grid."""

    node_id: Identifier
    """`siteNodeId` of the messages. The integrator gives it."""
    timezone: Zone | None = None
    """The time zone whose midnight starts the day of `today_*`, such as Europe/Brussels. Default: the system's."""
    import_limit_W: Watts | None = None
    """The import limit of the grid connection, sent in the group `grid`."""
    export_limit_W: Watts | None = None
    """The export limit of the grid connection, sent in the group `grid`."""


def _queue_file(path: Path) -> Path:
    if path.name == ENERGIES:
        raise ValueError(f"must not be {ENERGIES}, because the energies are in this file")
    if path.suffix == OWNER_SUFFIX:
        raise ValueError(f"must not end with {OWNER_SUFFIX}, because the agent has a file of its own with this name")
    return path


class OutboxConfig(Section, OutboxTable):
    """[outbox]: the file of the queue, its bounds, and the rate of the backlog."""

    path: Annotated[FilePath, AfterValidator(_queue_file)] = STATE_DIRECTORY / "outbox.sqlite3"
    """The file of the queue of the first endpoint. The endpoint keeps this file if the order of the endpoints changes
    later. The directory of the file also has the other queues and the energies."""
    max_age_s: Seconds = 604_800.0
    """Messages that are older than this are dropped."""
    max_size_mb: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 64
    """The largest size of each queue in MB. If a queue is full, its dead letters are dropped, then its oldest
    messages."""
    backlog_rate_per_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """A fixed rate of the backlog in messages per second. Default: the backlog takes 1.8 times as long as the outage,
    so that a returning fleet does not overload the endpoint. The backlog of an outage of more than two hours is sent
    faster."""


class PollConfig(Section):
    """[poll]: the poll interval, the statistic of a push interval, and the age at which values are stale."""

    interval_s: Seconds = 10.0
    """The time between two polls of a device without `poll_interval_s`. It is shortened until it divides the shortest
    `push.interval_s`. A `poll_interval_s` is shortened in the same way. But a `poll_interval_s` that is longer than
    the shortest `push.interval_s` is shortened to a multiple of this `push.interval_s`."""
    statistic: Literal["last", "mean"] = "last"
    """The power that is sent: the last value, or the time-weighted mean over the push interval."""
    stale_after_s: Seconds = STALE_INTERVALS * 10.0
    """A reading that is older than this is not used. Default: three times `interval_s`. For a device with
    `poll_interval_s`, the age is always three times its `poll_interval_s`."""

    @model_validator(mode="before")
    @classmethod
    def _three_polls(cls, table: Any) -> Any:
        interval = table.get("interval_s") if isinstance(table, dict) else None
        if (
            isinstance(interval, int | float)
            and not isinstance(interval, bool)
            and MIN_SECONDS <= interval <= MAX_SECONDS
            and "stale_after_s" not in table
        ):
            return {**table, "stale_after_s": min(STALE_INTERVALS * interval, MAX_SECONDS)}
        return table


class DriversConfig(Section):
    """[drivers]: where the site's own profiles are."""

    profile_dirs: tuple[FilePath, ...] = (PROFILE_DIRECTORY,)
    """The directories of the site's own profiles, which have the format of the built-in ones."""


class LogConfig(Section):
    """[log]: level and format of the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Events of this level and above are logged."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: journald priorities under systemd, else as `console`. `console`: text for people. `json`: one object per
    line."""


def _one_or_several(value: Any, several: ValidatorFunctionWrapHandler) -> Any:
    """Return the endpoints as a tuple. `value` is the single table [push], or a list of tables."""
    return several(value) if isinstance(value, list | tuple) else (PushConfig.model_validate(value),)


class Config(BaseSettings, ConfigTable):
    """The whole configuration. Build it with `load`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", case_sensitive=True)

    site: SiteConfig
    push: Annotated[tuple[PushConfig, ...], Field(min_length=1), WrapValidator(_one_or_several), ONE_OR_SEVERAL]
    """All endpoints. `endpoints` has only the enabled ones."""
    outbox: OutboxConfig = OutboxConfig()
    poll: PollConfig = PollConfig()
    drivers: DriversConfig = DriversConfig()
    status: StatusConfig | None = None
    log: LogConfig = LogConfig()
    connection: dict[str, ConnectionConfig] = Field(default_factory=dict)
    device: tuple[DeviceConfig, ...] = ()

    if TYPE_CHECKING:

        @property
        def endpoints(self) -> tuple[PushConfig, ...]: ...

    @classmethod
    def merge(cls, table: dict[str, Any], environ: Mapping[str, str]) -> Self:
        """Validate the parsed file `table` with the overrides of `environ`. Raises ConfigError, ValidationError."""
        return cls(table=table, environ=environ)  # type: ignore[call-arg]  # for `settings_customise_sources`

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        arguments = init_settings()
        table = arguments["table"]
        return EnvironmentSource(settings_cls, table, arguments["environ"]), InitSettingsSource(settings_cls, table)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for index, device in enumerate(self.device):
            if device.connection is not None and device.connection not in self.connection:
                raise ValueError(
                    f"device[{index}].connection: no such [connection.{device.connection}]"
                    f"{did_you_mean(device.connection, self.connection)}"
                )
        first: dict[str, int] = {}
        for index, device in enumerate(self.device):
            for type_, node_id in device.node_ids.items() if device.enabled else ():
                if node_id in first:
                    key = "node_id" if device.nodes is None else f"nodes.{type_}"
                    raise ValueError(
                        f"device[{index}].{key}: must be unique; device[{first[node_id]}] has {node_id!r} already"
                    )
                first[node_id] = index
        if not any(device.enabled for device in self.device):
            raise ValueError("device: needs at least one enabled [[device]]")
        node_ids = {node_id for device in self.device for node_id in device.node_ids.values()}
        enabled = {node_id for _, node_id in self.enabled_nodes()}
        for mistake in endpoints.mistakes(self.push, node_ids, enabled):
            raise ValueError(mistake)
        return self
