"""Which places keep the queue over a restart: real mounts of this machine, and the tables of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.commissioning.queue_place import why_not_kept

MOUNTS = """\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /sys rw,nosuid shared:7 master:1 - sysfs sysfs rw
25 24 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
26 22 0:24 / /run rw,nosuid shared:3 - tmpfs tmpfs rw,size=94M
27 22 0:25 / /tmp rw - tmpfs tmpfs rw
28 27 8:1 / /tmp/disk rw - ext4 /dev/sda1 rw
29 22 8:2 / /media/my\\040stick rw - tmpfs none rw
30 22 0:26 / /data rw - tmpfs none rw
31 22 8:3 / /data rw - ext4 /dev/sda3 rw
32 22 0:41 / /mnt rw - autofs systemd-1 rw
a line of a later kernel
"""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere/telemetry-agent/outbox.sqlite3", None),
        ("/running/o", None),
        ("/proc/o", "/proc is a file system of the kernel (proc) and holds no files"),
        ("/sys/fs/cgroup/o", "/sys/fs/cgroup is a file system of the kernel (cgroup2) and holds no files"),
        ("/run/nowhere/o", "/run is in memory (tmpfs), so a restart of the machine deletes the file"),
        ("/tmp/o", "/tmp is in memory (tmpfs), so a restart of the machine deletes the file"),
        ("/tmp/disk/o", None),
        ("/media/my stick/o", "/media/my stick is in memory (tmpfs), so a restart of the machine deletes the file"),
        ("/data/o", None),
        ("/mnt/o", None),
    ],
)
def test_by_the_table_of_mounts(path: str, words: str | None) -> None:
    assert why_not_kept(Path(path), MOUNTS) == words


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("/proc")
    (tmp_path / "loop").symlink_to("loop")
    assert str(why_not_kept(tmp_path / "state" / "o")).startswith("/proc is a file system of the kernel (proc)")
    assert why_not_kept(tmp_path / "loop" / "o") is None


def test_without_a_table() -> None:
    assert why_not_kept(Path("/proc/o"), "") is None
