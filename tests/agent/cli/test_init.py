"""`init` as an installer calls it: at a terminal, with piped answers, and with options."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import select
import socket
import stat
import subprocess
import sys
import termios
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agent.cli import device_questions
from agent.cli.questions import Questions
from agent.commissioning import config_snippets, new_files, new_site
from agent.commissioning.proposals import Names, propose, scan_notes
from agent.commissioning.release_files import example
from drivers.catalogue import Catalogue
from drivers.modbus.settings import LinkSettings
from drivers.model import Kind, NodeType
from drivers.scan.identify import Identity, Match
from drivers.scan.unit_search import FoundUnit, SearchLocation
from tests.support.in_process import Done, call_inside
from tests.support.lab import lab
from tests.support.site import TOKEN, WAIT_S, Endpoint

ANSWERS = ("SITE_1", "https://endpoint.invalid/v1", TOKEN, "")
"""Site id, URL, token, interval."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with lab() as port:
        yield port


def answered(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))


def told(done: Done) -> str:
    """Return the lines of a command that failed without a traceback."""
    assert done.returncode not in (0, None)
    assert all(line.startswith("telemetry-agent: ") for line in done.stderr.splitlines()), done.stderr
    return done.stderr


def init(config: Path, *options: str | Path) -> Done:
    return call_inside("init", "--config", config, *options)


class Terminal:
    """The command at a terminal, and the answers of a person."""

    def __init__(
        self,
        *arguments: str | Path,
        size: tuple[int, int] = (24, 80),
        term: str = "xterm",
        program: Sequence[str] = ("-m", "agent"),
    ) -> None:
        """`size`: lines and columns. `program`: what Python runs with the arguments."""
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, size)
        self.seen = ""
        self.answers = 0
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call
            start_new_session=True,
            env=os.environ | {"TERM": term, "COLUMNS": "200"},  # as of another terminal
        )
        os.close(slave)

    def settings(self) -> list[object]:
        """The settings of the terminal."""
        return termios.tcgetattr(self._master)

    def settled(self) -> list[object]:
        """The settings of the terminal when the program has ended."""
        self.process.wait(WAIT_S)
        return self.settings()

    def answer(self, question: str, text: str) -> None:
        self.until(question)
        os.write(self._master, text.encode())
        self.answers += 1

    def until(self, text: str) -> None:
        """Read until the program printed `text`."""
        before = len(self.seen)
        while text not in self.seen[before:]:
            assert select.select([self._master], [], [], WAIT_S)[0], f"{text!r} is not in {self.seen[before:]}"
            try:
                read = os.read(self._master, 4096)
            except OSError:  # the program has ended
                read = b""
            assert read, f"{text!r} is not in {self.seen[before:]}"
            self.seen += read.decode(errors="replace").replace("\r\n", "\n")

    def interrupt(self, question: str) -> int:
        """Press Ctrl-C at the question, and again if the signal came just before the program began to wait."""
        self.until(question)
        os.write(self._master, b"\x03")
        return self.ends(again=b"\x03")

    def ends(self, again: bytes = b"") -> int:
        """Read to the end, and press a key again whenever nothing happens. Return the exit status."""
        with contextlib.suppress(OSError):  # the program has ended
            while True:
                while again and not select.select([self._master], [], [], 2.0)[0]:
                    os.write(self._master, again)
                if not (read := os.read(self._master, 4096)):
                    break
                self.seen += read.decode(errors="replace").replace("\r\n", "\n")
        os.close(self._master)
        return self.process.wait(WAIT_S)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the process


@pytest.mark.parametrize("columns", [40, 80])
def test_lines_break_between_words(tmp_path: Path, port: int, columns: int) -> None:
    """A line that is too long only has a word, a path or a command that is too long."""
    config = tmp_path / "site.toml"
    with Endpoint() as endpoint:
        options = ["--scan", "127.0.0.1", "--port", str(port), "--units", "1-4", "--interval", "60"]
        person = Terminal("init", "--config", config, *options, size=(60, columns))
        person.answer("Site id", "\n")  # refused
        person.answer("Site id", "SITE_1\n")
        person.answer("URL", f"{endpoint.url}\n")
        person.answer("not shown", f"{TOKEN}\n")
        person.answer("then Enter: 1", "\n")
        person.answer("unknown): ", "2000\n")
        person.answer("accept all", "\n")
        person.answer("real message", "\n")
        assert person.ends() == 0
    said = [line.split("\r")[-1] for line in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", person.seen).split("\n")]
    long = [line for line in said if len(line) > columns]
    assert all(len(line.split()) == 1 or line.startswith(("To start: ", "URL of")) for line in long), long


def test_a_person_needs_at_most_ten_commands_and_answers(tmp_path: Path, port: int) -> None:
    config = tmp_path / "site.toml"
    with Endpoint() as endpoint:
        person = Terminal("init", "--config", config, "--port", str(port), "--units", "1-5")
        person.answer("Site id", "SITE_1\n")
        person.answer("URL", f"{endpoint.url}\n")
        person.answer("not shown", f"{TOKEN}\n")
        person.answer("Seconds between", "\n")
        person.answer("Scan these", "127.0.0.1\n")
        person.answer("then Enter: 1", "\n")  # the meter measures the grid
        person.answer("Power of the load at relay-1", "2000\n")
        person.answer("Enter to accept all", "\n")
        person.answer("Send one real message", "\n")
        assert person.ends() == 0, person.seen
        assert 1 + person.answers <= 10
    assert TOKEN not in person.seen
    assert (tmp_path / "token").read_text() == f"{TOKEN}\n"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["site.toml", "token"]
    ((verdict, _),) = endpoint.verdicts
    assert verdict.problems == ()
    message = endpoint.messages[0]
    assert message["grid"]["active_power_W"] == -4000
    assert message["solar"]["active_power_W"] == 9000, "of the inverter and of the hybrid"
    assert message["storage"]["active_power_W"] == 500
    assert message["switched_load"] == {"active_power_W": 2000}
    assert message["variable_power_load"]["active_power_W"] == 3000
    for shown in ("rest of the house", "1,500 W", '"siteNodeId": "SITE_1"', "delivered: HTTP 200"):
        assert shown in person.seen
    text = config.read_text()
    assert 'nodes = { solar = "pv-2", storage = "battery-1" }' in text
    assert "nominal_power_W = 2000 " in text
    assert "unit 4: not identified; it has only coils, as a relay board has" in text


def test_options_need_no_answer(tmp_path: Path, port: int) -> None:
    token = tmp_path / "secret"
    token.write_text(TOKEN)
    config = tmp_path / "site.toml"
    place = ("--scan", "127.0.0.1", "--port", str(port), "--units", "1-2")
    with Endpoint() as endpoint:
        site = ("--site-id", "SITE_1", "--url", endpoint.url, "--token-file", token, "--interval", "5")
        done = init(config, *site, *place, "--yes", "--push")
        assert done.returncode == 0, done.stderr
        assert endpoint.messages[0]["solar"]["active_power_W"] == 6000
        assert "Enter accepts" not in done.stdout, "nothing is asked"
    assert "interval_s = 5 " in config.read_text()
    before = config.read_text()

    refused = init(config, *site, *place, "--yes")
    assert refused.returncode == 2
    assert "init only adds devices" in refused.stderr

    again = init(config, *place, "--yes")
    assert again.returncode == 0
    assert "No new device" in again.stdout
    assert f"127.0.0.1:{port}: in the configuration already: unit 1, 2\n" in again.stdout
    assert config.read_text() == before

    more = init(config, *place[:-1], "1-5", "--yes")
    assert more.returncode == 1, "the endpoint has ended"
    text = config.read_text()
    assert text.startswith(before.rstrip("\n"))
    assert text.count("\n[[device]]\n") == 4, "the relay is not identified"
    assert 'nodes = { solar = "pv-2", storage = "battery-1" }' in text
    checked = call_inside("check", "--config", config)
    assert checked.returncode == 0, checked.stderr
    assert "charger-1: variable_power_load by peblar" in checked.stdout


@pytest.mark.parametrize("stop_at", ["Site id", "not shown", "Scan these"])
def test_ctrl_c_at_a_question_leaves_nothing(tmp_path: Path, stop_at: str) -> None:
    person = Terminal("init", "--config", tmp_path / "site.toml")
    for question, answer in zip(("Site id", "URL", "not shown", "Seconds"), ANSWERS, strict=True):
        if question == stop_at:
            break
        person.answer(question, f"{answer}\n")
    assert person.interrupt(stop_at) == 1
    assert person.seen.endswith("\ntelemetry-agent: interrupted\n"), "a line of its own"
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_input_at_a_hidden_question_is_said(tmp_path: Path) -> None:
    person = Terminal("init", "--config", tmp_path / "site.toml")
    for question, answer in zip(("Site id", "URL"), ANSWERS, strict=False):
        person.answer(question, f"{answer}\n")
    person.answer("not shown", "\x04")
    assert person.ends() == 2
    assert "\ntelemetry-agent: no answer; nothing was written" in person.seen


def test_ctrl_c_during_the_scan_leaves_nothing(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = ("--yes", "--site-id", "S", "--url", "https://endpoint.invalid/", "--config", tmp_path / "site.toml")
        person = Terminal("init", *site, "--scan", "127.0.0.1", "--port", str(silent.getsockname()[1]))
        assert person.interrupt("asking") == 1
    assert "interrupted; nothing was written" in person.seen
    assert list(tmp_path.iterdir()) == [token]


@pytest.mark.parametrize("call", ["os.fsync", "os.link", "os.fchmod"])
def test_ctrl_c_while_writing_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    config, token = tmp_path / "site.toml", tmp_path / "token"
    real: Callable[..., None] = getattr(os, call.removeprefix("os."))
    left = [0]

    def interrupted(*arguments: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*arguments)

    for calls in range(8):
        left[0] = calls
        with monkeypatch.context() as patched:
            patched.setattr(call, interrupted)
            try:
                new_site.write(config, "text\n", token, "secret")
            except KeyboardInterrupt:
                whole = {"site.toml": "text\n", "token": "secret\n"}
                assert all(whole[path.name] == path.read_text() for path in tmp_path.iterdir()), "no temporary files"
                assert config.exists() <= token.exists()
                config.unlink(missing_ok=True)
                token.unlink(missing_ok=True)
            else:
                break
    else:
        pytest.fail("never written")
    assert calls
    assert (config.read_text(), token.read_text()) == ("text\n", "secret\n")


def test_a_directory_that_cannot_be_synced_is_no_reason_to_say_that_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    path = tmp_path / "site.toml"
    new_files.create(path, "first\n", new_files.Access(0o644))
    new_files.replace(path, "first\n", "second\n")
    assert path.read_text() == "second\n"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("theirs")
    with pytest.raises(FileExistsError):
        new_files.create(path, "ours", new_files.Access(0o644))
    with pytest.raises(FileExistsError):
        new_files.replace(path, "before", "ours")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_answer_is_told_and_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "site.toml"
    site, url, token, interval = ANSWERS
    plain = ("http://10.0.0.1/", "n", "ftp://x", url)
    answered(monkeypatch, "", site, *plain, "two words", token, "soon", "0", interval, "300.1.1.1:502", "no")
    done = init(config)
    assert done.returncode == 0, done.stderr
    for words in (
        "an answer is necessary",
        "must be an http:// or https:// URL",
        "must be the token alone",
        "must be a whole number of seconds",
        "must be a host",
    ):
        assert words in done.stderr
    assert "http sends the token unencrypted" in done.stdout
    assert "No device is used yet" in done.stdout
    assert "needs at least one enabled [[device]]" in told(call_inside("check", "--config", config))


def test_a_long_answer_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "site.toml"
    url = f"https://endpoint.invalid/?signature={'s' * 700}"
    answered(monkeypatch, "SITE_1", url, TOKEN, "9" * 5000, "60", "no")
    done = init(config)
    assert done.returncode == 0, done.stderr
    assert "must be a whole number of seconds" in done.stderr
    assert tomllib.loads(config.read_text())["push"]["url"] == url


def test_no_answer_after_the_file_was_written_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    config = tmp_path / "site.toml"
    with Endpoint() as endpoint:
        answered(monkeypatch, "SITE_1", endpoint.url, TOKEN, "", "127.0.0.1", "", "")
        done = init(config, "--port", str(port), "--units", "1")
        assert endpoint.messages == []
    assert done.returncode == 0, done.stderr
    assert config.exists()
    assert "nothing was written" not in done.stderr
    assert "To start: telemetry-agent run" in done.stdout


def test_devices_are_added_to_a_configuration_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    config = tmp_path / "site.toml"
    answered(monkeypatch, *ANSWERS, "no")
    assert init(config).returncode == 0
    before = config.read_text()
    # unit 2 is renamed, the others do not exist
    answered(monkeypatch, "127.0.0.1", "1", "", "roof", "", "y", "n")
    done = init(config, "--port", str(port), "--units", "2")
    assert "endpoint: no connection to endpoint.invalid" in done.stderr
    assert config.read_text().startswith(before.rstrip("\n"))
    assert 'node_id = "roof"' in config.read_text()


def test_the_unchanged_example_is_replaced_and_a_changed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(example())
    (tmp_path / "token").touch()
    answered(monkeypatch, *ANSWERS, "no")
    assert init(config).returncode == 0
    assert 'node_id = "SITE_1"' in config.read_text()
    assert (tmp_path / "token").read_text() == f"{TOKEN}\n"
    mine = example().replace("M1S0", "MINE").replace('"/etc/telemetry-agent/token"', f'"{tmp_path}/token"')
    config.write_text(mine)
    assert new_site.existing(config) is not None


@pytest.mark.parametrize("blank", ["", " \n\t\r\n"])
def test_an_empty_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(blank)
    (tmp_path / "token").write_text(blank)
    answered(monkeypatch, *ANSWERS, "no")
    assert init(config).returncode == 0
    assert tomllib.loads(config.read_text())["site"]["node_id"] == "SITE_1"
    assert (tmp_path / "token").read_text() == f"{TOKEN}\n"


def test_a_file_with_only_comments_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("# the meter is in the cellar\n")
    advice = "has only comments; rename or delete this file, so that init can write a new one"
    assert told(init(config)) == f"telemetry-agent: {config}: {advice}\n"
    assert config.read_text() == "# the meter is in the cellar\n"
    assert list(tmp_path.iterdir()) == [config]


def test_what_stops_it_is_told_before_the_first_question(tmp_path: Path) -> None:
    assert "does not exist" in told(init(tmp_path / "none" / "site.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[site\n")
    assert "not valid TOML" in told(init(broken))
    assert broken.read_text() == "[site\n"
    new = tmp_path / "new.toml"
    missing = init(new, "--yes", "--no-scan")
    assert (missing.returncode, missing.stderr) == (2, "telemetry-agent: --yes: --site-id is missing\n")
    no_token = init(new, "--yes", "--no-scan", "--site-id", "S", "--url", "https://x.example.org/")
    assert "has no token" in told(no_token)
    http = init(new, "--yes", "--no-scan", "--site-id", "S", "--url", "http://10.0.0.1/")
    assert "give --allow-insecure-http" in told(http)
    assert not new.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--units", "1-999"], "--units: must be numbers 0..255 such as 1,3,10-20 (found '1-999')"),
        (["--port", "99999"], "--port: must be 1..65535 (found 99999)"),
        (["--scan", "127.0.0.1:502"], "--scan: must be a host"),
    ],
)
def test_a_wrong_option_of_the_scan_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    config = tmp_path / "site.toml"
    answered(monkeypatch, *ANSWERS[:3])
    wrong = init(config, *options)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"telemetry-agent: {says}")
    assert not config.exists()


Nodes = dict[NodeType, str]
METER = Match("eastron-sdm630", Kind.METER, frozenset(), "Eastron SDM630", "by holding 64514")
HYBRID = Match("sunspec", Kind.HYBRID, frozenset({NodeType.SOLAR, NodeType.GRID}), "Acme hybrid", "by its models")


def settled(monkeypatch: pytest.MonkeyPatch, units: list[FoundUnit], *answers: str) -> tuple[list[Nodes], str]:
    """Settle the devices with these answers. Return the nodes of those that are used, and the text of the file."""
    answered(monkeypatch, *answers)
    names, places = Names(), [SearchLocation(LinkSettings(host="10.0.0.1"), units)]
    found = propose(places, names)
    device_questions.DeviceQuestions(Questions(yes=False), Catalogue(), names, found, has_grid=False).settle()
    used = [one.nodes for each in found for one in each.proposals if one.enabled]
    return used, config_snippets.tables(places, found)


def questions(monkeypatch: pytest.MonkeyPatch, units: list[FoundUnit], *answers: str) -> list[Nodes]:
    """Settle the devices with these answers. Return the nodes of those that are used."""
    return settled(monkeypatch, units, *answers)[0]


def test_a_driver_with_a_capital_letter_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Match("MyInverter", Kind.INVERTER, frozenset(), "My inverter", "by holding 0")
    one = [FoundUnit(1, Identity([METER, own]))]
    assert questions(monkeypatch, one, "1", "1", "MyInv", "", "", "") == [{NodeType.SOLAR: "pv-1"}]


def test_the_installer_says_what_a_meter_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    two = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([METER]))]
    assert questions(monkeypatch, two, "", "heat", "") == [
        {NodeType.GRID: "meter-1"},
        {NodeType.HEAT_PUMP: "heat-pump-1"},
    ]
    two = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([METER]))]
    assert questions(monkeypatch, two, "2", "9", "7", "") == [{NodeType.SOLAR: "pv-1"}], "9 is refused, 7 is not used"


def test_units_that_are_left_out_are_named() -> None:
    one = SearchLocation(LinkSettings(host="10.0.0.1"), [*map(FoundUnit, (1, 2, 3, 4))])
    one.units[3].elsewhere.append("10.0.0.1:1502 unit 9")
    one.add_note("unit 126 is the same device as 10.0.0.1:502 unit 3; omitted")
    any_unit = SearchLocation(LinkSettings(host="10.0.0.2"), [FoundUnit(1)], any_unit=True)
    closed = SearchLocation(LinkSettings(host="10.0.0.3"), note="10.0.0.3:502: connection lost")
    configured = ("10.0.0.1:502 unit 1", "10.0.0.1:502 unit 2", "10.0.0.1:1502 unit 9", "10.0.0.2:502 unit 5")
    assert list(scan_notes([one, any_unit, closed], configured)) == [
        "unit 126 is the same device as 10.0.0.1:502 unit 3; omitted",
        "10.0.0.1:502: in the configuration already: unit 1, 2, 4",
        "10.0.0.2:502: in the configuration already; the device replies to every unit id",
        "10.0.0.3:502: connection lost",
    ]


def test_the_grid_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([HYBRID]))]
    assert questions(monkeypatch, both, "", "") == [{NodeType.GRID: "meter-2", NodeType.SOLAR: "pv-1"}]
    both = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([HYBRID]))]
    assert questions(monkeypatch, both, "1", "") == [{NodeType.GRID: "meter-1"}, {NodeType.SOLAR: "pv-1"}]


def test_a_hybrid_measures_the_grid_again_if_the_meter_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([HYBRID]))]
    hybrid = {NodeType.GRID: "meter-2", NodeType.SOLAR: "pv-1"}
    used, text = settled(monkeypatch, both, "1", "1", "7", "")
    assert used == [hybrid]
    assert "is omitted" not in text

    both = [FoundUnit(1, Identity([HYBRID])), FoundUnit(2, Identity([HYBRID]))]
    used, text = settled(monkeypatch, both, "1", "n", "")
    assert used == [{NodeType.GRID: "meter-1", NodeType.SOLAR: "pv-2"}], "the first hybrid is not used"
    assert text.count("Its meter (grid) is omitted, because another device has the grid node.") == 1
    both = [FoundUnit(1, Identity([HYBRID])), FoundUnit(2, Identity([HYBRID]))]
    again = questions(monkeypatch, both, "1", "n", "1", "y", "", "")
    assert again == [{NodeType.GRID: "meter-1", NodeType.SOLAR: "pv-1"}, {NodeType.SOLAR: "pv-2"}]


def test_a_meter_that_is_not_used_does_not_say_that_another_device_measures_the_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, text = settled(monkeypatch, [FoundUnit(1, Identity([METER]))], "7", "")
    assert "enabled = false  # " in text
    assert "another device measures the grid" not in text


def test_a_unit_that_may_be_another_one_is_used_only_if_the_installer_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def two() -> list[FoundUnit]:
        doubt = "perhaps the same device as 10.0.0.1:502 unit 1 (the same unit id on another port)"
        return [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([HYBRID]), doubt)]

    assert questions(monkeypatch, two(), "", "") == [{NodeType.GRID: "meter-1"}]
    assert "10.0.0.1:502 unit 2 is perhaps the same device as 10.0.0.1:502 unit 1" in capsys.readouterr().out
    used = questions(monkeypatch, two(), "", "2", "y", "", "")
    assert used == [{NodeType.GRID: "meter-1"}, {NodeType.SOLAR: "pv-1"}]


def test_an_unknown_unit_gets_a_driver_or_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown() -> list[FoundUnit]:
        return [FoundUnit(1, Identity())]

    assert questions(monkeypatch, unknown(), "", "") == []
    assert questions(monkeypatch, unknown(), "eastron sdm", "sunspec-meter", "", "") == [{NodeType.GRID: "meter-1"}]
    assert "did you mean" in capsys.readouterr().err
    relay = [FoundUnit(1, Identity(likely=("relay",)))]
    assert questions(monkeypatch, relay, "", "1", "2", "boiler", "1500", "") == [{NodeType.SWITCHED_LOAD: "boiler"}]


def test_two_nodes_cannot_have_one_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    two = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([HYBRID]))]
    answers = ("7", "2", "y", "m", "pv-1", "roof", "")
    assert questions(monkeypatch, two, *answers) == [{NodeType.GRID: "m", NodeType.SOLAR: "pv-1"}]
