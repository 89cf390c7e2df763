"""The commands; thin. Each imports what it needs when it runs, so that the daemon carries none of the tools.

Exit status: 0 done, 1 something failed, 2 usage, 78 configuration (EX_CONFIG, which the service does not restart).
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import __version__
from agent.cli import commissioning, delivery, drivers
from agent.cli.common import DEFAULT, EX_CONFIG, ConfigOption, NodesOption, complain, fail, load_site, narrowed, say

if TYPE_CHECKING:
    from agent.config import LogConfig

app = typer.Typer(
    name="telemetry-agent",
    help="Polls the Modbus devices of an energy site and pushes their telemetry to an integrator's endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(commissioning.scan)
app.command()(commissioning.dump)
app.add_typer(drivers.drivers_app, name="drivers")
app.command()(delivery.push)
app.add_typer(delivery.outbox_app, name="outbox")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"telemetry-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigOption = DEFAULT,
    log_format: Annotated[str, typer.Option(help="auto, console or json; overrides the configuration.")] = "",
) -> None:
    """The daemon, in the foreground."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload that comes before there is anything to reload
    from agent.runtime import logging_setup
    from agent.security import warn_if_open
    from agent.service import Daemon, NotAloneError, alone, supervisor

    settings, site = load_site(config)
    if log_format not in ("", "auto", "console", "json"):
        fail(f"--log-format: must be auto, console or json (found {log_format!r})", 2)

    def set_log(table: LogConfig) -> None:
        logging_setup.configure(table.level, log_format or table.format)  # type: ignore[arg-type]  # just checked

    set_log(settings.log)
    if settings.holds_secrets:
        warn_if_open(config)
    faulthandler.enable()  # the watchdog's SIGABRT says where it hung
    try:
        with alone(settings.outbox.path.parent):
            supervisor.run(Daemon(config, settings, site, os.environ, set_log).run)
    except NotAloneError as error:
        fail(str(error))


@app.command()
def check(
    config: ConfigOption = DEFAULT,
    online: Annotated[
        bool,
        typer.Option(
            help="Also reach every device and the endpoint; nothing is sent. Stop the daemon first: it holds serial "
            "ports, and gateways that serve one client alone."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; implies --online.")] = False,
    node: NodesOption = None,
) -> None:
    """Validates the configuration and says what would be read."""
    from agent.commissioning.config_review import advice
    from agent.commissioning.describe import describe

    settings, site = load_site(config)
    if not as_json:
        for line in describe(settings, site):
            say(line)
        for doubt in advice(settings, config, os.environ):
            say(f"warning: {doubt}")
        say(f"{config}: ok")
    if online or as_json or node:
        commissioning.check_online(settings, narrowed(site, node), as_json)


@app.command()
def read(
    config: ConfigOption = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly the bodies that would be pushed.")] = False,
    node: NodesOption = None,
) -> None:
    """Polls every device once and shows the values. Stop the daemon first, as for check --online."""
    import asyncio

    from agent.commissioning.read_once import read_site
    from agent.commissioning.troubleshooting import told
    from agent.runtime import logging_setup

    if as_json and node:
        fail("--node goes with the table; what is pushed is of all nodes", 2)
    settings, site = load_site(config)
    logging_setup.configure("error", settings.log.format)
    result = asyncio.run(read_site(settings, narrowed(site, node)))
    if as_json:
        for body in result.bodies:
            typer.echo(body)
    else:
        from agent.commissioning.describe import print_readings

        print_readings(result)
    for device, scan in result.scans:
        for refused in dict.fromkeys(map(str, scan.errors)):
            complain(f"{device.name} ({device.address}): in part only: {refused}")
    for device, error in result.failed:
        complain(told(device.name, device.address, error))
    if result.failed:
        raise typer.Exit(1)


@app.command()
def status(
    config: ConfigOption = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; the default when piped.")] = False,
) -> None:
    """The running daemon: devices, last pushes, backlog. Needs [status]."""
    from agent.cli.status_view import NoAnswerError, ask, show
    from agent.config import ConfigError, load_status

    try:
        listener = load_status(config)
    except ConfigError as error:
        fail(error.lines, EX_CONFIG)
    if listener is None:
        fail(f'{config}: status: missing; add [status] with listen = "127.0.0.1:9464" and reload the daemon')
    try:
        show(ask(listener), as_json=as_json or not sys.stdout.isatty())
    except NoAnswerError as error:
        fail(str(error))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    base_port: Annotated[int, typer.Option(min=0, max=65_000, help="First port; 0 takes free ones.")] = 15020,
    seed: Annotated[int, typer.Option(help="Weather, loads and battery follow from it.")] = 1,
    speed: Annotated[float, typer.Option(min=0.001, help="Simulated seconds per second.")] = 1.0,
    dump: Annotated[list[Path] | None, typer.Option(help="Serve these dumps instead of a site.")] = None,
) -> None:
    """Serves the simulated devices of a site over Modbus TCP and prints the [[device]] tables to paste."""
    from agent.cli.demo import simulate as main
    from agent.service import supervisor

    try:
        if dump:
            commissioning.serve_dumps(dump, host, base_port)
        else:
            supervisor.run(lambda ready: main(host, base_port, seed, speed, ready))
    except OSError as error:
        # asyncio says more than helps.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        fail(f"cannot listen on {host}, ports from {base_port}: {reason}")


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
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8080,
    cert: Annotated[Path | None, typer.Option(help="Serve https with this certificate chain (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    signing_secret_file: Annotated[Path | None, typer.Option(help="Ask for a signature by one of these.")] = None,
    interval: Annotated[
        float | None, typer.Option(min=0.001, help="push.interval_s, to report gaps; else learned from what arrives.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep what is accepted in this file, a JSON object a line.")] = None,
) -> None:
    """A reference endpoint: checks token, site, signature, schema, duplicates and order; prints what arrives."""
    from agent.receiver.command import ReceiveOptions, SetupError
    from agent.receiver.command import receive as main
    from agent.runtime import logging_setup
    from agent.service import supervisor

    options = ReceiveOptions(host, port, site, token, token_file, signing_secret_file, interval, cert, key, save)
    logging_setup.configure("warning", "console")
    try:
        supervisor.run(lambda ready: main(options, ready))
    except SetupError as error:
        fail(str(error), 2)


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Weather, loads and battery follow from it.")] = 1,
    speed: Annotated[float, typer.Option(min=0.001, help="Simulated seconds per second.")] = 60.0,
    pushes: Annotated[int, typer.Option(min=0, help="End after so many valid messages; 0: at Ctrl-C.")] = 0,
) -> None:
    """A simulated site, a receiver and the agent between them; nothing to configure."""
    from agent.cli.demo import Demo

    outcome = Demo(seed=seed, speed=speed, pushes=pushes).run()
    sys.exit(outcome)
