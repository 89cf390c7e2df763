"""What the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from agent.config import Config
    from agent.site import Site

EX_CONFIG = 78

# Not `readable`: that would make a file of root's a usage error, with which a service is started again for ever.
ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", readable=False, help="The configuration.")]
NodesOption = Annotated[
    list[str] | None, typer.Option("--node", help="Only the device of this node; several times for several.")
]
OwnConfig = Annotated[Path | None, typer.Option("--config", metavar="FILE", readable=False, help="The configuration.")]
"""Of a subcommand, in place of the one before it."""
DEFAULT = Path("/etc/telemetry-agent/config.toml")


def fail(message: str, status: int = 1) -> NoReturn:
    """End with one line per mistake on standard error."""
    for line in message.splitlines():
        typer.echo(f"telemetry-agent: {line}", err=True)
    raise typer.Exit(status)


def narrowed(site: Site, nodes: list[str] | None) -> Site:
    """The devices of these nodes, or all; ends as a usage error for a node that is not there."""
    from agent.config import ConfigError
    from agent.site import only

    try:
        return only(site, nodes or ())
    except ConfigError as error:
        fail(str(error), 2)


def load_site(path: Path) -> tuple[Config, Site]:
    """The configuration and what it describes; ends with EX_CONFIG and a line per mistake."""
    from agent.config import ConfigError, load
    from agent.site import build

    try:
        config = load(path)
        return config, build(config, str(path))
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
