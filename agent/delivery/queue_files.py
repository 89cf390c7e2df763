"""Decides which file is the queue of which endpoint.

One endpoint is the owner of `outbox.path`: this file is its queue. Each other endpoint NAME has a file beside it, such
as outbox.NAME.sqlite3 beside outbox.sqlite3. The file outbox.endpoint contains the name of the owner, so that the owner
stays the same if the tables get another order. Without outbox.endpoint, the owner is the [push] without a name.

If the owner is no longer configured, another endpoint can become the owner and continue the queue in `outbox.path`. The
first of these rules that applies decides:

1. An endpoint whose `formerly` is the name of the owner becomes the owner.
2. If the owner was the [push] without a name, the first configured endpoint becomes the owner.
3. If the only configured endpoint is a [push] without a name, this endpoint becomes the owner.

But an endpoint that has a file of its own beside `outbox.path` keeps this file, and the owner stays the same. The queue
of a removed endpoint stays on the disk, unless another endpoint takes it over.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.config import DEFAULT_NAME, OWNER_SUFFIX
from agent.outbox import queue_exists
from agent.storage import sync_folder

if TYPE_CHECKING:
    from agent.config import PushConfig

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class QueueFile:
    """The file of a queue."""

    path: Path
    former: Path | None = None
    """The file of the endpoint's former name, whose messages this queue takes over; None without a former name."""

    @property
    def source(self) -> Path | None:
        return self.former if self.former is not None and queue_exists(self.former) else None


@dataclass(frozen=True, slots=True)
class QueueFiles:
    """The queues of all configured endpoints, by name."""

    path: Path
    """`outbox.path`."""
    owner: str
    """Name of the owner of `path`. This endpoint may be no longer configured."""
    of: Mapping[str, QueueFile]

    def kept(self) -> Iterator[tuple[str, Path]]:
        """Yield name and file of each queue that no configured endpoint uses or takes over."""
        used = {file.path for file in self.of.values()} | {file.former for file in self.of.values()}
        if self.path not in used and self.path.exists():
            yield self.owner, self.path
        beside = _beside(self.path, "*")
        for path in sorted(self.path.parent.glob(beside.name)):
            name = path.name.removeprefix(f"{self.path.stem}.").removesuffix(beside.suffix)
            if _NAME.fullmatch(name) and path not in used:
                yield name, path

    def save_owner(self) -> None:
        """Write the name of the owner to outbox.endpoint, or delete this file for the [push] without a name.

        If this fails, log a warning.
        """
        if _owner(self.path) == self.owner:
            return
        file = _owner_file(self.path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if self.owner == DEFAULT_NAME:
                file.unlink()
            else:
                draft = file.with_name(file.name + ".new")
                with draft.open("w", encoding="ascii") as written:
                    written.write(self.owner + "\n")
                    written.flush()
                    os.fsync(written.fileno())
                draft.rename(file)
            sync_folder(file.parent)
        except OSError as error:
            log.warning("queue_owner_not_saved", path=str(file), reason=error.strerror or str(error))


def queue_files(path: Path, pushes: Sequence[PushConfig]) -> QueueFiles:
    """Return the queue files of all configured endpoints, enabled or not. `path` is `outbox.path`."""
    owner = _new_owner(path, pushes)
    of = {}
    for push in pushes:
        file = path if push.name == owner else _beside(path, push.name)
        former = None
        if push.formerly is not None:
            former = path if push.formerly == owner else _beside(path, push.formerly)
        of[push.name] = QueueFile(file, former)
    return QueueFiles(path, owner, of)


def _new_owner(path: Path, pushes: Sequence[PushConfig]) -> str:
    """Return the name of the owner of `outbox.path`, by the rules of the module."""
    owner = _owner(path)
    names = {push.name for push in pushes}
    if owner in names:
        return owner
    for push in pushes:
        if push.formerly == owner and not _beside(path, push.name).exists():
            return push.name
    if any(push.formerly == owner for push in pushes):
        return owner
    first = pushes[0].name
    unnamed = DEFAULT_NAME in (owner, first) and (owner == DEFAULT_NAME or len(pushes) == 1)
    return first if unnamed and not _beside(path, first).exists() else owner


def _owner(path: Path) -> str:
    """Return the name in the file outbox.endpoint; `DEFAULT_NAME` without a usable file."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        name = _owner_file(path).read_text(encoding="ascii").strip()
        if _NAME.fullmatch(name):
            return name
    return DEFAULT_NAME


def _owner_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}{OWNER_SUFFIX}")


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}{path.suffix or '.sqlite3'}")
