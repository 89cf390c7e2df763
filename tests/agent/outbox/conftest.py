"""What holds for each test of the queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_file_stays_open(tmp_path: Path) -> Iterator[None]:
    """A queue that is closed holds no file, whatever it met: each would stay open while the agent runs."""
    yield
    links = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert [each for each in links if tmp_path in each.parents] == []
