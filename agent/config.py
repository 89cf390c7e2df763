"""The configuration: one TOML file, every key overridable from the environment, anything unknown refused.

`load` returns a frozen `Config` or raises `ConfigError`, one line per mistake: file (or variable), key, rule, value.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent import config_files
from agent.limits import QUANTITIES
from drivers.model import NodeType

DEFAULT_PATH = Path("/etc/telemetry-agent/config.toml")
ENV_PREFIX = "TELEMETRY_AGENT__"
CREDENTIAL = "push_token"


class ConfigError(Exception):
    """The configuration cannot be used; `lines` holds one message per mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a name of the IANA time zone database, such as Europe/Brussels") from None
    return name


def _absolute_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL with a host")
    if parts.username or parts.password:
        raise ValueError("must not carry a user or password; use push.token_file")
    return url


def _host_and_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host.strip("[]") or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("must be an address and a port, such as 127.0.0.1:9464 or [::1]:9464")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("must have an IPv6 address in brackets, such as [::1]:9464")
    return text


def _limited(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"must be a quantity with its unit, such as active_power_W{_did_you_mean(name, QUANTITIES)}")
    return name


def _limit(value: Any) -> tuple[float, float]:
    """One number bounds both directions."""
    bounds = value if isinstance(value, list | tuple) else [value, value]
    numbers = [float(bound) for bound in bounds if isinstance(bound, int | float) and not isinstance(bound, bool)]
    if len(bounds) != 2 or len(numbers) != 2 or not all(map(isfinite, numbers)):
        raise ValueError("must be a number, or [lowest, highest]")
    low, high = numbers if bounds is value else (-numbers[0], numbers[1])
    if low > high:
        raise ValueError("must be [lowest, highest]" if bounds is value else "must not be negative")
    return low, high


def _identifier(name: str) -> str:
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError("must be a non-empty printable name without blanks at its ends")
    return name


# TOML knows its types: the text "60" is not a number, and True is not 1.
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Pause = Annotated[float, Field(strict=True, ge=0, le=3600, allow_inf_nan=False)]
Watts = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
WholeSeconds = Annotated[StrictInt, Field(ge=1, le=86_400)]
Port = Annotated[StrictInt, Field(ge=1, le=65_535)]
Identifier = Annotated[str, AfterValidator(_identifier)]
Limit = Annotated[tuple[float, float], PlainValidator(_limit)]
Sign = Literal[1, -1]
Level = Literal["device_type", "device"]


class Section(BaseModel):
    """What all tables of the file share."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteConfig(Section):
    """[site]"""

    node_id: Identifier
    timezone: Annotated[str, AfterValidator(_timezone)] | None = None
    import_limit_W: Watts | None = None
    export_limit_W: Watts | None = None


class RetryConfig(Section):
    """[push.retry]"""

    initial_s: Seconds = 1.0
    max_s: Seconds = 300.0
    dead_letter_after: Annotated[StrictInt, Field(ge=1)] = 5


class SignConfig(Section):
    """[push.sign]"""

    grid: Sign = 1
    solar: Sign = 1
    storage: Sign = 1
    heat_pump: Sign = 1
    switched_load: Sign = 1
    variable_power_load: Sign = 1


class PushConfig(Section):
    """[push]"""

    url: Annotated[str, AfterValidator(_absolute_url)]
    token: SecretStr | None = None
    token_file: Path | None = None
    interval_s: WholeSeconds = 60
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = ("device_type",)
    device_format: Literal["node", "snapshot"] = "node"
    device_fields: Literal["contract", "all"] = "contract"
    time_format: Literal["integer", "string"] = "integer"
    partial_totals: Literal["omit", "sum"] = "omit"
    quality: StrictBool = False
    gzip: StrictBool = False
    align: Literal["splay", "clock"] = "splay"
    deadline_s: Pause = 5.0
    connect_timeout_s: Seconds = 10.0
    timeout_s: Seconds = 30.0
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy_url: Annotated[str, AfterValidator(_absolute_url)] | None = None
    signing_secret_file: Path | None = None
    wait_for_clock_s: Pause = 300.0
    allow_insecure_http: StrictBool = False
    sign: SignConfig = SignConfig()
    retry: RetryConfig = RetryConfig()

    @model_validator(mode="after")
    def _secure(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.allow_insecure_http and not _is_loopback(parts.hostname or ""):
            raise ValueError(
                "url: plain http would send the token in the clear; use https, or set allow_insecure_http = true"
                f" (found {self.url!r})"
            )
        if self.token and self.token_file:
            raise ValueError("token: give either token or token_file, not both")
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file: needs client_cert_file beside it")
        return self

    @property
    def shown_url(self) -> str:
        """The URL for logs: its query may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    @property
    def effective_deadline_s(self) -> float:
        """A push leaves at most this long after its tick: never more than half of the interval."""
        return min(self.deadline_s, self.interval_s / 2)


class OutboxConfig(Section):
    """[outbox]"""

    path: Path = Path("/var/lib/telemetry-agent/outbox.sqlite3")
    max_age_s: Seconds = 604_800.0
    max_size_mb: Annotated[StrictInt, Field(ge=1)] = 64
    backlog_rate_per_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None


class PollConfig(Section):
    """[poll]"""

    interval_s: Seconds = 10.0
    statistic: Literal["last", "mean"] = "last"
    stale_after_s: Seconds = 30.0


class DriversConfig(Section):
    """[drivers]"""

    profile_dirs: tuple[Path, ...] = (Path("/etc/telemetry-agent/profiles"),)


class StatusConfig(Section):
    """[status]"""

    listen: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:9464"
    token: SecretStr | None = None
    token_file: Path | None = None

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        return _is_loopback(self.host)

    @property
    def guarded(self) -> bool:
        """Whether a token has to be shown."""
        return self.token is not None or self.token_file is not None

    def secret(self) -> SecretStr | None:
        """The token that has to be shown, if one has to. Raises OSError, UnicodeDecodeError."""
        if self.token_file is not None:
            return SecretStr(self.token_file.read_text(encoding="utf-8").strip())
        return self.token

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("token: give either token or token_file, not both")
        if not self.loopback and not (self.token or self.token_file):
            raise ValueError(
                f"token_file: missing; whoever reaches {self.listen} could look in: give token_file or token,"
                " or listen on 127.0.0.1"
            )
        try:
            secret = self.secret()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not text"
            raise ValueError(f"token_file: must be a readable file ({reason}: {str(self.token_file)!r})") from None
        if secret is not None and not re.fullmatch(r"[!-~]{16,}", secret.get_secret_value()):
            key = "token" if self.token else "token_file"
            raise ValueError(f"{key}: must be at least 16 visible ASCII characters; `openssl rand -hex 24` makes some")
        return self


class LogConfig(Section):
    """[log]"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class ConnectionConfig(Section):
    """[connection.NAME]: a named link."""

    transport: Literal["tcp", "udp", "tls", "rtu", "ascii", "rtu_over_tcp", "ascii_over_tcp"] = "tcp"
    host: str | None = None
    port: Port | None = None
    serial_port: str | None = None
    baudrate: Annotated[StrictInt, Field(ge=300)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_s: Seconds = 1.0
    connect_delay_s: Pause = 0.0
    request_gap_s: Pause = 0.0
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_name: str | None = None

    @property
    def serial(self) -> bool:
        return self.transport in ("rtu", "ascii")

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.serial:
            if not self.serial_port:
                raise ValueError(f"serial_port: transport {self.transport} needs one, such as /dev/ttyUSB0")
            if self.host is not None or self.port is not None:
                raise ValueError(f"host: transport {self.transport} is a serial line; use serial_port")
        else:
            if not self.host:
                raise ValueError(f"host: transport {self.transport} needs one")
            if self.serial_port:
                raise ValueError(f"serial_port: transport {self.transport} has none; use host and port")
        for key in ("ca_file", "client_cert_file", "client_key_file", "server_name"):
            if self.transport != "tls" and getattr(self, key) is not None:
                raise ValueError(f"{key}: needs transport tls, not {self.transport}")
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file: needs client_cert_file beside it")
        return self


class DeviceConfig(Section):
    """[[device]]"""

    node_id: Identifier | None = None
    type: NodeType | None = None
    nodes: dict[NodeType, Identifier] | None = None
    driver: Identifier
    enabled: StrictBool = True
    push: StrictBool = True
    within: Identifier | None = None
    host: str | None = None
    port: Port | None = None
    connection: str | None = None
    unit_id: Annotated[StrictInt, Field(ge=0, le=255)] | None = None
    invert: StrictBool = False
    when_offline: Literal["missing", "zero"] | None = None
    nominal_power_W: Watts | None = None
    energy_capacity_Wh: Watts | None = None
    limits: dict[Annotated[str, AfterValidator(_limited)], Limit] = {}
    timeout_s: Seconds | None = None
    max_registers: Annotated[StrictInt, Field(ge=1, le=125)] | None = None
    max_gap: Annotated[StrictInt, Field(ge=0, le=124)] | None = None
    word_order: Literal["big", "little", "big_swapped", "little_swapped"] | None = None
    connect_delay_s: Pause | None = None
    request_gap_s: Pause | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.nodes is not None:
            if self.node_id is not None or self.type is not None:
                raise ValueError('nodes: replaces node_id and type; write nodes = { solar = "pv-1", … } alone')
            if not self.nodes:
                raise ValueError("nodes: names no node")
        elif self.node_id is None or self.type is None:
            missing = "node_id" if self.node_id is None else "type"
            raise ValueError(f"{missing}: missing; a device has node_id and type, or nodes")
        if (self.host is None) == (self.connection is None):
            raise ValueError("host: give either host (an own tcp connection) or connection (the name of a shared one)")
        if self.connection is not None and self.port is not None:
            raise ValueError("port: stands in the connection, not in the device")
        return self

    @property
    def node_ids(self) -> dict[NodeType, str]:
        """Node id by type: one entry, or those of a hybrid."""
        if self.nodes is not None:
            return self.nodes
        if self.type is None or self.node_id is None:
            raise AssertionError("refused by _one_way")
        return {self.type: self.node_id}


class _SiteFile(PydanticBaseSettingsSource):
    """The TOML file overlaid with the environment."""

    def __init__(self, settings_cls: type[BaseSettings], table: dict[str, Any], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._table = table
        self._environ = environ

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._table.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return overlay(self._table, self._environ)


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
                    f"{_did_you_mean(device.connection, self.connection)}"
                )
        counts = Counter(node_id for device in self.device for node_id in device.node_ids.values())
        for node_id, count in counts.items():
            if count > 1:
                raise ValueError(f"device.node_id: must be unique; {count} nodes are named {node_id!r}")
        if not any(device.enabled for device in self.device):
            raise ValueError("device: needs at least one enabled [[device]]")
        if self.push.retry.initial_s > self.push.retry.max_s:
            raise ValueError("push.retry.initial_s: must not be larger than push.retry.max_s")
        return self


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check `path` with the overrides of `environ`. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    return parse(_read(path), environ, str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; start from config.example.toml"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read ({error})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def parse(table: dict[str, Any], environ: Mapping[str, str], origin: str) -> Config:
    """Check a parsed TOML table; `origin` names it in messages. Raises ConfigError."""
    try:
        config = Config(table=table, environ=environ)  # type: ignore[call-arg]  # taken by settings_customise_sources
    except ValidationError as error:
        raise ConfigError(list(_explain(error, environ, origin))) from None
    except _OverrideError as error:
        raise ConfigError([str(error)]) from None
    _require_token(config, environ, origin)
    if unusable := [f"{origin}: {mistake}" for mistake in config_files.mistakes(config)]:
        raise ConfigError(unusable)
    return config


class _StatusOnly(BaseModel):
    """Of the whole file only [status]."""

    status: StatusConfig | None = None


def load_status(path: Path, environ: Mapping[str, str] | None = None) -> StatusConfig | None:
    """[status] alone, for people who may not read the token of the pushes; None without such a table.

    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    try:
        return _StatusOnly.model_validate(overlay(_read(path), environ)).status
    except ValidationError as error:
        raise ConfigError(list(_explain(error, environ, str(path)))) from None
    except _OverrideError as error:
        raise ConfigError([str(error)]) from None


_ALONE = "must be the token alone: visible ASCII characters without blanks, and no 'Bearer' before it"


def _require_token(config: Config, environ: Mapping[str, str], origin: str) -> None:
    push = config.push
    if push.token is not None:
        token = push.token.get_secret_value().strip()
        if not token:
            raise ConfigError([f"{origin}: push.token: must not be empty"])
        if not config_files.usable(token):
            raise ConfigError([f"{origin}: push.token: {_ALONE}"])
        return
    path = token_path(push, environ)
    if path is None:
        raise ConfigError(
            [f"{origin}: push.token_file: missing; give token_file, token or the systemd credential {CREDENTIAL}"]
        )
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, PermissionError) and path != push.token_file:
            return  # the service's own processes may not all look at its credential (ExecReload=)
        reason = getattr(error, "strerror", None) or "is not text"
        raise ConfigError([f"{origin}: push.token_file: must be a readable file ({reason}: {str(path)!r})"]) from None
    if not token:
        raise ConfigError([f"{origin}: push.token_file: must hold the token (found {str(path)!r} empty)"])
    if not config_files.usable(token):
        raise ConfigError([f"{origin}: push.token_file: {_ALONE} (found something else in {str(path)!r})"])


def token_path(push: PushConfig, environ: Mapping[str, str]) -> Path | None:
    """Where the token stands: in `token_file`; where the user of the service cannot read that, in systemd's copy of it.

    The copy (LoadCredential=push_token:…) is as old as the service's start, the file can be rotated.
    """
    credential = credential_file(environ)
    if credential is None:
        return push.token_file
    with contextlib.suppress(OSError):
        if push.token_file is not None and os.access(push.token_file, os.R_OK) and push.token_file.stat().st_size:
            return push.token_file
    return credential


def credential_file(environ: Mapping[str, str]) -> Path | None:
    """The token as systemd passes it with LoadCredential=push_token:…, if it does."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, CREDENTIAL) if directory else None
    return path if path is not None and _exists(path) else None


def _exists(path: Path) -> bool:
    """Whether there is such a file, even where we may not look."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


class _OverrideError(Exception):
    """An environment variable that names no key."""


def overlay(table: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """`table` with every TELEMETRY_AGENT__… variable put in its place; list items by index (…__DEVICE__0__HOST)."""
    result: Any = _copy(table)
    for name in sorted(environ):
        if name.upper().startswith(ENV_PREFIX):
            _set(result, name, environ[name])
        elif name.upper().startswith(ENV_PREFIX[:-1]):
            raise _OverrideError(f"environment {name}: no such key; two underscores stand before each step of it")
    return dict(result)


def _set(result: dict[str, Any], name: str, text: str) -> None:
    place: Any = result
    annotation: Any = Config
    steps = name[len(ENV_PREFIX) :].split("__")
    for depth, step in enumerate(steps):
        key, annotation = _step(name, step, place, annotation)
        if depth == len(steps) - 1:
            place[key] = _literal(text, annotation)
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
        else:
            place = place[key]
        if depth < len(steps) - 1 and not isinstance(place, dict | list):
            raise _OverrideError(f"environment {name}: {'.'.join(steps[: depth + 1])} is a value, not a table")


def _step(name: str, step: str, place: Any, annotation: Any) -> tuple[Any, Any]:
    """The key that `step` means below `place`, and the annotation of what stands there."""
    if isinstance(place, list):
        if not step.isdigit() or int(step) >= len(place):
            raise _OverrideError(f"environment {name}: must name an item 0..{len(place) - 1} (found {step!r})")
        return int(step), get_args(annotation)[0]
    model = _model_in(annotation)
    if model is not None:
        for field, info in model.model_fields.items():
            if field.casefold() == step.casefold():
                return field, Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        raise _OverrideError(
            f"environment {name}: no such key {step!r}{_did_you_mean(step.lower(), model.model_fields)}"
        )
    existing = next((key for key in (*place, *QUANTITIES) if key.casefold() == step.casefold()), step.lower())
    return existing, get_args(annotation)[-1] if get_args(annotation) else Any


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (dict, tuple):
        return None
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _literal(text: str, annotation: Any) -> Any:
    """The value of a variable: text where the key takes text, else read as TOML."""
    try:
        TypeAdapter(annotation).validate_python(text)
    except ValidationError:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _explain(error: ValidationError, environ: Mapping[str, str], origin: str) -> Iterator[str]:
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and len(error.errors()) > 1:
            continue  # says again what the item's own line says
        place, steps = _place(item["loc"])
        variable = ENV_PREFIX + "__".join(steps).upper()
        overridden = next((name for name in environ if steps and name.upper() == variable), None)
        where = f"environment {overridden}" if overridden else origin
        yield f"{where}: {place}{_rule(item, place, steps)}"


def _place(loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """`push.interval_s`, `device[2].port`, without the steps that pydantic adds for unions and validators."""
    text = ""
    steps = []
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "[" in part or "-" in part or part in ("str", "float", "int"):
            continue
        else:
            text += f".{part}" if text else part
        steps.append(str(part))
    return text, steps


def _rule(item: Any, place: str, steps: list[str]) -> str:
    kind, message, value = item["type"], item["msg"], item["input"]
    message = _PLAIN_WORDS.get(kind, message)
    if kind == "extra_forbidden":
        return f": unknown key{_did_you_mean(steps[-1], _siblings(steps))}"
    if kind == "missing":
        return ": missing"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        # Checks over several keys name their key themselves.
        if isinstance(value, BaseModel | dict) or not place:
            return f"{'.' if place else ''}{message}"
    message = message.removeprefix("Input ")
    shown = "a secret" if "token" in steps[-1:] else repr(value)
    return f": {message[:1].lower()}{message[1:]} (found {shown})"


# pydantic's words for people who write Python, in words for people who write TOML.
_PLAIN_WORDS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "path_type": "must be a file name",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
}


def _siblings(steps: list[str]) -> list[str]:
    annotation: Any = Config
    for step in steps[:-1]:
        model = _model_in(annotation)
        if model is not None and step in model.model_fields:
            annotation = model.model_fields[step].annotation
        elif get_args(annotation):
            annotation = get_args(annotation)[-1] if annotation.__origin__ is dict else get_args(annotation)[0]
    model = _model_in(annotation)
    return list(model.model_fields) if model else []


def _did_you_mean(name: str, known: Any) -> str:
    close = get_close_matches(name, [str(key) for key in known], 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
