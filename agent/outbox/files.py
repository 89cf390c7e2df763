"""The files of a queue: the database with its log, and two side files."""

from __future__ import annotations

from pathlib import Path

from agent.storage import remove, rename


def reserve_of(path: Path) -> Path:
    """The file that reserves disk space for the queue at `path`."""
    return path.with_name(path.name + ".reserve")


def recent_of(path: Path) -> Path:
    """The file that lists the records that only the log of the queue at `path` holds."""
    return path.with_name(path.name + ".recent")


def rename_queue(path: Path, target: Path) -> None:
    """Rename all files of a queue. After a power cut in between, a second call completes it."""
    if (recent := recent_of(path)).exists():
        recent.replace(recent_of(target))
    rename(path, target)
    reserve_of(path).unlink(missing_ok=True)  # the queue reserves the space again


def delete_queue(path: Path) -> None:
    """Delete all files of a queue."""
    remove(path)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    for side in (reserve_of(path), recent_of(path)):
        side.unlink(missing_ok=True)
