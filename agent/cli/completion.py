"""Proposes values of options and arguments when the shell completes a command. Mistakes in files are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from agent import DEFAULT_CONFIG, PROFILE_DIRECTORY


def drivers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names that begin with `incomplete`, of the built-in drivers and the site's own."""
    from drivers.catalogue import Catalogue

    try:
        configured = _table(ctx).get("drivers", {}).get("profile_dirs", (PROFILE_DIRECTORY,))
        names = Catalogue(tuple(map(Path, ctx.params.get("profile_dir") or configured))).names()
    except (AttributeError, OSError, TypeError, ValueError):  # a mistake in the configuration
        names = Catalogue().names()
    return [name for name in names if name.startswith(incomplete)]


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the node ids of the configuration that begin with `incomplete`."""
    return [name for name in _nodes(_table(ctx)) if name.startswith(incomplete)]


def endpoints(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the endpoints of the configuration that begin with `incomplete`."""
    from agent.config import DEFAULT_NAME

    push = _table(ctx).get("push", {})
    pushes = push if isinstance(push, list) else [{"name": DEFAULT_NAME} | push]
    names = [each.get("name") for each in pushes if isinstance(each, dict)]
    return [name for name in names if isinstance(name, str) and name.startswith(incomplete)]


def _nodes(table: dict[str, Any]) -> Iterator[str]:
    devices = table.get("device")
    for device in devices if isinstance(devices, list) else ():
        if isinstance(device, dict):
            several = device.get("nodes")
            names = several.values() if isinstance(several, dict) else ()
            yield from (name for name in (device.get("node_id"), *names) if isinstance(name, str))


def _table(ctx: typer.Context) -> dict[str, Any]:
    """Return the tables and lists of the configuration, not validated; empty if the file cannot be read.

    Only a regular file is opened: a pipe or a device file could block the shell.
    """
    from drivers import toml_file

    above: Any = ctx
    path = None
    while path is None and above is not None:
        path = above.params.get("config")
        above = above.parent
    try:
        file = Path(path or DEFAULT_CONFIG)
        table = toml_file.read(file) if file.is_file() else {}
    except (OSError, ValueError, toml_file.TomlError):
        return {}
    return {key: value for key, value in table.items() if isinstance(value, dict | list)}
