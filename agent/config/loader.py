"""Reads the configuration: one TOML file and environment variables. Unknown keys are mistakes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from agent.config import file_checks, push_token
from agent.config.environment import EnvironmentSource
from agent.config.errors import ConfigError, name_devices, name_items
from agent.config.model import Config, DriversConfig
from agent.config.status import StatusConfig
from agent.config.validation_messages import explain, origin_of
from drivers import toml_file
from drivers.errors import unreadable


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check `path`. `environ` overrides it; None means the environment of the process. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    return parse(_read(path), environ, str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return toml_file.read(path)
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; `telemetry-agent init` writes one"]) from None
    except (OSError, UnicodeDecodeError) as error:
        hint = "; run this as root or as the user of the service" if isinstance(error, PermissionError) else ""
        raise ConfigError([f"{path}: cannot be read ({unreadable(error)}){hint}"]) from None
    except toml_file.TomlError as error:
        said = _list_once(path, error.problem)
        raise ConfigError([f"{path}: not valid TOML: {f'{error.problem}; {said}' if said else error}"]) from None


_LISTS = {
    "device": "write [[device]], in two pairs of brackets, for each device",
    "push": "several endpoints are written as [[push]], each with a name",
}
"""Key that can have several tables → how to write them."""


def _list_once(path: Path, problem: str) -> str:
    """Return a hint if a key of `_LISTS` has several tables, and the heading of at least one is [key], not [[key]].

    Otherwise return "". `problem` is the text of the TOML error; a key that it does not name gets no hint.
    """
    text = path.read_text("utf-8", "replace")
    for key, hint in _LISTS.items():
        headings = re.findall(rf"^[ \t]*(\[\[?)[ \t]*{key}[ \t]*\]", text, re.MULTILINE)
        if len(headings) > 1 and "[" in headings and re.search(rf"\b{key}\b", problem):
            return hint
    return ""


def parse(table: dict[str, Any], environ: Mapping[str, str], origin: str) -> Config:
    """Check a parsed TOML table; `environ` overrides it. Error texts name `origin`, its file. Raises ConfigError."""
    try:
        config = Config.merge(table, environ)
    except ValidationError as error:
        merged = table | EnvironmentSource(Config, table, environ)()
        lines = name_devices(explain(error, environ, origin, Config), _names(merged))
        raise ConfigError(name_items(lines, "push", _endpoint_names(merged))) from None
    found = list(push_token.mistakes(config.push, environ)) or list(file_checks.mistakes(config))
    if found:
        lines = [f"{origin_of(mistake, environ, origin)}: {mistake}" for mistake in found]
        raise ConfigError(name_items(lines, "push", [push.name for push in config.push]))
    return config


def _endpoint_names(table: dict[str, Any]) -> list[str]:
    """Return the name in each [[push]] table; empty for a single [push]. A missing or unusable name is "".

    `table` is not validated.
    """
    pushes = table.get("push")
    names = [push.get("name") if isinstance(push, dict) else "" for push in pushes] if isinstance(pushes, list) else []
    return [name if isinstance(name, str) and name.isprintable() else "" for name in names]


def _names(table: dict[str, Any]) -> list[str]:
    """Return the node ids of each device as one text; "" if they are missing or unusable. `table` is not validated."""
    devices = table.get("device")
    if not isinstance(devices, list):
        return []
    tables = [device if isinstance(device, dict) else {} for device in devices]
    nodes = [each.get("nodes") or {"": each.get("node_id") or ""} for each in tables]
    return [" + ".join(map(str, names.values())) if isinstance(names, dict) else "" for names in nodes]


class _Part(BaseModel):
    """The tables that can be read alone, even if other tables of the file have mistakes."""

    status: StatusConfig | None = None
    drivers: DriversConfig = DriversConfig()


def load_status(path: Path, environ: Mapping[str, str] | None = None) -> StatusConfig | None:
    """Read [status] alone, for users who may not read the token of [push]. Raises ConfigError."""
    return _part(path, environ, "status").status


def load_profile_dirs(path: Path, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Read drivers.profile_dirs alone. Mistakes in other tables of the file do not matter. Raises ConfigError."""
    return _part(path, environ, "drivers").drivers.profile_dirs


def _part(path: Path, environ: Mapping[str, str] | None, key: str) -> _Part:
    environ = os.environ if environ is None else environ
    table = _read(path)
    table |= EnvironmentSource(Config, table, environ)()
    try:
        return _Part.model_validate({key: table[key]} if key in table else {})
    except ValidationError as error:
        raise ConfigError(list(explain(error, environ, str(path), Config))) from None
