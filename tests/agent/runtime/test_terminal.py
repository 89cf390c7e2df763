"""Long lines at a real terminal, and everywhere else."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from agent.runtime import wrapped

LINE = "pv-1 (127.0.0.1:502 unit 3): no answer; see `telemetry-agent check --online` and its-long-word"


@pytest.fixture
def columns(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, request.param))
    with open(slave, "w") as stream:  # noqa: PTH123 - a descriptor
        yield stream
    os.close(master)


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            40,
            [
                "pv-1 (127.0.0.1:502 unit 3): no answer;",
                "  see `telemetry-agent check --online`",
                "  and its-long-word",
            ],
        ),
        (94, [LINE]),
        (0, [LINE]),
    ],
    indirect=["columns"],
)
def test_a_terminal_gets_whole_words_and_commands(
    monkeypatch: pytest.MonkeyPatch, columns: TextIO, lines: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert wrapped(LINE, columns).split("\n") == lines


def test_a_file_and_nothing_get_the_line(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        assert wrapped(LINE * 9, file) == LINE * 9
    assert wrapped(LINE * 9, file) == LINE * 9, "closed"
    assert wrapped(LINE * 9, None) == LINE * 9
