"""`outbox`: shows and changes the queue. The daemon can run at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from agent.config import Config
from agent.contract.envelope import decompressed
from agent.delivery import queue_files
from agent.outbox import PendingWrites, Record, Store, delete_queue
from agent.storage import UnusableFileError

T = TypeVar("T")

_CHUNK = 256
"""Maximum number of messages that one transaction deletes."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one endpoint. `configured` is false if the endpoint was removed from the configuration."""

    name: str
    path: Path
    configured: bool


def queues(config: Config) -> list[Queue]:
    """Return the queues of all configured endpoints, and then those of removed endpoints.

    An empty queue of a removed endpoint is omitted.
    """
    files = queue_files(config.outbox.path, config.push)
    found = []
    for push in config.push:
        file = files.of[push.name]
        # The daemon renames the queue of a renamed endpoint when it loads the configuration. Until then, the messages
        # are in the file with the former name.
        renamed = file.former is not None and file.former.exists() and not file.path.exists()
        found.append(Queue(push.name, file.former if renamed and file.former else file.path, configured=True))
    return found + [Queue(name, path, configured=False) for name, path in files.kept() if not _is_empty(path)]


def _is_empty(path: Path) -> bool:
    try:
        found = contents(path)
    except CommandError:
        return False
    return not found.waiting and not found.dead_letters


class CommandError(Exception):
    """The queue does not exist, cannot be read or written, or has no message with a given id."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of the queue."""

    waiting: int
    """The number of messages that are not dead letters."""
    undated: int
    """The number of waiting messages that are undated."""
    oldest: float | None
    """The time of the oldest waiting message that is dated, in Unix seconds; None if there is none."""
    dead_letters: tuple[Record, ...]


def contents(path: Path) -> Contents:
    """Return the content of the queue. Raises CommandError."""

    def read(store: Store) -> Contents:
        waiting, undated, oldest = store.summary()
        return Contents(waiting, undated, oldest, tuple(store.parked()))

    return _on_store(path, read)


def retry(path: Path, ids: Sequence[str]) -> int:
    """Let the dead letters with these ids wait for delivery again; without `ids`, all of them.

    Return their number. Raises CommandError.
    """

    def revive(store: Store) -> int:
        chosen = _with_ids(list(store.parked()), ids)
        changed = {r.seq: replace(r, parked=None, refusals=0, next_try=0.0) for r in chosen}
        _apply(store, [PendingWrites(changed={seq: changed[seq]}) for seq in changed])
        return len(changed)

    return _on_store(path, revive)


def drop(queue: Queue, ids: Sequence[str], *, waiting: bool) -> int:
    """Delete the dead letters with these ids; without `ids`, all of them. Return how many were deleted.

    With `waiting`, delete waiting messages instead, including undated ones. If the queue of a removed endpoint is then
    empty, its files are deleted. Raises CommandError.
    """

    def delete(store: Store) -> int:
        records = [*store.waiting(0, 1 << 62), *store.undated(0)] if waiting else store.parked()
        seqs = [record.seq for record in _with_ids(list(records), ids)]
        _apply(store, [PendingWrites(gone=set(seqs[at : at + _CHUNK])) for at in range(0, len(seqs), _CHUNK)])
        return len(seqs)

    count = _on_store(queue.path, delete)
    if not queue.configured and _is_empty(queue.path):
        delete_queue(queue.path)
    return count


def as_json(found: Contents) -> dict[str, Any]:
    """Return the content as values for JSON. Bodies are uncompressed text."""
    return {
        "waiting": found.waiting,
        "undated": found.undated,
        "oldest": None if found.oldest is None else date(found.oldest),
        "dead_letters": [_record_json(record) for record in found.dead_letters],
    }


def date(at: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _record_json(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "created": date(record.created),
        "attempts": record.attempts,
        "refusals": record.refusals,
        "reason": record.parked,
        "body": decompressed(record.body).decode("utf-8", "replace"),
    }


def _on_store(path: Path, work: Callable[[Store], T]) -> T:
    if not path.exists():
        raise CommandError(f"{path}: the queue does not exist; the agent has not stored a message yet")
    try:
        store = Store.open_beside(path)
        try:
            return work(store)
        finally:
            store.close()
    except UnusableFileError as error:
        raise CommandError(f"{path}: {error}") from None
    except (sqlite3.Error, OSError) as error:
        raise CommandError(f"{path}: {error}; run this command as root or as the user of the service") from None


def _with_ids(records: Sequence[Record], ids: Sequence[str]) -> Sequence[Record]:
    for identity in ids:
        if not any(record.id == identity for record in records):
            raise CommandError(f"no message has the id {identity!r}; `telemetry-agent outbox` lists the ids")
    return [record for record in records if not ids or record.id in ids]


def _apply(store: Store, changes: Sequence[PendingWrites]) -> None:
    for each in changes:
        store.apply(each, durable=True)
