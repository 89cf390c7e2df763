"""What the commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent.runtime import printable

if TYPE_CHECKING:
    from agent.config import Config
    from agent.site import Site
    from drivers.catalogue import Catalogue

EX_CONFIG = 78

# Not `readable`: that would make a file of root's a usage error, with which a service is started again for ever.
ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", readable=False, help="The configuration.")]
NodesOption = Annotated[
    list[str] | None, typer.Option("--node", help="Only the device of this node; several times for several.")
]
OwnConfig = Annotated[Path | None, typer.Option("--config", metavar="FILE", readable=False, help="The configuration.")]
"""Of a subcommand, in place of the one before it."""
ProfileDirs = Annotated[list[Path] | None, typer.Option("--profile-dir", help="A directory of local profiles.")]
DEFAULT = Path("/etc/telemetry-agent/config.toml")


_MOST_MISTAKES = 100
_MOST_OUTPUT = 2000
"""Characters of a line on standard output: names of many devices may be in it."""


def say(line: str, *, err: bool = False) -> None:
    """One line of output."""
    typer.echo(printable(line, _MOST_OUTPUT), err=err)


def complain(line: str) -> None:
    """One line on standard error."""
    typer.echo(printable(f"telemetry-agent: {line}"), err=True)


def fail(mistakes: str | Sequence[str], status: int = 1) -> NoReturn:
    """End with one line per mistake on standard error, the first hundred of them."""
    lines = [mistakes] if isinstance(mistakes, str) else mistakes
    for line in lines[:_MOST_MISTAKES]:
        complain(line)
    if len(lines) > _MOST_MISTAKES:
        complain(f"and {len(lines) - _MOST_MISTAKES} more")
    raise typer.Exit(status)


def narrowed(site: Site, nodes: list[str] | None) -> Site:
    """The devices of these nodes, or all; ends as a usage error for a node that is not there."""
    from agent.config import ConfigError
    from agent.site import only

    try:
        return only(site, nodes or ())
    except ConfigError as error:
        fail(error.lines, 2)


def load_site(path: Path) -> tuple[Config, Site]:
    """The configuration and what it describes; ends with EX_CONFIG and a line per mistake."""
    from agent.config import ConfigError, load
    from agent.site import build

    try:
        config = load(path)
        return config, build(config, str(path))
    except ConfigError as error:
        fail(error.lines, EX_CONFIG)


def catalogue_of(profile_dirs: list[Path] | None, config: Path) -> Catalogue:
    """All drivers: the built-in ones, and those of the directories or else of the configuration."""
    from drivers.catalogue import Catalogue

    for directory in profile_dirs or ():
        if not directory.is_dir():
            fail(f"--profile-dir: there is no directory {directory}", 2)
    return Catalogue(tuple(profile_dirs) if profile_dirs else _configured_dirs(config))


def _configured_dirs(config: Path) -> tuple[Path, ...]:
    """Where the site keeps its own profiles; before there is a configuration, where they are by default."""
    from agent.config import ConfigError, DriversConfig, load_profile_dirs

    try:
        return load_profile_dirs(config)
    except ConfigError as error:
        if config == DEFAULT:
            return DriversConfig().profile_dirs
        fail(error.lines, EX_CONFIG)


def no_such_driver(name: str, catalogue: Catalogue) -> NoReturn:
    """End as no driver has that name, with those that are like it."""
    from agent.config import errors

    fail(errors.no_such_driver(name, catalogue))
