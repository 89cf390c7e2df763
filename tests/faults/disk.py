"""Real file systems that are small, full or read-only, mounted for a test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 4 * 1024 * 1024


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a separate file system of `SIZE` bytes at `folder`. Skips the test if it cannot be mounted."""
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a small disk needs root and the right to mount: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, name: str = "filler") -> Path:
    """Write a file that fills the disk of `folder`, and return its path."""
    filler = folder / name
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass
    assert shutil.disk_usage(folder).free == 0
    return filler


@contextlib.contextmanager
def no_file_may_grow(size: int = 1) -> Iterator[None]:
    """Every write of this process beyond `size` bytes of a file fails, with another error than a full disk's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cached(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("pages", "dirty", "under_way", "evicted", "recently_evicted"))


def unsynced_pages(path: Path) -> int:
    """Return the number of pages of a file that a power cut would lose, by cachestat(2).

    The kernel has not written these pages to the disk yet. Skips the test if the kernel has no cachestat(2).
    """
    found = _Cached()
    handle = os.open(path, os.O_RDONLY)
    try:
        failed = ctypes.CDLL(None, use_errno=True).syscall(
            451, handle, ctypes.byref(_Range(0, 0)), ctypes.byref(found), 0
        )
    finally:
        os.close(handle)
    if failed:
        pytest.skip(f"cachestat(2) needs Linux 6.5 and an own file: {os.strerror(ctypes.get_errno())}")
    return int(found.dirty) + int(found.under_way)


def require_late_writes(folder: Path) -> None:
    """Skip the test if `folder` lies on no disk to which the kernel writes later."""
    probe = folder / "probe"
    probe.write_bytes(b"x" * 4096)
    if not unsynced_pages(probe):
        pytest.skip(f"{folder} lies on no disk that the kernel writes to later")
    probe.unlink()


Synced = bytes | dict[str, int]
"""The content of a file, or the inode of each name in a directory."""


def syncs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Synced]]:
    """Return a list that gets what each `os.fsync` saves from a power cut, with the name of the file or directory.

    SQLite syncs its files itself, so they are not in the list.
    """
    found: list[tuple[str, Synced]] = []
    sync = os.fsync

    def note(handle: int) -> None:
        sync(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        found.append(
            (path.name, {each.name: each.stat().st_ino for each in path.iterdir()})
            if path.is_dir()
            else (path.name, path.read_bytes())
        )

    monkeypatch.setattr(os, "fsync", note)
    return found
