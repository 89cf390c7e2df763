"""The commands for drivers: `drivers`, `drivers show`, `drivers check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent import DEFAULT_CONFIG
from agent.cli import completion
from agent.cli.common import (
    EX_CONFIG,
    ConfigOption,
    OwnConfig,
    ProfileDirs,
    catalogue_of,
    complain,
    fail,
    no_such_driver,
    say,
)
from agent.cli.full_help import FullHelp

drivers_app = typer.Typer(
    cls=FullHelp,
    help="Lists the built-in drivers and the site's own.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@drivers_app.callback()
def drivers(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    profile_dir: ProfileDirs = None,
    search: Annotated[
        str,
        typer.Option(help="Only drivers with these words in name, manufacturer, models or description, in any order."),
    ] = "",
) -> None:
    """Lists the built-in drivers and the site's own."""
    from agent.commissioning.driver_list import print_drivers

    context.obj = catalogue = catalogue_of(profile_dir, config)
    if context.invoked_subcommand is None and (mistakes := print_drivers(catalogue, search)):
        fail(mistakes, 1 if search else EX_CONFIG)


@drivers_app.command("show")
def drivers_show(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(help="The name of a driver, as `drivers` lists it.", autocompletion=completion.drivers),
    ],
    config: OwnConfig = None,
) -> None:
    """Shows one driver: the points of its profile, their registers, and a [[device]] table to paste."""
    from agent.commissioning.driver_list import print_profile
    from drivers.errors import ProfileError

    catalogue = catalogue_of(None, config) if config is not None else context.obj
    try:
        print_profile(catalogue, name)
    except KeyError:
        no_such_driver(name, catalogue)
    except ProfileError as error:
        fail(str(error), EX_CONFIG)


@drivers_app.command("check")
def drivers_check(
    file: Annotated[Path, typer.Argument(help="The TOML file of a profile.")],
    against: Annotated[Path | None, typer.Option(help="A dump. Shows the values that the profile reads.")] = None,
) -> None:
    """Validates a profile. With a dump, shows the values that the profile reads from it."""
    from agent.commissioning import profile_check
    from drivers.dump import DumpError, load
    from drivers.errors import ProfileError
    from drivers.profile import load as load_profile

    try:
        profile = load_profile(file)
        words = load(against) if against else None
    except ProfileError as error:
        fail(str(error), EX_CONFIG)
    except DumpError as error:
        fail(str(error))
    for line in profile_check.advice(profile):
        complain(f"{file}: {line}")
    if words is None:
        say(f"{file}: ok, {profile_check.summary(profile)}")
        return
    wrong = profile_check.show(profile, words)
    if wrong:
        fail(f"{file}: {wrong}")
