"""Yields the warnings of `check`.

A warning is about a setting that is allowed but probably a mistake, or about a file that a setting names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from agent import DEFAULT_CONFIG
from agent.commissioning.endpoints import shared_tokens, token_text
from agent.commissioning.queue_place import why_not_kept
from agent.commissioning.service_permissions import missing_credentials, service, unreadable_files, unreadable_tokens
from agent.config import Config, OutboxConfig, token_path
from agent.security import open_to_all
from drivers.errors import ProfileError
from drivers.model import NodeType
from drivers.profile import load

_LEAST_LIMIT_W, _LEAST_LOAD_W, _LEAST_CAPACITY_WH = 200.0, 20.0, 200.0
"""A smaller value is probably in kW or kWh."""

_LEAST_DEADLINE_S = _LEAST_INTERVAL_S = 0.05
"""A shorter deadline or poll interval is probably a mistake."""


def advice(config: Config, file: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the warnings about `config`, which was read from `file`."""
    yield from _secrets(config, file, environ)
    yield from _token(config, environ)
    yield from _left_from_the_example(config)
    if config.site.timezone is None:
        yield "site.timezone is not set; the day begins at midnight of this machine's time zone"
    if config.poll_interval_s > config.poll.stale_after_s:
        yield (
            f"poll.interval_s ({config.poll.interval_s:g}) is longer than poll.stale_after_s "
            f"({config.poll.stale_after_s:g}): the values of devices without poll_interval_s become stale before the"
            " next poll"
        )
    yield from _kilowatts(config)
    yield from _deadlines(config)
    yield from _queue(config, file)
    yield from _without_effect(config)
    yield from _own_profiles(config)
    if file == DEFAULT_CONFIG and os.geteuid() == 0 and (reader := service()) is not None:
        yield from unreadable_files(config, file, reader)
        yield from unreadable_tokens(config, reader)
    if file == DEFAULT_CONFIG:
        yield from missing_credentials()


def _secrets(config: Config, file: Path, environ: Mapping[str, str]) -> Iterator[str]:
    paths = [
        path
        for push in config.endpoints
        for path in (token_path(push, environ), push.signing_secret_file, push.client_key_file)
    ]
    if config.holds_secrets:
        paths.append(file)
    if config.status is not None:
        paths.append(config.status.token_file)
    for path in dict.fromkeys(path for path in paths if path is not None):
        if open_to_all(path):
            yield f"everybody on this machine can read {path}: chmod o-r {path}"


def _token(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    for push in config.endpoints:
        token = token_text(push, environ)
        if token[:1] in ("'", '"', "<"):
            whose = "" if len(config.push) == 1 else f" of endpoint {push.name}"
            yield f"the token{whose} begins with {token[0]}; this is probably not part of the token"
    yield from shared_tokens(config, environ)


def _left_from_the_example(config: Config) -> Iterator[str]:
    for push in config.endpoints:
        host = urlsplit(push.url).hostname or ""
        if host == "example.com" or host.endswith(".example.com"):
            whose = "" if len(config.push) == 1 else f" of endpoint {push.name}"
            yield f"push.url{whose} is still the example {push.shown_url}; the integrator gives the URL"
    if config.site.node_id == "M1S0000000000000000D_site_0":
        yield "site.node_id is still the example; the integrator gives the id"


def _kilowatts(config: Config) -> Iterator[str]:
    values: list[tuple[str, float | None, float]] = [
        ("site.import_limit_W", config.site.import_limit_W, _LEAST_LIMIT_W),
        ("site.export_limit_W", config.site.export_limit_W, _LEAST_LIMIT_W),
    ]
    for device in config.device:
        names = " + ".join(device.node_ids.values())
        values.append((f"nominal_power_W of {names}", device.nominal_power_W, _LEAST_LOAD_W))
        if NodeType.STORAGE in device.node_ids:
            values.append((f"energy_capacity_Wh of {names}", device.energy_capacity_Wh, _LEAST_CAPACITY_WH))
        if (limit := device.limits.get("active_power_W")) is not None:
            values.append((f"limits.active_power_W of {names}", max(map(abs, limit)), _LEAST_LOAD_W))
    for key, value, least in values:
        if value and value < least:
            unit = "Wh" if key.startswith("energy") else "W"
            yield f"{key} is {value:g} {unit}; is this k{unit}? Then write {1000 * value:g}"


def _deadlines(config: Config) -> Iterator[str]:
    for push in config.endpoints:
        whose = "push" if len(config.push) == 1 else f"endpoint {push.name}"
        if "deadline_s" in push.model_fields_set and push.deadline_s > push.effective_deadline_s:
            yield (
                f"{whose}: deadline_s ({push.deadline_s:g}) is longer than half of interval_s ({push.interval_s});"
                f" {push.effective_deadline_s:g} s is used"
            )
        if push.deadline_s < _LEAST_DEADLINE_S:
            yield f"{whose}: deadline_s is {push.deadline_s:g}: no poll is that fast, so each push sends older values"
    intervals = {"poll.interval_s": config.poll.interval_s} | {
        f"poll_interval_s of {' + '.join(device.node_ids.values())}": device.poll_interval_s
        for device in config.device
        if device.poll_interval_s is not None
    }
    for key, interval_s in intervals.items():
        if interval_s < _LEAST_INTERVAL_S:
            yield f"{key} is {interval_s:g} s: hardly any device can be polled that often; check --online measures it"


def _queue(config: Config, file: Path) -> Iterator[str]:
    path = config.outbox.path
    if not path.is_absolute():
        yield (
            f"outbox.path is relative: the queue is {path.absolute()}, but another file if the agent starts in another"
            " directory; write an absolute path"
        )
    if (why := why_not_kept(path)) is not None:
        yield f"outbox.path: {path} cannot keep messages: {why}; write a path on a disk, such as {OutboxConfig().path}"
        return
    if file == DEFAULT_CONFIG and path == OutboxConfig().path:
        return  # the service can write there, even if this user cannot
    directory = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir():
        yield f"outbox.path: {path} is a directory; write the path of a file in it"
    elif not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        yield f"outbox.path: this user cannot write to {directory}; messages would be kept in memory only"


def _own_profiles(config: Config) -> Iterator[str]:
    """Yield a warning for each of the site's own profiles that has a mistake.

    The daemon loads only the profiles of the configured devices, so it does not report mistakes in other profiles.
    """
    for folder in config.drivers.profile_dirs:
        for path in sorted(folder.glob("*.toml")):
            try:
                load(path)
            except ProfileError as error:
                yield f"profile not used: {error}"


def _without_effect(config: Config) -> Iterator[str]:
    used = {device.connection for device in config.device if device.enabled}
    for name in config.connection:
        if name not in used:
            yield f"no device uses [connection.{name}]"
    for folder in config.drivers.profile_dirs if "profile_dirs" in config.drivers.model_fields_set else ():
        if not folder.is_dir():
            yield f"drivers.profile_dirs: the directory {folder} does not exist"
    for device in config.device:
        if device.energy_capacity_Wh is not None and NodeType.STORAGE not in device.node_ids:
            names = " + ".join(device.node_ids.values())
            yield f"energy_capacity_Wh of {names} has no effect: the node is not of type storage"
