"""Warnings of `check` about settings that are allowed but probably a mistake, one sentence each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from agent.commissioning.endpoints import shared_tokens, token_text
from agent.commissioning.service_permissions import out_of_reach, service
from agent.config import Config, token_path
from agent.security import open_to_all
from drivers.model import NodeType

INSTALLED = Path("/etc/telemetry-agent/config.toml")
"""The configuration of the service."""


def advice(config: Config, file: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Return the warnings; `file` is the file of the configuration."""
    yield from _secrets(config, file, environ)
    yield from _token(config, environ)
    yield from _left_from_the_example(config)
    if config.site.timezone is None:
        yield "site.timezone is not set; the day begins at midnight of this machine's time zone"
    if config.poll_interval_s > config.poll.stale_after_s:
        yield (
            f"poll.interval_s ({config.poll.interval_s:g}) is longer than poll.stale_after_s "
            f"({config.poll.stale_after_s:g}): every value becomes stale before the next poll"
        )
    yield from _without_effect(config)
    if file == INSTALLED and os.geteuid() == 0 and (reader := service()) is not None:
        yield from out_of_reach(config, file, reader)


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
