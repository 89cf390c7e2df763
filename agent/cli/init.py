"""`init`: asks for the settings of a site, finds its devices, writes and checks the configuration, offers a push."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import DEFAULT_CONFIG
from agent.cli.common import (
    EX_CONFIG,
    ConfigOption,
    ProfileDirs,
    catalogue_of,
    complain,
    fail,
    load_site,
    say,
)

if TYPE_CHECKING:
    from agent.cli.questions import Questions
    from agent.cli.site_questions import SiteOptions
    from agent.commissioning.new_site import Existing
    from agent.commissioning.scan import Request
    from drivers.catalogue import Catalogue
    from drivers.profile import Profile
    from drivers.scan import SearchLocation

_NO_SCAN = ("no", "none", "-")
"""Answers that mean "no scan"."""


@dataclass(frozen=True, slots=True)
class _ScanOptions:
    """The options for the scan."""

    targets: list[str] | None
    none: bool
    """Whether --no-scan is given."""
    ports: list[int] | None
    units: str
    profile_dirs: list[Path] | None


def init(
    config: ConfigOption = DEFAULT_CONFIG,
    site_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The id of the site; the integrator gives it.")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="The URL of the integrator's endpoint.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file of the token. Default: `token` beside the configuration."),
    ] = None,
    interval: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Seconds between two messages. Default: 60.")
    ] = None,
    allow_insecure_http: Annotated[
        bool, typer.Option("--allow-insecure-http", help="Accept an http URL; the token is sent unencrypted.")
    ] = False,
    scan: Annotated[
        list[str] | None,
        typer.Option(metavar="WHERE", help="Scan this host, network, range or serial port. Can be repeated."),
    ] = None,
    no_scan: Annotated[bool, typer.Option("--no-scan", help="Do not scan.")] = False,
    port: Annotated[
        list[int] | None, typer.Option(metavar="PORT", help="Port to scan, instead of 502 and 1502.")
    ] = None,
    units: Annotated[str, typer.Option(metavar="IDS", help="Unit ids to scan, such as 1-247.")] = "",
    profile_dir: ProfileDirs = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: use the options and the defaults.")] = False,
    push: Annotated[bool, typer.Option("--push", help="With --yes: send one real message.")] = False,
) -> None:
    """Asks for the settings of a site, finds its devices, writes the configuration and checks it.

    If a configuration exists, only new devices are added to it; an empty file and the unchanged example are replaced.
    Until the file is written, Ctrl-C ends the command without a change.
    """
    from agent.cli.questions import Questions
    from agent.cli.site_questions import SiteOptions
    from agent.runtime import logging_setup

    config = config.absolute()
    logging_setup.configure("error")
    before = _existing_configuration(config)
    ask = Questions(yes=yes)
    options = SiteOptions(site_id, url, token_file, interval, allow_insecure_http)
    scanning = _ScanOptions(scan, no_scan, port, units, profile_dir)
    if before is not None and options.given:
        fail(f"{config} exists, and init only adds devices to it; edit the file to change the site", 2)
    _require_valid(scanning)
    catalogue = _catalogue(scanning, config, before)
    ready = (
        _write_new(ask, config, options, scanning, catalogue)
        if before is None
        else _add_devices(ask, config, before, scanning, catalogue)
    )
    if ready:
        _commission(ask, config, catalogue, push=push)


def _existing_configuration(config: Path) -> Existing | None:
    """Return the existing configuration; None if there is none, or if it is empty or the unchanged example.

    End the command if the configuration cannot be read, has only comments or has a mistake. Also end it if the
    directory of the configuration does not exist or cannot be written to.
    """
    from agent.commissioning.new_site import existing
    from agent.config import ConfigError

    if not config.parent.is_dir():
        fail(f"{config}: the directory {config.parent} does not exist; create it first")
    if not os.access(config.parent, os.W_OK):
        fail(f"{config}: this user cannot write to {config.parent}; run this as root, or give --config FILE")
    try:
        return existing(config)
    except ConfigError as error:
        fail(error.lines, EX_CONFIG)


def _catalogue(scanning: _ScanOptions, config: Path, before: Existing | None) -> Catalogue:
    """Return the drivers that the configuration will have."""
    from agent.config import DriversConfig
    from drivers.catalogue import Catalogue

    if before is None and not scanning.profile_dirs:
        return Catalogue(DriversConfig().profile_dirs)
    return catalogue_of(scanning.profile_dirs, config)


def _write_new(
    ask: Questions, config: Path, options: SiteOptions, scanning: _ScanOptions, catalogue: Catalogue
) -> bool:
    """Ask for everything. Then write the configuration, and the token if its file has none yet.

    Return whether at least one device in it is enabled.
    """
    from agent.cli import site_questions
    from agent.commissioning import new_site

    if ask.asks:
        say(f"{config} is written at the end. Enter accepts the value in brackets.")
    answers, token = site_questions.answers(ask, options, config)
    answers = replace(answers, profile_dirs=tuple(folder.absolute() for folder in scanning.profile_dirs or ()))
    tables, used = _devices(ask, scanning, catalogue, None)
    try:
        new_site.write(config, new_site.config_text(answers, tables, config), answers.token_file, token)
    except OSError as error:
        fail(f"{error.filename or config}: {error.strerror}; nothing was written")
    if token is not None:
        say(f"The token is in {answers.token_file}.")
    say(f"The configuration is in {config}.")
    if not used:
        say(
            f"No device is used yet: run `telemetry-agent init --config {shlex.quote(str(config))}` again to scan,"
            " or write [[device]] tables into the file."
        )
    return used


def _add_devices(ask: Questions, config: Path, before: Existing, scanning: _ScanOptions, catalogue: Catalogue) -> bool:
    """Add devices to a configuration. Return whether at least one was added."""
    from agent.commissioning import new_files, new_site
    from agent.config import ConfigError

    say(f"{config} exists, with {len(before.units)} devices. New devices are added at its end.")
    tables, used = _devices(ask, scanning, catalogue, before)
    if not used:
        say(f"No new device to add; {config} is unchanged.")
        return False
    if not ask.agree(f"Add these devices to {config}?", default=True):
        say(f"{config} is unchanged.")
        return False
    try:
        new_files.replace(config, before.text, new_site.with_devices(before, tables, config))
    except ConfigError as error:
        fail([*error.lines, f"{config} is unchanged"], EX_CONFIG)
    except OSError as error:
        fail(f"{error.filename or config}: {error.strerror}; no device was added")
    say(f"The devices are in {config}. `systemctl reload telemetry-agent` applies them to a running service.")
    return True


def _devices(ask: Questions, scanning: _ScanOptions, catalogue: Catalogue, before: Existing | None) -> tuple[str, bool]:
    """Scan, and ask about the devices.

    Return their tables as text, and whether at least one device is enabled.
    """
    from agent.cli.device_questions import DeviceQuestions
    from agent.commissioning import config_snippets
    from agent.commissioning.proposals import Names, propose, scan_notes, without_configured

    places = _scanned(ask, scanning, catalogue)
    for line in scan_notes(places, before.units if before is not None else ()):
        say(line)
    if before is not None:
        places = without_configured(places, before.units)
    names, has_grid = (Names(before.names), before.has_grid) if before is not None else (Names(), False)
    found = propose(places, names, has_grid=has_grid)
    if found:
        DeviceQuestions(ask, catalogue, names, found, has_grid=has_grid).settle()
    used = any(one.enabled for each in found for one in each.proposals)
    return config_snippets.tables(places, found, before.connections if before is not None else None), used


def _scanned(ask: Questions, scanning: _ScanOptions, catalogue: Catalogue) -> list[SearchLocation]:
    """Return the hosts and serial ports that a scan finds; empty without a scan.

    Ctrl-C ends the command.
    """
    from agent.commissioning import scan

    targets = _targets(ask, scanning)
    if not targets:
        return []
    profiles, mistakes = catalogue.profiles()
    for mistake in mistakes:
        complain(f"profile not used: {mistake}")
    scanner, complete = scan.scan(*_request(scanning, targets, profiles), profiles)
    if not complete:
        fail("interrupted; nothing was written")
    if not any(place.units for place in scanner.places):
        for reason in scan.closed_reasons(scanner):
            complain(reason)
    return scanner.places


def _request(scanning: _ScanOptions, targets: list[str], profiles: Sequence[Profile]) -> Request:
    """Return what to scan. Raises TargetError."""
    from agent.commissioning.scan import request

    return request(targets, scanning.ports, scanning.units, 1.0, None, None, "tcp", profiles)


def _require_valid(scanning: _ScanOptions) -> None:
    """End the command if an option of the scan is wrong."""
    from drivers.scan import TargetError

    try:
        _request(scanning, [], ())
    except TargetError as error:
        fail(str(error), 2)
    try:
        _request(scanning, scanning.targets or [], ())
    except TargetError as error:
        fail(f"--scan: {error}", 2)


def _targets(ask: Questions, scanning: _ScanOptions) -> list[str]:
    """Return the networks, hosts and serial ports to scan: those of the options, or the answer to a question."""
    from agent.commissioning import local_places
    from drivers.scan import TargetError

    def rule(text: str) -> str | None:
        try:
            if text.lower() not in _NO_SCAN:
                _request(scanning, text.split(), ())
        except TargetError as error:
            return str(error)
        return None

    if scanning.none or scanning.targets:
        return [] if scanning.none else scanning.targets or []
    question = 'Scan these networks, hosts or serial ports ("no": no scan)'
    answer = ask.text(question, "--scan or --no-scan", " ".join(local_places.places()) or None, rule)
    return [] if answer.lower() in _NO_SCAN else answer.split()


def _commission(ask: Questions, config: Path, catalogue: Catalogue, *, push: bool) -> None:
    """Check devices and endpoints, show the power balance and the first messages, and offer one real push.

    With --yes, `push` decides. If there is a problem, or the push is not delivered, end with status 1.
    """
    from agent.commissioning import read_once, site_check, site_check_view
    from agent.runtime import SystemClock

    settings, site = load_site(config)
    result = asyncio.run(site_check.check_site(settings, site, catalogue.profiles()[0], SystemClock()))
    site_check_view.show(result)
    site_check_view.show_balance(result)
    problems = list(site_check_view.problems(result))
    for problem in problems:
        complain(problem)
    settings, site = load_site(config)  # load again: the links of the check belong to its event loop
    reading = asyncio.run(read_once.read_site(settings, site))
    for endpoint in settings.endpoints:
        for body in reading.bodies[endpoint.name]:
            say(f"The first message to {endpoint.shown_url}:")
            typer.echo(json.dumps(json.loads(body), indent=1))
    send = ask.agree("Send one real message now?", default=not problems, at_end=False) if ask.asks else push
    delivered = not send or _push_was_delivered(config)
    say(
        f"To start: telemetry-agent run --config {shlex.quote(str(config))}"
        if config != DEFAULT_CONFIG
        else "To start: systemctl enable --now telemetry-agent",
        wrap=False,
    )
    if problems or not delivered:
        raise typer.Exit(1)


def _push_was_delivered(config: Path) -> bool:
    from agent.cli.delivery import push_once

    settings, site = load_site(config)
    return asyncio.run(push_once(settings, site, list(settings.endpoints)))
