"""The commands. Each one imports its modules when it runs, so that a command loads only what it needs.

Exit status: 0 success, 1 failure, 2 usage error, 78 configuration error (EX_CONFIG). After 78, systemd does not
restart the service.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent import DEFAULT_CONFIG, __version__
from agent.cli import commissioning, completion, delivery, drivers, files
from agent.cli import init as init_command
from agent.cli.common import (
    EX_CONFIG,
    ConfigOption,
    EndpointOption,
    chosen_endpoints,
    complain,
    fail,
    load_site,
    narrowed,
    say,
)
from agent.cli.full_help import FullHelp
from drivers.protocol import MAX_PORT

app = typer.Typer(
    name="telemetry-agent",
    cls=FullHelp,
    help="Polls the Modbus devices of an energy site and pushes their telemetry to an integrator's endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(init_command.init)
app.command()(commissioning.scan)
app.command()(commissioning.dump)
app.add_typer(drivers.drivers_app, name="drivers")
app.command()(delivery.push)
app.add_typer(delivery.outbox_app, name="outbox")
app.command()(files.files)
app.add_typer(files.config_app, name="config")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"telemetry-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    log_format: Annotated[str, typer.Option(help="auto, console or json; overrides the configuration.")] = "",
) -> None:
    """Runs the daemon in the foreground."""
    # `agent.__main__` runs the daemon without this function if it can read the arguments without typer.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # ignore a reload during the start
    from agent.config import Loading
    from agent.service import run as run_daemon

    raise typer.Exit(run_daemon(config, Loading(config), log_format))


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    online: Annotated[
        bool,
        typer.Option(
            help="Also poll every device and connect to the endpoints; sends no message. Stop the daemon first: it "
            "uses the serial ports and the gateways that accept only one client."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Implies --online.")] = False,
    node: Annotated[
        list[str] | None,
        typer.Option(
            "--node",
            help="Poll only the device of this node. Can be repeated. Implies --online.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 if there is a warning.")] = False,
) -> None:
    """Validates the configuration and prints what each node will report."""
    from agent.commissioning.describe import print_review
    from agent.commissioning.site_doubts import warnings

    settings, site = load_site(config)
    chosen = narrowed(site, node)
    doubts = list(warnings(settings, site, config, os.environ))
    if not as_json:
        print_review(settings, site, () if strict else doubts)
        if not (strict and doubts):
            say(f"{config}: ok")
    if strict:
        for doubt in doubts:
            complain(f"{config}: warning: {doubt}")
    if online or as_json or node:
        commissioning.check_online(settings, chosen, doubts, as_json)
    if strict and doubts:
        raise typer.Exit(1)


@app.command()
def read(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print exactly the bodies that a push would send.")] = False,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="Only the device of this node. Can be repeated.", autocompletion=completion.nodes),
    ] = None,
    endpoint: EndpointOption = None,
) -> None:
    """Polls every device once and shows the readings. Stop the daemon first, as for check --online."""
    import asyncio

    from agent.commissioning.read_once import read_site
    from agent.commissioning.troubleshooting import failure_line
    from agent.runtime import logging_setup

    if as_json and node:
        fail("--node cannot be used with --json: a push contains all nodes", 2)
    if endpoint is not None and not as_json:
        fail("--endpoint needs --json: the readings are the same for all endpoints", 2)
    settings, site = load_site(config)
    endpoints = chosen_endpoints(settings, endpoint)
    if as_json and len(endpoints) > 1:
        fail(f"there are several endpoints; choose one with --endpoint: {', '.join(e.name for e in endpoints)}", 2)
    logging_setup.configure("error", settings.log.format)
    result = asyncio.run(read_site(settings, narrowed(site, node)))
    if as_json:
        for body in result.bodies[endpoints[0].name]:
            typer.echo(body)
    else:
        from agent.commissioning.describe import print_readings

        print_readings(result)
    for device, scan in result.scans:
        for refused in dict.fromkeys(map(str, scan.errors)):
            complain(f"{device.name} ({device.address}): some values are missing: {refused}")
    for device, error in result.failed:
        complain(failure_line(device.name, device.address, error))
    if result.failed:
        raise typer.Exit(1)


@app.command()
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. This is the default when piped.")] = False,
) -> None:
    """Shows the running daemon: devices, last pushes, backlog. Needs [status]."""
    from agent.cli.status_view import NoAnswerError, ask, show
    from agent.config import DEFAULT_LISTEN, ConfigError, load_status

    try:
        listener = load_status(config)
    except ConfigError as error:
        fail(error.lines, EX_CONFIG)
    if listener is None:
        fail(f'{config}: status: missing; add [status] with listen = "{DEFAULT_LISTEN}" and reload the daemon')
    try:
        show(ask(listener), as_json=as_json or not sys.stdout.isatty())
    except NoAnswerError as error:
        fail(str(error))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    base_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_000, help="First port; 0: free ports. Default: 15020, or 1502 with --lab."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the weather, the loads and the battery.")] = 1,
    speed: Annotated[float, typer.Option(min=0.001, help="Simulated seconds per second.")] = 1.0,
    dump: Annotated[list[Path] | None, typer.Option(help="Serve these dumps instead of a site.")] = None,
    lab: Annotated[
        bool,
        typer.Option(
            "--lab",
            help="Serve a laboratory for `init` instead: meter, SunSpec inverter, hybrid, relay and charger, as units "
            "1 to 5 of one port, with constant powers.",
        ),
    ] = False,
) -> None:
    """Serves the devices of a simulated site over Modbus TCP and prints the [[device]] tables to paste."""
    from agent.cli import demo
    from agent.runtime import logging_setup
    from agent.service import supervisor

    if lab and dump:
        fail("give either --lab or --dump", 2)
    if base_port is None:
        base_port = 1502 if lab else 15020
    logging_setup.configure("warning", "console")
    try:
        if dump:
            commissioning.serve_dumps(dump, host, base_port)
        elif lab:
            supervisor.run(lambda ready: demo.serve_lab(host, base_port, ready))
        else:
            supervisor.run(lambda ready: demo.simulate(host, base_port, seed, speed, ready))
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC):  # standard output failed, not the listener
            raise
        # The text of an error of asyncio contains more than the reason.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        fail(f"cannot listen on {host}, ports from {base_port}: {reason}")


@app.command()
def receive(
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the bearer tokens to accept; all belong to one site.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TELEMETRY_RECEIVER_TOKEN", help="The tokens; other users can see them in `ps`."),
    ] = None,
    site: Annotated[str | None, typer.Option(help="The site of the token. Default: that of the first message.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=MAX_PORT, help="Port; 0: a free port.")] = 8080,
    cert: Annotated[Path | None, typer.Option(help="Serve https with this certificate chain (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="The key of the certificate (PEM).")] = None,
    signing_secret_file: Annotated[
        Path | None, typer.Option(help="Require a signature by one of these secrets.")
    ] = None,
    interval: Annotated[
        float | None, typer.Option(min=0.001, help="push.interval_s, to detect gaps. Default: learned from messages.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Store accepted messages in this file, one JSON per line.")] = None,
) -> None:
    """Runs a reference endpoint that checks token, site, signature, schema, duplicates and order, and prints
    messages."""
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
    seed: Annotated[int, typer.Option(help="Seed of the weather, the loads and the battery.")] = 1,
    speed: Annotated[float, typer.Option(min=0.001, help="Simulated seconds per second.")] = 60.0,
    pushes: Annotated[int, typer.Option(min=0, help="Stop after this number of valid messages; 0: at Ctrl-C.")] = 0,
) -> None:
    """Runs a simulated site, the agent and a receiver together, without a configuration."""
    from agent.cli.demo import Demo

    outcome = Demo(seed=seed, speed=speed, pushes=pushes).run()
    sys.exit(outcome)
