"""Shows the status of the running daemon on a terminal. The data comes from the daemon's status listener."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from typing import Any, Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.config import StatusConfig
from agent.runtime import printable, terminal_columns
from agent.status import ENERGIES, in_words

_TIMEOUT_S = 10.0
_MOST_BYTES = 16 << 20  # largest answer that is read
_SHOWN_ATTEMPTS = 5  # of each endpoint
_NARROW = 60
"""The table of devices omits the columns of `_COUNTS` if the terminal has fewer characters per line than this."""
_COUNTS = ("answered", "polls", "failed")
_LOCAL_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on all addresses is reached
_STYLE = {
    "ok": "green",
    "delivered": "green",
    "partial": "yellow",
    "retry": "yellow",
    "lost": "red",
    "refused": "red",
    "misconfigured": "red",
}


class NoAnswerError(Exception):
    """The daemon's listener gives no usable answer. The text says why."""


def ask(config: StatusConfig) -> dict[str, Any]:
    """Return the content of /status.json. Raises NoAnswerError."""
    host = _LOCAL_ADDRESS.get(config.host, config.host)
    connection = HTTPConnection(host, config.port, timeout=_TIMEOUT_S)
    token = config.secret()
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}
    try:
        connection.request("GET", "/status.json", headers=headers)
        response = connection.getresponse()
        body = response.read(_MOST_BYTES)
        if response.status == 401:
            raise NoAnswerError(
                f"{config.listen} does not accept the token: the daemon uses another configuration; reload the daemon"
            )
        if response.status != 200:
            raise NoAnswerError(f"another program listens on {config.listen} (HTTP {response.status})")
        answer = json.loads(body)
        if not isinstance(answer, dict) or "devices" not in answer:
            raise NoAnswerError(f"another program listens on {config.listen}")
    except ConnectionRefusedError:
        raise NoAnswerError(
            f"nothing listens on {config.listen}: does the daemon run, and was it reloaded after [status] was added?"
            " See systemctl status telemetry-agent"
        ) from None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise NoAnswerError(f"no answer from {config.listen} ({error or type(error).__name__})") from None
    finally:
        connection.close()
    return answer


def show(status: dict[str, Any], *, as_json: bool) -> None:
    """Print the status as tables, or as JSON. Raises NoAnswerError if the tables cannot show the status."""
    if as_json:
        print(json.dumps(status, indent=2))  # noqa: T201 - what the command is for
        return
    try:
        console = Console(width=terminal_columns(sys.stdout))
        shown = layout(status, narrow=console.width < _NARROW)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise NoAnswerError("the daemon has another version than this command; --json shows its answer") from None
    console.print(shown)


def layout(status: dict[str, Any], *, narrow: bool = False) -> RenderableType:
    """Return the content of the status page for a terminal. `narrow` omits the columns of `_COUNTS`."""
    head = Text.assemble((printable(status["site"]), "bold"), "  ")
    head.append(_verdict(status), "bold green" if status["ready"] else "bold red")
    about = f"  up {in_words(status['uptime_s'])}, version {status['version']}, clock {status['clock']}"
    head.append(printable(about), "dim")
    parts: list[RenderableType] = [head]
    if status["reason"]:
        parts.append(_text(status["reason"], "red"))
    if status.get("clock_reason"):
        parts.append(_text(f"clock: {status['clock_reason']}", "yellow"))
    parts.append(_text(" · ".join(_flow(status["flow"]))))
    if energies := " · ".join(_energies(status["flow"])):
        parts.append(_text(f"energy today: {energies}"))
    if status.get("no_balance"):
        parts.append(_text(f"no energy balance: {status['no_balance']}", "yellow"))
    parts.append(_devices(status["devices"], narrow=narrow))
    endpoints = status["endpoints"]
    for endpoint in endpoints:
        parts.append(_attempts(endpoint, f" to {endpoint['name']}" if len(endpoints) > 1 else ""))
        parts.append(Text("\n".join(map(printable, _queue(endpoint)))))
    if counters := list(_counters(status.get("counter_events", {}))):
        parts.append(Text("\n".join(map(printable, counters))))
    if status.get("not_on_disk"):
        parts.append(_text(f"{status['not_on_disk']}; a restart loses them", "red"))
    return Group(*parts)


def _verdict(status: dict[str, Any]) -> str:
    if status["ready"]:
        return "pushing"
    endpoints = status["endpoints"]
    ready = sum(not each.get("reason") for each in endpoints)
    return f"pushing to {ready} of {len(endpoints)}" if 0 < ready < len(endpoints) else "not pushing"


def _text(text: str, style: str = "") -> Text:
    """Return a Text in which markup and control characters have no effect. Use it for configured or received values."""
    return Text(printable(text), style)


def _flow(flow: dict[str, dict[str, Any]]) -> Iterator[str]:
    for group, fields in flow.items():
        power = fields.get("active_power_W")
        charge = fields.get("mean_soc_perc")
        yield f"{group.replace('_', ' ')} {_watts(power)}" + (f" ({charge:.0f} %)" if charge is not None else "")


def _energies(flow: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield one text for each group that has energies of the day."""
    for group, fields in flow.items():
        shown = [f"{word} {_scaled(fields[name])}Wh" for name, word in ENERGIES.items() if name in fields]
        if shown:
            yield f"{group} {', '.join(shown)}"


def _watts(power: float | None) -> str:
    return "no value" if power is None else f"{_scaled(power)}W"


def _scaled(value: float) -> str:
    """Return the text before the unit: "950 " or, from 999.5 on, "1.50 k"."""
    return f"{value / 1000:.2f} k" if abs(value) >= 999.5 else f"{round(value)} "


def _devices(devices: list[dict[str, Any]], *, narrow: bool) -> Table:
    columns = ("device", "state", "power", *_COUNTS, "reason")
    shown = [column for column in columns if not (narrow and column in _COUNTS)]
    table = _table("Devices", *shown)
    for device in devices:
        powers = [node["fields"].get("active_power_W") for node in device["nodes"]]
        age = device["age_s"]
        cells = {
            "device": _text(device["name"]),
            "state": _text(device["state"], _STYLE.get(device["state"], "")),
            "power": _text(", ".join(_watts(power) for power in powers if power is not None)),
            "answered": _text("never" if age is None else f"{in_words(age)} ago"),
            "polls": _text(str(device["polls"])),
            "failed": _text(str(device["failed_polls"])),
            "reason": _text("; ".join(filter(None, (_since(device) + (device["reason"] or ""), _cycle(device))))),
        }
        table.add_row(*(cells[column] for column in shown))
    return table


def _since(device: dict[str, Any]) -> str:
    return "" if device["lost_s"] is None else f"for {in_words(device['lost_s'])}: "


def _cycle(device: dict[str, Any]) -> str:
    """Return a warning if the device cannot be polled at its interval; else an empty text."""
    cycle_s = device.get("cycle_s")
    if cycle_s is None:
        return ""
    return f"polled every {cycle_s:.1f} s instead of every {device['interval_s']:g} s: the link is too slow"


def _attempts(endpoint: dict[str, Any], whose: str) -> Table:
    table = _table(f"Last attempts{whose}", "at", "outcome", "message", "reason")
    for attempt in endpoint["recent"][:_SHOWN_ATTEMPTS]:
        table.add_row(
            _text(datetime.fromtimestamp(attempt["at"]).astimezone().strftime("%H:%M:%S")),
            _text(attempt["outcome"], _STYLE.get(attempt["outcome"], "")),
            _text(attempt["id"]),
            _text(attempt["reason"] or ""),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # "fold" continues a long word in the next line. The other modes of rich cut it.
        justify: Literal["left", "right"] = "right" if column in ("power", "polls", "failed") else "left"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _counters(events: dict[str, dict[str, int]]) -> Iterator[str]:
    for node, kinds in events.items():
        words = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items() if count)
        if words:
            yield f"counters of {node}: {words}"


def _queue(endpoint: dict[str, Any]) -> Iterator[str]:
    backlog = endpoint["backlog"]
    last = endpoint["delivered_s"]
    yield f"last delivery to {endpoint['url']}: " + ("none yet" if last is None else f"{in_words(last)} ago")
    if endpoint.get("next_attempt_s") is not None:
        yield f"next attempt: within {in_words(endpoint['next_attempt_s'])}"
    yield "attempts: " + ", ".join(f"{count} {outcome}" for outcome, count in endpoint["outcomes"].items())
    oldest = f", the oldest {in_words(backlog['oldest_s'])} old" if backlog["oldest_s"] is not None else ""
    dropped = ", ".join(f"{count} {reason}" for reason, count in backlog["dropped"].items()) or "none"
    yield f"waiting: {backlog['waiting']}{oldest}; dead letters: {backlog['parked']}; dropped: {dropped}"
