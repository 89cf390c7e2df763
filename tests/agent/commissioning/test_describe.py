from __future__ import annotations

from io import StringIO

import pytest

from agent.commissioning.describe import describe, table
from agent.config import parse
from agent.site import build


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


@pytest.mark.parametrize(("capacity", "warned"), [({}, True), ({"energy_capacity_Wh": 10_000}, False)])
def test_a_battery_without_a_capacity_is_told(capacity: dict[str, float], *, warned: bool) -> None:
    device = {"driver": "deye-hybrid-1p", "host": "192.0.2.1", "nodes": {"storage": "battery-1"}, **capacity}
    table = {"site": {"node_id": "S"}, "push": {"url": "https://example.com", "token": "t"}, "device": [device]}
    config = parse(table, {}, "test")
    lines = [line for line in describe(config, build(config, "test")) if "reports its charge but no capacity" in line]
    assert len(lines) == warned
    assert all(line.startswith("warning: battery-1 ") for line in lines)
