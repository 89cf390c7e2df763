from __future__ import annotations

import os
from pathlib import Path

from agent.outbox.recent import RecentRecords


def test_a_closed_list_leaves_the_file_that_got_its_descriptor_alone(tmp_path: Path) -> None:
    recent = RecentRecords(tmp_path / "outbox.sqlite3")
    recent.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    recent.write({1}, 1)
    recent.close()
    assert os.fstat(other).st_size == 0
    os.close(other)
