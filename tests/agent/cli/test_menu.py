"""A list at the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.menu import Selection
from tests.agent.cli.test_init import Terminal
from tests.support.lab import lab
from tests.support.site import TOKEN

LABELS = ("grid", "solar", "storage", "heat pump", *(f"row {number}" for number in range(5, 13)))
UP, DOWN = "[A", "[B"


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        ([], 1),
        ([DOWN, DOWN], 3),
        ([UP], 12),
        ([UP, DOWN], 1),
        (["OB", "OA", "OB"], 2),
        (["[F"], 12),
        (["[F", "[H"], 1),
        (["j", "j", "k"], 2),
        (["3"], 3),
        (["1", "2"], 12),
        (["1", "2", "3"], 3),
        (["1", DOWN, "2"], 2),
        (["0"], 1),
        (["9", "9"], 9),
        (["s"], 2),
        (["s", "s"], 3),
        (["s", "s", "s"], 2),
        (["H"], 4),
        (["?", "", "[5~"], 1),
        (["٣"], 1),
    ],
)
def test_keys(keys: list[str], row: int) -> None:
    selection = Selection(LABELS)
    for key in keys:
        selection.press(key)
    assert selection.at == row - 1


def test_a_line_is_no_wider_than_the_terminal() -> None:
    lines = Selection(["\x1b[2J" + "x" * 200, "b"], 1).lines(40)
    assert [len(line) for line in lines] == [40, 6, 35]
    assert lines[1:] == ["> 2  b", "Arrow keys or number, then Enter: 2"]
    assert "\x1b" not in lines[0]


QUESTION = f"""
from agent.cli.questions import Questions
print("chosen:", Questions(yes=False).choice("Which?", [(each, each) for each in {LABELS[:7]}], "grid"))
"""


@pytest.mark.parametrize(("keys", "chosen"), [("\x1bOA\x1b[A\n", "row 6"), ("s\r", "solar"), ("\x1b[F\r", "row 7")])
def test_a_terminal_sends_each_key_as_it_likes(keys: str, chosen: str) -> None:
    """A process with a question like that of `init`, which takes longer to come to its question."""
    person = Terminal(program=("-c", QUESTION))
    person.answer("then Enter: 1", keys)
    assert person.ends() == 0
    assert f"chosen: {chosen}\n" in person.seen


def test_a_person_selects_the_type_of_a_meter_with_the_arrow_keys(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    (tmp_path / "token").write_text(TOKEN)
    with lab() as port:
        person = Terminal("init", "--config", config, "--port", str(port), "--units", "1", "--scan", "127.0.0.1")
        person.answer("Site id", "SITE_1\n")
        person.answer("URL", "https://127.0.0.1:1/v1\n")
        person.answer("Seconds between", "\n")
        person.answer("then Enter: 1", "\x1b[B\x1b[B\x1b[B\n")
        person.answer("Enter to accept all", "\n")
        person.answer("Send one real message", "n\n")
        assert person.ends() == 1, "no endpoint"
    assert 'type = "heat_pump"' in config.read_text()


@pytest.mark.parametrize(("key", "status"), [("\x03", 1), ("\x04", 2)])
def test_ctrl_c_and_ctrl_d_in_a_list_leave_the_terminal_and_the_files_as_they_were(
    tmp_path: Path, key: str, status: int
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    site = ("--site-id", "S", "--url", "https://endpoint.invalid/", "--interval", "60", "--scan", "127.0.0.1")
    with lab() as port:
        person = Terminal("init", "--config", tmp_path / "site.toml", *site, "--port", str(port), "--units", "1")
        before = person.settings()
        person.answer("then Enter: 1", key)
        assert person.settled() == before
        assert person.ends() == status, person.seen
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert "nothing was written" in person.seen or "interrupted" in person.seen


@pytest.mark.parametrize(("size", "term"), [((8, 80), "xterm"), ((24, 80), "dumb")])
def test_a_terminal_that_cannot_redraw_gets_plain_questions(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], term: str
) -> None:
    """Of 7 choices, a terminal of 8 lines would scroll the first away, whatever the environment says of its size."""
    monkeypatch.setenv("LINES", "50")
    person = Terminal(size=size, term=term, program=("-c", QUESTION))
    person.answer("Number [1]", "heat\n")
    assert person.ends() == 0
    assert "chosen: heat pump\n" in person.seen
    assert "  7  row 7\n" in person.seen
