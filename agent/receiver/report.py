"""The output of the reference endpoint: one line per POST, a summary at the end, and a file of messages."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from agent.receiver.validator import Validator, Verdict
from agent.runtime import printable

_MOST = 340
"""Largest number of characters of a line on a terminal."""


def json_line(verdict: Verdict, headers: Mapping[str, str], at: float) -> str:
    """Return one JSON object for one POST, for programs. `at` is the time of arrival in Unix seconds."""
    line = {
        "at": round(at, 3),
        "status": verdict.status,
        "verdict": verdict.name,
        "id": headers.get("webhook-id"),
        "attempt": _number(headers.get("x-telemetry-attempt")),
        "backlog": _number(headers.get("x-telemetry-backlog")),
        "missing": verdict.missing,
        "notes": verdict.notes,
        "problems": verdict.problems,
        "message": verdict.message,
    }
    return json.dumps(line)


def text_line(verdict: Verdict, headers: Mapping[str, str], at: float) -> str:
    """Return one line for one POST, for a terminal. `at` is the time of arrival in Unix seconds."""
    head = f"{_clock(at)}  {verdict.status} {verdict.name:<9}"
    if verdict.problems:
        return printable(f"{head}  {'; '.join(verdict.problems)}", _MOST)
    message = verdict.message or {}
    measured = int(message["time"])
    parts = [head, f"{_subject(message)} of {_clock(measured)} ({at - measured:+.0f} s)"]
    counts = {name: _number(headers.get(f"x-telemetry-{name}")) for name in ("attempt", "backlog")}
    parts += [f"{name} {number}" for name, number in counts.items() if number]
    parts += [_powers(message), *verdict.notes]
    return printable("  ".join(part for part in parts if part), _MOST)


def summary(validator: Validator) -> list[str]:
    """Return the lines of the summary: the counts, then one line for each stream that has missing messages.

    The name of a stream is its key in `Validator.streams`: a node id, "nodes" (the snapshots), or "", which is shown as
    `device types`.
    """
    lines = [", ".join(f"{count} {name}" for name, count in validator.counts.items())]
    for node, stream in validator.streams.items():
        if missing := stream.missing:
            lines.append(
                printable(
                    f"{node or 'device types'}: {missing} message{'s' if missing > 1 else ''} missing up to"
                    f" {_clock(stream.newest or 0)}",
                    _MOST,
                )
            )
    return lines


class Journal:
    """A file of accepted messages, one JSON object per line. A message is on disk before it is acknowledged."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab+", buffering=0)
        self._incomplete = False
        """Whether the last line may have no line feed. The next line then begins with one."""

    def replay(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and the message of every line that has both.

        Any other line was not written completely, so its message was not acknowledged.
        """
        self._file.seek(0)
        line = b"\n"
        for line in self._file:
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                kept = json.loads(line)
                yield str(kept["id"]), kept["message"]
        self._incomplete = not line.endswith(b"\n")

    def keep(self, identity: str, message: dict[str, Any]) -> None:
        """Write the message to the disk. Raises OSError if its line may be incomplete on the disk."""
        line = json.dumps({"id": identity, "message": message}).encode() + b"\n"
        start = b"\n" if self._incomplete else b""
        self._incomplete = True  # until the whole line is written
        if self._file.write(start + line) != len(start + line):
            raise OSError("the disk is full")
        os.fsync(self._file.fileno())
        self._incomplete = False

    def close(self) -> None:
        self._file.close()


def _subject(message: dict[str, Any]) -> str:
    if "nodes" in message:
        return f"{len(message['nodes'])} nodes"
    return str(message.get("nodeId", message["siteNodeId"]))


def _powers(message: dict[str, Any]) -> str:
    """Return the powers by device type, such as `grid 1200 W, storage -300 W 41.6 %`.

    The percentage is the state of charge. Empty if the message has no power, and for a snapshot, which has its groups
    in `nodes`.
    """
    shown = []
    for name, group in message.items():
        if isinstance(group, dict) and "active_power_W" in group:
            soc = f" {group['mean_soc_perc']:.1f} %" if "mean_soc_perc" in group else ""
            shown.append(f"{name} {round(group['active_power_W'])} W{soc}")
    return ", ".join(shown)


def _clock(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at)  # a time outside the calendar is shown as a number


def _number(text: str | None) -> int | None:
    """Return the number in a header; None if there is no header, or it is not a number of at most 9 digits."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
