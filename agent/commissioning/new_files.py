"""Writes files atomically: a file has its old or its new content, even after Ctrl-C or a power cut.

The text is first written to a temporary file in the same directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Access:
    """Permissions and owner of a file. None means the user or the group of this process."""

    mode: int
    uid: int | None = None
    gid: int | None = None


def content(path: Path) -> str:
    """Return the text of the file. Bytes that are not UTF-8 become lone surrogates. Raises OSError."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def create(path: Path, text: str, access: Access) -> None:
    """Write a new file. Raises FileExistsError if `path` exists, and OSError if the file cannot be written."""
    with _temporary(path, text, access) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, this never replaces a file
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(17, "exists already", str(path)) from None
            temporary.rename(path)


def replace(path: Path, before: str, text: str, access: Access | None = None) -> None:
    """Replace the content `before` of a file with `text`. Without `access`, mode and owner do not change.

    Raises FileExistsError if the file has other content or is no regular file, such as /dev/null, and OSError if it
    cannot be replaced.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(17, "is no regular file", str(path))
    kept = Access(status.st_mode & 0o7777, status.st_uid, status.st_gid)
    target = path.resolve()  # keep a symbolic link, and replace its target
    with _temporary(target, text, access or kept) as temporary:
        if content(target) != before:
            raise FileExistsError(17, "was changed in the meantime", str(path))
        temporary.rename(target)


@contextlib.contextmanager
def _temporary(path: Path, text: str, access: Access) -> Iterator[Path]:
    """Yield a temporary file with this text, synced to the disk. After the `with` block, sync its directory."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
            file.flush()
            os.fchmod(descriptor, access.mode)
            if access.uid is not None or access.gid is not None:
                _set_access(descriptor, access)
            os.fsync(descriptor)
        yield temporary
        with contextlib.suppress(OSError):  # some file systems cannot sync a directory; the file has its new content
            _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _set_access(descriptor: int, access: Access) -> None:
    status = os.fstat(descriptor)
    uid, gid = (-1 if wanted is None else wanted for wanted in (access.uid, access.gid))
    if (uid, gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, uid, gid)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
