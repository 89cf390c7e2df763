"""The configuration that `init` writes, and the devices that `init` adds to an existing configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import CONFIG_DIRECTORY, DEFAULT_CONFIG, STATE_DIRECTORY
from agent.commissioning.config_snippets import toml_text
from agent.commissioning.new_files import Access, content, create, replace
from agent.commissioning.release_files import example
from agent.commissioning.service_permissions import ServiceUser, service
from agent.config import DEFAULT_LISTEN, Config, ConfigError, ConnectionConfig, DeviceConfig, parse
from agent.runtime import printable
from agent.site import build
from drivers import toml_file
from drivers.errors import unreadable
from drivers.modbus import LinkSettings
from drivers.model import NodeType

_ANY_DEVICE = {"node_id": " ", "type": "grid", "driver": "sunspec", "host": "127.0.0.1"}
"""A placeholder, because `parse` requires at least one device. Each use sets a node id."""
_EXAMPLE_BESIDE = "config.example.toml"
"""The install script writes the example of its release to this file beside the configuration."""

_HEAD = """\
# The telemetry agent of site {site_plain}, written by `telemetry-agent init`.
# `telemetry-agent check --online` checks it. `telemetry-agent config example` describes every key.

[site]
node_id = {site}  # siteNodeId; the integrator gives it
{timezone}
# import_limit_W = 17250  # connection limits in W, sent in the group "grid"
# export_limit_W = 10000

[push]
url = {url}
token_file = {token}
interval_s = {interval}  # seconds between two messages
# levels = ["device_type", "device"]  # also one message per node; default: only the totals by device type
# gzip = true
{insecure}
[poll]
# interval_s = 10  # seconds between two polls; never longer than push.interval_s
{outbox}{drivers}
# [status]
# listen = "{listen}"  # a status page, /readyz and metrics

# Each [[device]] table is one device. `telemetry-agent init` adds more devices, `telemetry-agent drivers` lists the
# drivers. With `invert = true`, import and export are exchanged.

"""
_NO_DEVICE = """\
# No device yet. Run `telemetry-agent init` again to scan, or write tables such as:
# [[device]]
# node_id = "meter-1"
# type = "grid"  # {types}
# driver = "eastron-sdm630"
# host = "192.168.1.20"
# unit_id = 1
"""


@dataclass(frozen=True, slots=True)
class SiteAnswers:
    """The settings of the site and of its endpoint."""

    node_id: str
    url: str
    token_file: Path
    interval_s: int
    timezone: str | None
    insecure_http: bool = False
    profile_dirs: tuple[Path, ...] = ()
    """Directories of the site's own profiles; empty for the default directory."""


def config_text(answers: SiteAnswers, devices: str, config: Path) -> str:
    """Return the text of a new configuration. `devices` are its [[device]] tables, `config` is the path of its file."""
    path = outbox_path(config)
    zone = '# timezone = "Europe/Brussels"' if answers.timezone is None else f"timezone = {toml_text(answers.timezone)}"
    folders = ", ".join(toml_text(str(folder)) for folder in answers.profile_dirs)
    head = _HEAD.format(
        drivers=f"\n[drivers]\nprofile_dirs = [{folders}]\n" if folders else "",
        listen=DEFAULT_LISTEN,
        site_plain=printable(answers.node_id),
        site=toml_text(answers.node_id),
        timezone=f"{zone}  # today_* begins at midnight in this time zone",
        url=toml_text(answers.url),
        token=toml_text(str(answers.token_file)),
        interval=answers.interval_s,
        insecure="allow_insecure_http = true  # http sends the token unencrypted\n" if answers.insecure_http else "",
        outbox="" if path is None else f"\n[outbox]\npath = {toml_text(str(path))}  # the queue\n",
    )
    return head + (devices.strip("\n") + "\n" if devices else _NO_DEVICE.format(types=" | ".join(NodeType)))


def outbox_path(config: Path) -> Path | None:
    """Return the path of the queue for the configuration file `config`; None if it is the default of `outbox.path`."""
    if config == DEFAULT_CONFIG:
        return None
    if config.parent.parent == CONFIG_DIRECTORY:  # telemetry-agent@SITE.service
        return STATE_DIRECTORY.with_name(f"{STATE_DIRECTORY.name}-{config.parent.name}") / "outbox.sqlite3"
    return config.absolute().parent / "state" / "outbox.sqlite3"


def wrong_answer(table: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the first mistake in `table`; None if there is none. `table` has some keys of [site] and [push]."""
    site = {"node_id": "S", **table.get("site", {})}
    push = {"url": "https://localhost/", "token": "t", **table.get("push", {})}
    try:
        parse({"site": site, "push": push, "device": [_ANY_DEVICE | {"node_id": "D"}]}, {}, "")
    except ConfigError as error:
        return error.lines[0].removeprefix(": ")
    return None


@dataclass(frozen=True, slots=True)
class Existing:
    """The configuration before `init` adds devices."""

    text: str
    config: Config
    units: frozenset[str]
    """The addresses of all devices, except of disabled ones that cannot be built. For example, an address is
    "192.168.1.20:502 unit 1"."""
    names: frozenset[str]
    """The node ids of all enabled and disabled devices."""
    connections: Mapping[str, str]
    """Address of a link → NAME of its [connection.NAME]."""
    has_grid: bool
    """Whether an enabled device has a node of type `grid`."""


def existing(path: Path) -> Existing | None:
    """Return the configuration in `path`; None if there is no file, or if it can be replaced (`_replaceable`).

    Raises ConfigError if the file cannot be read, has only comments, or is not a valid configuration. A configuration
    without devices is valid here.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read ({unreadable(error)})"]) from None
    if _replaceable(path, text):
        return None
    return _existing(path, text)


def _replaceable(path: Path, text: str) -> bool:
    """Whether `text` is blank or an unchanged example: that of this release, or the one beside `path`."""
    try:
        beside = path.with_name(_EXAMPLE_BESIDE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        beside = example()
    return not text.strip() or text in (beside, example())


def _existing(path: Path, text: str) -> Existing:
    try:
        table = toml_file.parse(text)
    except toml_file.TomlError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None
    if not table:
        raise ConfigError([f"{path}: has only comments; rename or delete this file, so that init can write a new one"])
    config = _parsed(table, path)
    devices = config.device if table.get("device") else ()
    return Existing(
        text,
        config,
        frozenset(_units(config, devices, path)),
        frozenset(name for each in devices for name in each.node_ids.values()),
        {_address(each): name for name, each in config.connection.items()},
        any(each.enabled and NodeType.GRID in each.node_ids for each in devices),
    )


def _units(config: Config, devices: Sequence[DeviceConfig], path: Path) -> Iterator[str]:
    """Yield the addresses of `devices`, except a disabled one that cannot be built. Raises ConfigError."""
    for device in build(config.model_copy(update={"device": tuple(devices)}), str(path)).devices:
        yield device.address
    for each in devices:
        if not each.enabled:
            alone = config.model_copy(update={"device": (each.model_copy(update={"enabled": True}),)})
            with suppress(ConfigError):
                yield from (device.address for device in build(alone, str(path)).devices)


def _parsed(table: dict[str, Any], path: Path) -> Config:
    """Return the configuration. If `table` has no device, the configuration has a placeholder as its only device."""
    if not table.get("device"):
        return parse({**table, "device": [_ANY_DEVICE | {"node_id": "D"}]}, os.environ, str(path))
    return parse(table, os.environ, str(path))


def _address(connection: ConnectionConfig) -> str:
    return LinkSettings(connection.transport, connection.host, connection.used_port, connection.serial_port).address


def with_devices(before: Existing, devices: str, path: Path) -> str:
    """Return the text of the configuration with the tables `devices` at its end.

    Raises ConfigError if this text is not a valid configuration.
    """
    text = before.text.rstrip("\n") + "\n\n" + devices.strip("\n") + "\n"
    try:
        table = toml_file.parse(text)
    except toml_file.TomlError as error:
        raise ConfigError([f"{path}: [[device]] tables cannot be added at its end: {error}"]) from None
    build(parse(table, os.environ, str(path)), str(path))
    return text


def access(config: Path, reader: ServiceUser | None, *, root: bool) -> Access:
    """Return permissions and owner of a new configuration. The file has no secret, and the service can read it."""
    if config == DEFAULT_CONFIG and root and reader is not None:
        return Access(0o640, 0, reader.gid)
    return Access(0o644)


def token_access(config: Path, reader: ServiceUser | None, *, root: bool) -> Access:
    """Return permissions and owner of a new token file: only its owner reads it.

    If root writes `DEFAULT_CONFIG` and the user of the service exists, this user is the owner. Otherwise the user of
    this process is the owner. If there are several sites, root can be the owner of their tokens: systemd reads each
    token and passes it to the service.
    """
    if config == DEFAULT_CONFIG and root and reader is not None:
        return Access(0o600, reader.uid, reader.gid)
    return Access(0o600)


def write(config: Path, text: str, token_file: Path, token: str | None) -> None:
    """Write a new configuration, and its token unless `token` is None. Raises OSError.

    Raises FileExistsError if `config` has a text that must be kept (`_replaceable`), or if there is a token and the
    token file is not blank. If the configuration cannot be written, the token is removed again.
    """
    reader, root = service(), os.geteuid() == 0
    blank: str | None = None
    if token is not None:
        if token_file.exists():
            there = content(token_file)
            blank = "" if there.removeprefix("\ufeff").strip() else there
        _write_file(token_file, f"{token}\n", blank or "", token_access(config, reader, root=root))
    try:
        before = content(config) if config.exists() else ""
        expected = before if _replaceable(config, before) else ""
        _write_file(config, text, expected, access(config, reader, root=root))
    except BaseException:
        if token is not None and not _has(config, text):
            if blank is not None:
                token_file.write_text(blank, encoding="utf-8")
            else:
                token_file.unlink(missing_ok=True)
        raise


def _has(path: Path, text: str) -> bool:
    try:
        return content(path) == text
    except OSError:
        return False


def _write_file(path: Path, text: str, before: str, permissions: Access) -> None:
    if path.exists():
        replace(path, before, text, permissions)
    else:
        create(path, text, permissions)
