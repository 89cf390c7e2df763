"""Decides which file is the queue of which endpoint.

`outbox.path` is the queue of a single [push], and of the first of several endpoints. The others have their files beside
it: outbox.NAME.sqlite3. The small file outbox.endpoint contains the name of the endpoint of `outbox.path`, so that
another order of the tables changes nothing. Without this file, `outbox.path` belongs to a single [push] without a name.
If endpoints with names replace this [push], the first of them takes over its queue. If a single [push] without a name
replaces the endpoint of `outbox.path`, it takes over the queue too. So does an endpoint whose `formerly` is the name in
outbox.endpoint. An endpoint that has a file of its own keeps it.

The queue of an endpoint that is no longer configured stays on the disk.
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
        """The former file; None if it does not exist."""
        return self.former if self.former is not None and self.former.exists() else None


@dataclass(frozen=True, slots=True)
class QueueFiles:
    """The queues of all configured endpoints, by name."""

    path: Path
    """`outbox.path`."""
    owner: str
    """The endpoint of `path`; it may not be configured any more."""
    of: Mapping[str, QueueFile]

    def kept(self) -> Iterator[tuple[str, Path]]:
        """Yield name and file of each queue whose endpoint is not configured."""
        used = {file.path for file in self.of.values()} | {file.former for file in self.of.values()}
        if self.path not in used and self.path.exists():
            yield self.owner, self.path
        beside = _beside(self.path, "*")
        for path in sorted(self.path.parent.glob(beside.name)):
            name = path.name.removeprefix(f"{self.path.stem}.").removesuffix(beside.suffix)
            if _NAME.fullmatch(name) and path not in used:
                yield name, path

    def record(self) -> None:
        """Write the name of the owner of `outbox.path` to the disk. If this fails, log a warning."""
        if _owner(self.path) == self.owner:
            return
        file = _record(self.path)
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
    """Return the name of the endpoint of `outbox.path` from now on."""
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
        name = _record(path).read_text(encoding="ascii").strip()
        if _NAME.fullmatch(name):
            return name
    return DEFAULT_NAME


def _record(path: Path) -> Path:
    return path.with_name(f"{path.stem}{OWNER_SUFFIX}")


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}{path.suffix or '.sqlite3'}")
