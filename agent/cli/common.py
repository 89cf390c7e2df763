"""Options and functions that several commands use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent import DEFAULT_CONFIG
from agent.cli import completion
from agent.runtime import MOST_OUTPUT, complaints, printable, wrapped

if TYPE_CHECKING:
    from agent.config import Config, PushConfig
    from agent.site import Site
    from drivers.catalogue import Catalogue

EX_CONFIG = 78
"""Exit status of a configuration error. systemd does not restart the service after it."""


def _no_empty_path(ctx: typer.Context, path: Path | None) -> Path | None:
    """End the command if the path is empty or `.`. Typer turns both into the same path: the working directory."""
    if path == Path() and not ctx.resilient_parsing:
        fail(
            "--config: an empty path is the working directory, not a file; is a variable of the shell not set?",
            EX_CONFIG,
        )
    return path


# `readable` is False, so that an unreadable file is a configuration error (status 78). Otherwise typer would report a
# usage error (status 2).
_CONFIG = typer.Option("--config", metavar="FILE", readable=False, callback=_no_empty_path, help="The configuration.")
ConfigOption = Annotated[Path, _CONFIG]
OwnConfig = Annotated[Path | None, _CONFIG]
"""`--config` after the name of a subcommand; None if not given. It overrides `--config` before the name."""
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="NAME", help="Only this endpoint.", autocompletion=completion.endpoints),
]


def given_path(text: str) -> Path:
    """Parse a path. An empty path is a usage error, because `Path("")` is the working directory."""
    if not text:
        fail("a path on the command line is empty; is a variable of the shell not set?", 2)
    return Path(text)


ProfileDirs = Annotated[
    list[Path] | None,
    typer.Option("--profile-dir", metavar="PATH", parser=given_path, help="A directory of the site's own profiles."),
]


def say(line: str, *, err: bool = False, wrap: bool = True) -> None:
    """Print one line on standard output, or with `err` on standard error.

    With `wrap`, a terminal shows a long line broken at words. Do not wrap a line that a person copies.
    """
    text = printable(line, MOST_OUTPUT)
    typer.echo(wrapped(text, sys.stderr if err else sys.stdout) if wrap else text, err=err)


def complain(line: str) -> None:
    """Print one line on standard error, after `telemetry-agent: `."""
    typer.echo(wrapped(printable(f"telemetry-agent: {line}"), sys.stderr), err=True)


def fail(mistakes: str | Sequence[str], status: int = 1) -> NoReturn:
    """Print the first hundred mistakes on standard error, and the number of others. End the command with `status`."""
    lines = [mistakes] if isinstance(mistakes, str) else mistakes
    for line in complaints(lines).splitlines():
        typer.echo(wrapped(line, sys.stderr), err=True)
    raise typer.Exit(status)


def narrowed(site: Site, nodes: list[str] | None) -> Site:
    """Return the site with only the devices of `nodes`; the whole site without `nodes`.

    An unknown node is a usage error.
    """
    from agent.config import ConfigError
    from agent.site import only

    try:
        return only(site, nodes or ())
    except ConfigError as error:
        fail(error.lines, 2)


def load_site(path: Path) -> tuple[Config, Site]:
    """Return the configuration and its site. If there are mistakes, print them and end with EX_CONFIG."""
    from agent.config import ConfigError, load
    from agent.site import build

    try:
        config = load(path)
        return config, build(config, str(path))
    except ConfigError as error:
        fail(error.lines, EX_CONFIG)


def chosen_endpoints(config: Config, name: str | None) -> list[PushConfig]:
    """Return the enabled endpoint of this name; without a name, all enabled endpoints.

    A name that no enabled endpoint has is a usage error.
    """
    from agent.config import did_you_mean

    if name is None:
        return list(config.endpoints)
    chosen = [push for push in config.endpoints if push.name == name]
    if not chosen:
        names = [push.name for push in config.endpoints]
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        fail(f"--endpoint: no enabled endpoint is named {name!r}{hint}", 2)
    return chosen


def catalogue_of(profile_dirs: list[Path] | None, config: Path) -> Catalogue:
    """Return all drivers: the built-in ones and the site's own.

    The site's own profiles are in `profile_dirs`; without `profile_dirs`, in the directories that the configuration
    names. A path in `profile_dirs` that is not a directory is a usage error.
    """
    from drivers.catalogue import Catalogue

    for directory in profile_dirs or ():
        if not directory.is_dir():
            what = "is not a directory" if directory.exists() else "does not exist"
            fail(f"--profile-dir: {directory} {what}", 2)
    return Catalogue(tuple(profile_dirs) if profile_dirs else _configured_dirs(config))


def _configured_dirs(config: Path) -> tuple[Path, ...]:
    """Return `profile_dirs` of the configuration.

    If `profile_dirs` cannot be read, the result depends on the file:

    - DEFAULT_CONFIG: return the default of `profile_dirs`.
    - Another file, which the person gave: end the command with EX_CONFIG.
    """
    from agent.config import ConfigError, DriversConfig, load_profile_dirs

    try:
        return load_profile_dirs(config)
    except ConfigError as error:
        if config == DEFAULT_CONFIG:
            return DriversConfig().profile_dirs
        fail(error.lines, EX_CONFIG)


def no_such_driver(name: str, catalogue: Catalogue) -> NoReturn:
    """Print that no driver has this name. Propose similar names. End the command with status 1."""
    from agent.config import errors

    fail(errors.no_such_driver(name, catalogue))
