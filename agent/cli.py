"""The commands; thin. Each imports what it needs when it runs, so that the daemon carries none of the tools.

Exit status: 0 done, 1 something failed, 2 usage, 78 configuration (EX_CONFIG, which the service does not restart).
"""

from __future__ import annotations

import faulthandler
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent import __version__

if TYPE_CHECKING:
    from agent.config import Config, LogConfig
    from agent.site import Site
    from drivers.base import Catalogue

EX_CONFIG = 78

app = typer.Typer(
    name="telemetry-agent",
    help="Polls the Modbus devices of an energy site and pushes their telemetry to an integrator's endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
drivers_app = typer.Typer(help="Lists built-in and local drivers.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(drivers_app, name="drivers")

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The configuration.")]
ProfileDirs = Annotated[list[Path] | None, typer.Option("--profile-dir", help="A directory of local profiles.")]
DEFAULT = Path("/etc/telemetry-agent/config.toml")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"telemetry-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def fail(message: str, status: int = 1) -> NoReturn:
    """End with one line per mistake on standard error."""
    for line in message.splitlines():
        typer.echo(f"telemetry-agent: {line}", err=True)
    raise typer.Exit(status)


def _load(path: Path) -> tuple[Config, Site]:
    from agent.config import ConfigError, load
    from agent.site import build

    try:
        config = load(path)
        return config, build(config, str(path))
    except ConfigError as error:
        fail(str(error), EX_CONFIG)


def _catalogue(profile_dirs: list[Path] | None) -> Catalogue:
    from drivers.base import Catalogue

    return Catalogue(tuple(profile_dirs or (Path("/etc/telemetry-agent/profiles"),)))


@app.command()
def run(
    config: ConfigOption = DEFAULT,
    log_format: Annotated[str, typer.Option(help="auto, console or json; overrides the configuration.")] = "",
) -> None:
    """The daemon, in the foreground."""
    from agent import log, supervise
    from agent.daemon import Daemon

    settings, site = _load(config)
    if log_format not in ("", "auto", "console", "json"):
        fail(f"--log-format: must be auto, console or json (found {log_format!r})", 2)

    def set_log(table: LogConfig) -> None:
        log.configure(table.level, log_format or table.format)  # type: ignore[arg-type]  # just checked

    set_log(settings.log)
    faulthandler.enable()  # the watchdog's SIGABRT says where it hung
    supervise.run(Daemon(config, settings, site, os.environ, set_log).run)


@app.command()
def check(config: ConfigOption = DEFAULT) -> None:
    """Validates the configuration and says what would be read."""
    from agent.show import describe

    settings, site = _load(config)
    for line in describe(settings, site):
        typer.echo(line)
    typer.echo(f"{config}: ok")


@app.command()
def read(
    config: ConfigOption = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly the bodies that would be pushed.")] = False,
) -> None:
    """Polls every device once and shows the values."""
    import asyncio

    from agent import log
    from agent.once import read_site

    settings, site = _load(config)
    log.configure("error", settings.log.format)
    result = asyncio.run(read_site(settings, site))
    if as_json:
        for body in result.bodies:
            typer.echo(body)
    else:
        from agent.show import print_readings

        print_readings(result)
    for device, error in result.failed:
        typer.echo(f"telemetry-agent: {device.name} ({device.address}): {error}", err=True)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def scan(
    targets: Annotated[list[str], typer.Argument(help="HOST, 192.168.1.0/24, 192.168.1.20-40 or /dev/ttyUSB0.")],
    port: Annotated[list[int] | None, typer.Option(help="Instead of 502 and 1502; several times for several.")] = None,
    units: Annotated[str, typer.Option(help="Unit ids, such as 1-247; default: the usual ones.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a reply.")] = 1.0,
    baudrate: Annotated[list[int] | None, typer.Option(help="Of a serial line, instead of the usual ones.")] = None,
    parity: Annotated[list[str] | None, typer.Option(help="N, E or O; of a serial line.")] = None,
    profile_dir: ProfileDirs = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Finds Modbus devices, identifies them and prints [[device]] tables to paste; Ctrl-C ends it with what it has.

    It only reads. Stop the daemon first: some devices serve one client at a time.
    """
    from agent import commission, log, paste
    from drivers.scan_targets import TargetError

    log.configure("error")
    profiles, mistakes = commission.profiles_of(_catalogue(profile_dir))
    try:
        wanted = commission.request(targets, port, units, timeout, baudrate, parity, profiles)
    except TargetError as error:
        fail(str(error), 2)
    for mistake in mistakes:
        typer.echo(f"telemetry-agent: left out: {mistake}", err=True)
    places, complete = commission.scan(*wanted, profiles)
    typer.echo(paste.as_json(places) if as_json else paste.device_tables(places))
    if not complete:
        typer.echo("telemetry-agent: interrupted; this is what had been found", err=True)
    elif not any(place.units for place in places):
        typer.echo("telemetry-agent: no device found", err=True)
    if not complete or not any(place.units for place in places):
        raise typer.Exit(1)


@drivers_app.callback()
def drivers(
    context: typer.Context,
    profile_dir: ProfileDirs = None,
) -> None:
    """Lists built-in and local drivers."""
    from agent.show import print_drivers

    context.obj = catalogue = _catalogue(profile_dir)
    if context.invoked_subcommand is None:
        print_drivers(catalogue)


@drivers_app.command("show")
def drivers_show(context: typer.Context, name: str) -> None:
    """One profile: its points and where they stand."""
    from agent.show import print_profile
    from drivers.base import closest
    from drivers.errors import ProfileError

    try:
        print_profile(context.obj, name)
    except KeyError:
        guess = closest(name, context.obj.names())
        fail(f"no such driver {name!r}" + (f"; did you mean {guess!r}?" if guess else ""), 1)
    except ProfileError as error:
        fail(str(error), EX_CONFIG)


@drivers_app.command("check")
def drivers_check(file: Path) -> None:
    """Validates a profile file."""
    from drivers.errors import ProfileError
    from drivers.profile import load

    try:
        profile = load(file)
    except ProfileError as error:
        fail(str(error), EX_CONFIG)
    typer.echo(f"{file}: ok, {len(profile.points)} points")


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    base_port: Annotated[int, typer.Option(help="First port; 0 takes free ones.")] = 15020,
    seed: Annotated[int, typer.Option(help="Weather, loads and battery follow from it.")] = 1,
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 1.0,
) -> None:
    """Serves the simulated devices of a site over Modbus TCP and prints the [[device]] tables to paste."""
    from agent import supervise
    from agent.demo import simulate as main

    supervise.run(lambda ready: main(host, base_port, seed, speed, ready))


@app.command()
def receive(
    token_file: Annotated[
        Path | None, typer.Option(help="The bearer tokens to accept; all belong to one site.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="TELEMETRY_RECEIVER_TOKEN", help="The same; others can read it in `ps`.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="The token's site; else the first that it is used for.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    cert: Annotated[Path | None, typer.Option(help="Serve https with this certificate chain (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    signing_secret_file: Annotated[Path | None, typer.Option(help="Ask for a signature by one of these.")] = None,
    interval: Annotated[
        float | None, typer.Option(help="push.interval_s, to report gaps; else learned from what arrives.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep what is accepted in this file, a JSON object a line.")] = None,
) -> None:
    """A reference endpoint: checks token, site, signature, schema, duplicates and order; prints what arrives."""
    from agent import log, supervise
    from agent.receiver_command import ReceiveOptions, SetupError
    from agent.receiver_command import receive as main

    options = ReceiveOptions(host, port, site, token, token_file, signing_secret_file, interval, cert, key, save)
    log.configure("warning", "console")
    try:
        supervise.run(lambda ready: main(options, ready))
    except SetupError as error:
        fail(str(error), 2)


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Weather, loads and battery follow from it.")] = 1,
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 60.0,
    pushes: Annotated[int, typer.Option(help="End after so many valid messages; 0 goes on until Ctrl-C.")] = 0,
) -> None:
    """A simulated site, a receiver and the agent between them; nothing to configure."""
    from agent.demo import Demo

    outcome = Demo(seed=seed, speed=speed, pushes=pushes).run()
    sys.exit(outcome)
