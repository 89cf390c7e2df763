"""The commands for delivery: `push --once` and `outbox`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.common import DEFAULT, ConfigOption, OwnConfig, complain, fail, load_site, say

if TYPE_CHECKING:
    from agent.commissioning.outbox_admin import Contents
    from agent.config import Config
    from agent.site import Site

outbox_app = typer.Typer(
    help="Shows waiting messages and dead letters.", invoke_without_command=True, rich_markup_mode=None
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of dead letters, as `outbox` lists.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def push(
    config: ConfigOption = DEFAULT,
    once: Annotated[bool, typer.Option("--once", help="Push once, now. `run` pushes continuously.")] = False,
) -> None:
    """Polls every device, pushes once without the queue, and prints the result."""
    import asyncio

    if not once:
        fail("--once is missing: `push --once` pushes once, `run` pushes continuously", 2)
    settings, site = load_site(config)
    if not asyncio.run(_push(settings, site)):
        raise typer.Exit(1)


async def _push(settings: Config, site: Site) -> bool:
    from agent.commissioning.push_once import push_each
    from agent.commissioning.read_once import read_site
    from agent.commissioning.troubleshooting import told
    from agent.delivery import USER_AGENT
    from agent.runtime import SystemClock, logging_setup

    logging_setup.configure("error", settings.log.format)
    result = await read_site(settings, site)
    for device, error in result.failed:
        complain(told(device.name, device.address, error))
    delivered = True
    async for verdict in push_each(settings.push, result.bodies, SystemClock(), os.environ, USER_AGENT):
        say(verdict.line, err=not verdict.delivered)
        delivered = verdict.delivered
    return delivered


@outbox_app.callback()
def outbox(
    context: typer.Context,
    config: ConfigOption = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the bodies of dead letters.")] = False,
) -> None:
    """Shows waiting messages and dead letters."""
    from agent.commissioning import outbox_admin as command

    context.obj = config
    if context.invoked_subcommand is not None:
        return
    try:
        found = command.contents(_queue(context, None))
    except command.CommandError as error:
        fail(str(error))
    if as_json or not sys.stdout.isatty():
        typer.echo(command.as_json(found))
    else:
        _show(found)


def _queue(context: typer.Context, config: Path | None) -> Path:
    """Return the path of the queue. `config` is the option after the subcommand; None: the option before it."""
    settings, _ = load_site(config or context.obj)
    return settings.outbox.path


def _show(found: Contents) -> None:
    from agent.commissioning.describe import table
    from agent.commissioning.outbox_admin import date

    since = f", the oldest from {date(found.oldest)}" if found.oldest is not None else ""
    clock = f", {found.undated} of them until the clock is set" if found.undated else ""
    say(f"{found.waiting} waiting{clock}{since}; {len(found.dead_letters)} dead letters")
    if found.dead_letters:
        rows = [(r.id, date(r.created), str(r.attempts), r.parked or "") for r in found.dead_letters]
        table("Dead letters", ("id", "created", "attempts", "reason"), rows)


@outbox_app.command()
def retry(context: typer.Context, ids: Ids = None, every: All = False, config: OwnConfig = None) -> None:
    """Puts dead letters back into the queue, so that they are sent again."""
    from agent.commissioning import outbox_admin as command

    if every == bool(ids):
        fail("give the ids of dead letters, or --all", 2)
    try:
        count = command.retry(_queue(context, config), ids or [])
    except command.CommandError as error:
        fail(str(error))
    say(f"{count} will be sent again")


@outbox_app.command()
def drop(
    context: typer.Context,
    ids: Ids = None,
    every: All = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="All waiting messages, not dead letters.")] = False,
    config: OwnConfig = None,
) -> None:
    """Deletes dead letters or all waiting messages. This cannot be undone."""
    from agent.commissioning import outbox_admin as command

    if [bool(ids), every, waiting].count(True) != 1:
        fail("give the ids of dead letters, or --all, or --waiting", 2)
    try:
        count = command.drop(_queue(context, config), ids or [], waiting=waiting)
    except command.CommandError as error:
        fail(str(error))
    say(f"{count} dropped")
