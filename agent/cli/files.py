"""The commands `files`, `config example` and `config schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.common import fail, given_path, say
from agent.cli.full_help import FullHelp

config_app = typer.Typer(
    cls=FullHelp,
    help="Prints an example of the configuration, or its JSON Schema.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def files(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIRECTORY", parser=given_path, help="The directory to create and write to.", show_default=False
        ),
    ],
) -> None:
    """Writes the systemd unit, the install script, the example configuration, the JSON Schemas, the alert rules, the
    dashboard and the other files of this release."""
    from agent.commissioning import release_files

    try:
        for path in release_files.write(directory):
            say(str(path))
    except FileExistsError as error:
        fail(f"{error.filename}: exists already; choose another directory")
    except OSError as error:
        fail(f"{error.filename or directory}: cannot be written: {error.strerror}")


@config_app.command()
def example() -> None:
    """Prints config.example.toml, which describes every key."""
    from agent.commissioning import release_files

    typer.echo(release_files.example(), nl=False)


@config_app.command()
def schema() -> None:
    """Prints the JSON Schema of the configuration, for editors that check TOML."""
    from agent.commissioning import config_reference

    typer.echo(json.dumps(config_reference.schema(), indent=2))
