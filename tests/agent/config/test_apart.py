"""The configuration as the daemon reads it: in a process of its own, as tables without pydantic."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.apart import Loading, load_apart
from agent.config.errors import ConfigError
from agent.config.loader import load
from agent.config.tables import BaseTable
from tests.agent.config.test_loader import DEVICES
from tests.support.in_process import call_inside

TABLE = f"""
[site]
node_id = "S"
timezone = "Europe/Brussels"
[[push]]
name = "trader"
url = "https://telemetry.example.com/v1?key=1"
token = "do-not-show-me"
nodes = ["meter-*"]
[[push]]
name = "owner"
url = "http://127.0.0.1:9/"
token = "another"
interval_s = 300
proxy_url = "http://user:password@proxy:8080"
sign.grid = -1
[status]
token = "sixteen-characters"
{DEVICES}
limits = {{ active_power_W = 5000 }}
"""


def written(folder: Path, text: str = TABLE) -> Path:
    path = folder / "sité.toml"
    path.write_text(text)
    return path


def everything(value: Any) -> Any:
    """The values and the properties of a table, in and below it."""
    if isinstance(value, BaseTable):
        tables = [each for each in type(value).__mro__ if each.__module__ == BaseTable.__module__]
        names = {name for each in tables for name, of in vars(each).items() if isinstance(of, property)}
        names |= set(value.__dict__)
        return {name: everything(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: everything(each) for key, each in value.items()}
    return [everything(each) for each in value] if isinstance(value, tuple) else value


def test_values_and_properties_are_those_of_the_models(tmp_path: Path) -> None:
    path = written(tmp_path)
    environ = {"TELEMETRY_AGENT__PUSH__0__INTERVAL_S": "30"}
    ours, models = load_apart(path, environ), load(path, environ)
    assert everything(ours) == everything(models)
    assert ours.endpoints[0].interval_s == 30
    assert ours.endpoints[0].chooses("meter-1")
    assert not ours.endpoints[0].chooses("pv-1")
    assert ours.status is not None
    assert ours.status.secret() == models.status.secret() if models.status is not None else False
    assert ours == load_apart(path, environ)
    assert ours != load_apart(path, {})
    assert "do-not-show-me" not in repr(ours.push[0].token)


def test_mistakes_are_the_same_lines(tmp_path: Path) -> None:
    for path in (written(tmp_path, TABLE.replace("interval_s", "intervall_s")), tmp_path / "none.toml"):
        with pytest.raises(ConfigError) as ours:
            load_apart(path, {})
        with pytest.raises(ConfigError) as expected:
            load(path, {})
        assert ours.value.lines == expected.value.lines


def test_a_process_that_fails_is_an_error(tmp_path: Path) -> None:
    loading = Loading(written(tmp_path))
    os.kill(loading._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the process that reads the configuration ended with -9"):
        loading.result()


NO_FILE = "telemetry-agent: none.toml: no such file; `telemetry-agent init` writes one\n"


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The working directory has the file, and the environment no key of it. `run` ignores SIGHUP while it starts."""
    written(tmp_path, TABLE.replace("/dev/ttyUSB0", "/dev/null"))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TELEMETRY_AGENT")]:
        monkeypatch.delenv(name)
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--config", "none.toml"], 78, NO_FILE),
        (["--config=none.toml", "--log-format=x"], 78, NO_FILE),
        (["--log-format", "x", "--config", "sité.toml"], 2, "telemetry-agent: --log-format: must be auto, console or"),
        (["--config"], 2, "telemetry-agent: Option '--config' requires an argument"),
        (["--konfig", "none.toml"], 2, "telemetry-agent: No such option"),
        (["none.toml"], 2, "telemetry-agent: Got unexpected extra argument"),
    ],
)
def test_options_of_run(arguments: list[str], status: int, said: str) -> None:
    """The process of `run` is the subject of tests/agent/service/test_daemon.py."""
    done = call_inside("run", *arguments)
    assert (done.returncode, done.stderr[: len(said)], done.stdout) == (status, said, "")


def test_help_of_run() -> None:
    done = call_inside("run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--log-format" in done.stdout
