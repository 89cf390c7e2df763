"""The commands `scan` and `dump`, and what `check --online` and `simulate --dump` do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import DEFAULT_CONFIG
from agent.cli import completion
from agent.cli.common import (
    EX_CONFIG,
    ConfigOption,
    ProfileDirs,
    catalogue_of,
    complain,
    fail,
    load_site,
    no_such_driver,
)

if TYPE_CHECKING:
    from agent.commissioning.dump import Address, Result, Subject
    from agent.config import Config
    from agent.site import Site
    from drivers.catalogue import Catalogue

TransportOption = Annotated[str, typer.Option(help="Transport to a host: tcp, rtu_over_tcp or ascii_over_tcp.")]


def scan(
    targets: Annotated[
        list[str], typer.Argument(metavar="WHERE", help="HOST, 192.168.1.0/24, 192.168.1.20-40 or /dev/ttyUSB0.")
    ],
    port: Annotated[
        list[int] | None, typer.Option(help="Port to scan, instead of 502 and 1502. Can be repeated.")
    ] = None,
    units: Annotated[str, typer.Option(help="Unit ids, such as 1-247. Default: the common unit ids.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a reply.")] = 1.0,
    baudrate: Annotated[
        list[int] | None, typer.Option(help="Baud rate of a serial port. Default: common rates.")
    ] = None,
    parity: Annotated[list[str] | None, typer.Option(help="Parity of a serial port: N, E or O.")] = None,
    transport: TransportOption = "tcp",
    config: ConfigOption = DEFAULT_CONFIG,
    profile_dir: ProfileDirs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Finds Modbus devices, identifies them and prints [[device]] tables to paste. Ctrl-C prints the results so far.

    It only reads. Stop the daemon first: some devices accept only one client at a time.
    """
    from agent.commissioning import config_snippets, scan
    from agent.runtime import logging_setup
    from drivers.scan import TargetError

    profiles, mistakes = catalogue_of(profile_dir, config).profiles()
    try:
        wanted = scan.request(targets, port, units, timeout, baudrate, parity, transport, profiles)
    except TargetError as error:
        fail(str(error), 2)
    for mistake in mistakes:
        complain(f"profile not used: {mistake}")
    logging_setup.configure("error")
    scanner, complete = scan.scan(*wanted, profiles)
    places = scanner.places
    if as_json or places:
        typer.echo(config_snippets.as_json(places) if as_json else config_snippets.device_tables(places))
    if places and not as_json and (which := scan.asked_units(*wanted)):
        typer.echo(which)
    if not complete:
        fail("interrupted; the results are not complete")
    if not any(place.units for place in places):
        fail(scan.closed_reasons(scanner))


def dump(
    context: typer.Context,
    where: Annotated[str, typer.Argument(help="HOST or /dev/ttyUSB0; not with --node.")] = "",
    node: Annotated[
        str,
        typer.Option(help="Dump the device of this node of the configuration.", autocompletion=completion.nodes),
    ] = "",
    driver: Annotated[
        str,
        typer.Option(
            help="Read the registers of this driver. Default: of all profiles.", autocompletion=completion.drivers
        ),
    ] = "",
    ranges: Annotated[
        list[str] | None, typer.Option("--range", help="Read exactly these registers, such as holding:40000-40199.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Default: the port of the driver, or 502.")] = None,
    unit: Annotated[int | None, typer.Option(help="Default: the unit id of the driver, or 1.")] = None,
    timeout: Annotated[float, typer.Option(min=0.01, max=60, help="Seconds to wait for a reply.")] = 1.0,
    baudrate: Annotated[int, typer.Option(help="Baud rate of a serial port.")] = 9600,
    parity: Annotated[str, typer.Option(help="Parity of a serial port: N, E or O.")] = "N",
    transport: TransportOption = "tcp",
    keep_text: Annotated[bool, typer.Option(help="Keep serial numbers and names in the dump.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    profile_dir: ProfileDirs = None,
) -> None:
    """Prints the raw registers of one device as JSON, without serial numbers, for a report or a new profile.

    It only reads. Stop the daemon first: some devices accept only one client at a time.
    """
    import asyncio

    from agent.commissioning import dump
    from agent.commissioning.progress import counter
    from agent.runtime import SystemClock, logging_setup
    from drivers.dump import parse_range

    try:
        spans = [parse_range(text) for text in ranges or ()]
    except ValueError as error:
        fail(f"--range: {error}", 2)
    if bool(where) == bool(node):
        fail("give either HOST (or a serial port) or --node", 2)
    catalogue = catalogue_of(profile_dir, config)
    if node:
        _no_option_of_host(context)
        subject = _subject_of(config, node)
    else:
        options = dump.Address(where, port, unit, timeout, baudrate, parity, transport)
        subject = _subject_at(options, driver, catalogue)
    profiles, _ = catalogue.profiles()
    logging_setup.configure("error")
    with counter("requests") as step:
        now = SystemClock().monotonic
        result = asyncio.run(dump.run(subject, spans, profiles, now=now, keep_text=keep_text, step=step))
    _print_dump(result, subject.address)


def _no_option_of_host(context: typer.Context) -> None:
    """End the command if an option was given whose value the configuration decides."""
    for name in ("driver", "port", "unit", "timeout", "baudrate", "parity", "transport"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"--{name} needs HOST; with --node it comes from the configuration", 2)


def _print_dump(result: Result, address: str) -> None:
    """Print the dump, and on standard error the number of registers to check for private data.

    If the dump is not complete or has no registers, print the reason instead of the number, and end with exit status 1.
    If an error ended the dump before it had a register, the dump is not printed.
    """
    from agent.commissioning.troubleshooting import remedy
    from drivers.dump import to_json

    if result.dump.count or not result.error:
        typer.echo(to_json(result.dump), nl=False)
    if result.error:
        hint = remedy(result.error, address)
        fail(f"{result.error}" + ("; the dump is not complete" if result.dump.count else f"; {hint}" if hint else ""))
    if not result.dump.count:
        fail("the device answers, but it refuses all of these registers; give other registers with --range")
    complain(f"{result.dump.count} registers; check them for private data before you publish them")


def _subject_of(config: Path, node: str) -> Subject:
    from agent.commissioning import dump
    from agent.config import ConfigError

    _, site = load_site(config)
    try:
        return dump.by_node(site, node)
    except ConfigError as error:
        fail(error.lines, 2)


def _subject_at(address: Address, driver: str, catalogue: Catalogue) -> Subject:
    from agent.commissioning import dump
    from drivers.errors import ProfileError

    try:
        return dump.by_address(address, driver, catalogue)
    except KeyError:
        no_such_driver(driver, catalogue)
    except ValueError as error:
        fail(str(error), 2)
    except ProfileError as error:
        fail(str(error), EX_CONFIG)


def check_online(config: Config, site: Site, warnings: Sequence[str], as_json: bool) -> None:
    """Poll every device of `site`, connect to every enabled endpoint, and print the results.

    `warnings` appear only in the JSON. If something fails, print one line for each failure on standard error and end
    with exit status 1.
    """
    import asyncio

    from agent.commissioning import site_check, site_check_view
    from agent.runtime import SystemClock, logging_setup
    from drivers.catalogue import Catalogue

    logging_setup.configure("error", config.log.format)
    profiles, _ = Catalogue(config.drivers.profile_dirs).profiles()
    result = asyncio.run(site_check.check_site(config, site, profiles, SystemClock()))
    if as_json:
        typer.echo(site_check_view.as_json(result, warnings))
    else:
        site_check_view.show(result)
        site_check_view.show_balance(result)
    if problems := list(site_check_view.problems(result)):
        fail(problems)


def serve_dumps(files: list[Path], host: str, base_port: int) -> None:
    """Serve dumps as Modbus devices until SIGINT or SIGTERM. If a dump cannot be read, end with exit status 1."""
    from agent.commissioning.dump_server import serve
    from agent.service import supervisor
    from drivers.dump import DumpError, load

    try:
        dumps = [(file.name, load(file)) for file in files]
    except DumpError as error:
        fail(str(error))
    supervisor.run(lambda ready: serve(dumps, host, base_port, ready))
