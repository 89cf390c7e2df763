from __future__ import annotations

from io import StringIO

import pytest

from agent.commissioning.describe import table


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_on_a_terminal_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    reason = "HTTP 401: [token] is not known to " + "x" * 60
    table("Dead letters", ("id", "reason"), [("msg_[bold]1", reason)])
    shown = "".join(terminal.getvalue().split())
    assert "msg_[bold]1" in shown
    assert "[token]" in shown
    assert shown.count("x") == 60
