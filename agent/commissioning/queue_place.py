"""Finds out whether a restart of the machine keeps the file at a path."""

from __future__ import annotations

from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""Types of file systems in memory. A restart of the machine deletes their files."""
_OF_THE_KERNEL = frozenset(
    {
        *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "pstore", "bpf"),
        *("devpts", "mqueue", "hugetlbfs", "efivarfs", "binfmt_misc", "fusectl", "nsfs"),
    }
)
"""Types of file systems that cannot store files of a program."""


def why_not_kept(path: Path, mounts: str | None = None) -> str | None:
    """Return why a restart deletes a file at `path`, or why no file can be there.

    Return None if a restart keeps the file, or if the type of the file system is not known.

    Symbolic links are followed. `mounts` is the content of /proc/self/mountinfo; None: read it from there.
    """
    try:
        # `resolve` comes first: it accesses the path, and some file systems are mounted at their first access.
        place = path.resolve()
        if mounts is None:
            mounts = _MOUNTS.read_text(errors="surrogateescape")
    except (OSError, RuntimeError):  # such as a symbolic link that leads back to itself
        return None
    point, type_ = _mount(place, mounts)
    if type_ in _OF_THE_KERNEL:
        return f"{point} is a file system of the kernel ({type_}) and holds no files"
    if type_ in _IN_MEMORY:
        return f"{point} is in memory ({type_}), so a restart of the machine deletes the file"
    return None


def _mount(place: Path, mounts: str) -> tuple[Path, str]:
    """Return the mount point and the type of the file system that holds `place`. The type is empty if not known."""
    found, type_ = Path("/"), ""
    for line in mounts.splitlines():
        # Field 5 of the line is the mount point. The first field after " - " is the type of the file system.
        before, _, after = line.partition(" - ")
        fields, of = before.split(" "), after.split(" ")
        if len(fields) < 5 or not of[0]:
            continue
        point = Path(_unescaped(fields[4]))
        # A later mount at the same point hides an earlier one.
        if place.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, type_ = point, of[0]
    return found, type_


def _unescaped(text: str) -> str:
    r"""Replace the escapes of the kernel, such as `\040` for a space."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(each[:3], 8)) + each[3:] for each in rest)
