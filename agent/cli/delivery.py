"""The commands for delivery: `push --once` and `outbox`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import DEFAULT_CONFIG
from agent.cli.common import (
    ConfigOption,
    EndpointOption,
    OwnConfig,
    chosen_endpoints,
    complain,
    fail,
    load_site,
    say,
)
from agent.cli.full_help import FullHelp

if TYPE_CHECKING:
    from agent.commissioning.outbox_admin import Contents, Queue
    from agent.config import Config, PushConfig
    from agent.site import Site

outbox_app = typer.Typer(
    cls=FullHelp, help="Shows waiting messages and dead letters.", invoke_without_command=True, rich_markup_mode=None
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of dead letters, as `outbox` lists them.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def push(
    config: ConfigOption = DEFAULT_CONFIG,
    once: Annotated[bool, typer.Option("--once", help="Push once, now. `run` pushes continuously.")] = False,
    endpoint: EndpointOption = None,
) -> None:
    """Polls every device, pushes once without the queue, and prints the result.

    Without --endpoint it pushes to every enabled endpoint.
    """
    import asyncio

    if not once:
        fail("--once is missing: `push --once` pushes once, `run` pushes continuously", 2)
    settings, site = load_site(config)
    if not asyncio.run(push_once(settings, site, chosen_endpoints(settings, endpoint))):
        raise typer.Exit(1)


async def push_once(settings: Config, site: Site, endpoints: list[PushConfig]) -> bool:
    """Poll every device, send the messages of one push to each endpoint, and print the results.

    If a message is not delivered, its endpoint gets no further ones. Return whether all messages were delivered.
    """
    from agent.commissioning.push_once import push_each
    from agent.commissioning.read_once import read_site
    from agent.commissioning.troubleshooting import failure_line
    from agent.delivery import USER_AGENT
    from agent.runtime import SystemClock, logging_setup

    logging_setup.configure("error", settings.log.format)
    result = await read_site(settings, site)
    for device, error in result.failed:
        complain(failure_line(device.name, device.address, error))
    delivered = True
    for push in endpoints:
        whose = f"{push.name}: " if len(settings.push) > 1 else ""
        async for verdict in push_each(push, result.bodies[push.name], SystemClock(), os.environ, USER_AGENT):
            say(whose + verdict.line, err=not verdict.delivered)
            delivered &= verdict.delivered
    return delivered


@dataclass(frozen=True, slots=True)
class _GroupOptions:
    """The options between `outbox` and its subcommand."""

    config: Path
    endpoint: str | None


@outbox_app.callback()
def outbox(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    endpoint: EndpointOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the bodies of dead letters.")] = False,
) -> None:
    """Shows waiting messages and dead letters, also of endpoints that are no longer configured."""
    from agent.commissioning import outbox_admin as command

    context.obj = _GroupOptions(config, endpoint)
    if context.invoked_subcommand is not None:
        return
    queues = _queues(context, None, None)
    try:
        found = [(queue, command.contents(queue.path)) for queue in queues if queue.path.exists() or len(queues) == 1]
    except command.CommandError as error:
        fail(str(error))
    if as_json or not sys.stdout.isatty():
        typer.echo(_json(found, one=endpoint is not None or len(queues) == 1))
    else:
        for queue, each in found:
            _show(queue, each, named=len(queues) > 1)


def _queues(context: typer.Context, config: Path | None, endpoint: str | None) -> list[Queue]:
    """Return the queue of the endpoint that `--endpoint` names, or all queues. An unknown endpoint is a usage error.

    `config` and `endpoint` are the options after the subcommand. If one is None, the same option before the subcommand
    is used.
    """
    from agent.commissioning.outbox_admin import queues
    from agent.config import did_you_mean

    before: _GroupOptions = context.obj
    settings, _ = load_site(config or before.config)
    name = endpoint or before.endpoint
    found = queues(settings)
    if name is None:
        return found
    chosen = [queue for queue in found if queue.name == name]
    if not chosen:
        names = [queue.name for queue in found]
        fail(
            f"--endpoint: no queue belongs to {name!r}{did_you_mean(name, names) or '; there are ' + ', '.join(names)}",
            2,
        )
    return chosen


def _queue(context: typer.Context, config: Path | None, endpoint: str | None) -> Queue:
    """Return the queue that the options choose. Options that choose several queues are a usage error."""
    found = _queues(context, config, endpoint)
    if len(found) > 1:
        fail(f"there are several queues; choose one with --endpoint: {', '.join(queue.name for queue in found)}", 2)
    return found[0]


def _json(found: list[tuple[Queue, Contents]], *, one: bool) -> str:
    """Return the JSON of these queues: if `one`, an object; otherwise a list, which can be empty."""
    from agent.commissioning.outbox_admin import as_json

    if one:
        return json.dumps(as_json(found[0][1]))
    return json.dumps(
        [{"endpoint": queue.name, "configured": queue.configured, **as_json(each)} for queue, each in found]
    )


def _show(queue: Queue, found: Contents, *, named: bool) -> None:
    from agent.commissioning.describe import table
    from agent.commissioning.outbox_admin import date

    oldest = "the oldest of the others" if found.undated else "the oldest"
    since = f", {oldest} from {date(found.oldest)}" if found.oldest is not None else ""
    clock = f", {found.undated} of them until the clock is set" if found.undated else ""
    whose = f"{queue.name}: " if named else ""
    gone = "" if queue.configured else f"; {_gone(queue.name, found)}"
    say(f"{whose}{found.waiting} waiting{clock}{since}; {len(found.dead_letters)} dead letters{gone}")
    if found.dead_letters:
        rows = [(r.id, date(r.created), str(r.attempts), r.parked or "") for r in found.dead_letters]
        table("Dead letters", ("id", "created", "attempts", "reason"), rows)


def _gone(name: str, found: Contents) -> str:
    """Return as text what to do with the queue of a removed endpoint."""
    options = {"--waiting": found.waiting, "--all": len(found.dead_letters)}
    commands = [
        f"`telemetry-agent outbox drop {option} --endpoint {name}`" for option, count in options.items() if count
    ]
    delete = f"; to delete them, run {' and '.join(commands)}" if commands else ""
    send = f"to send the messages, set formerly = {name!r} at an endpoint"
    return f"no endpoint has this name, so nothing is sent; {send}{delete}"


@outbox_app.command()
def retry(
    context: typer.Context,
    ids: Ids = None,
    every: All = False,
    config: OwnConfig = None,
    endpoint: EndpointOption = None,
) -> None:
    """Puts dead letters back into the queue, so that they are sent again."""
    from agent.commissioning import outbox_admin as command

    if every == bool(ids):
        fail("give the ids of dead letters, or --all", 2)
    try:
        count = command.retry(_queue(context, config, endpoint).path, ids or [])
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
    endpoint: EndpointOption = None,
) -> None:
    """Deletes dead letters or waiting messages. This cannot be undone."""
    from agent.commissioning import outbox_admin as command

    if [bool(ids), every, waiting].count(True) != 1:
        fail("give the ids of dead letters, or --all, or --waiting", 2)
    try:
        count = command.drop(_queue(context, config, endpoint), ids or [], waiting=waiting)
    except command.CommandError as error:
        fail(str(error))
    say(f"{count} dropped")
