from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.commissioning.config_review import advice
from agent.config.loader import parse
from tests.agent.config.test_loader import changed

SOUND = {
    "site__timezone": "Europe/Brussels",
    "push__url": "https://receiver.test/v1",
    "connection__RS485__serial_port": "/dev/ttyUSB0",
}


def said(file: Path, **changes: Any) -> list[str]:
    return list(advice(parse(changed(**SOUND | changes), {}, "site.toml"), file, {}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.touch(mode=0o600)
    return path


def test_a_sound_configuration_gets_no_advice(file: Path) -> None:
    assert said(file) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"site__timezone": None}, "site.timezone is not set"),
        ({"push__url": "https://telemetry.example.com/v1?key=x"}, "the example https://telemetry.example.com/v1"),
        ({"site__node_id": "M1S0000000000000000D_site_0"}, "site.node_id is still the example"),
        ({"push__token": '"abc"'}, 'the token begins with "; this is probably not part of the token'),
        ({"push__token": "<token>"}, "the token begins with <"),
        (
            {"poll": {"interval_s": 60.0, "stale_after_s": 30.0}},
            "poll.interval_s (60) is longer than poll.stale_after_s (30)",
        ),
        ({"connection__spare": {"host": "192.0.2.1"}}, "no device uses [connection.spare]"),
        ({"drivers": {"profile_dirs": ["/nowhere"]}}, "the directory /nowhere does not exist"),
        ({"site__import_limit_W": 17.25}, "site.import_limit_W is 17.25 W; is this kW? Then write 17250"),
        ({"site__export_limit_W": 10.0}, "site.export_limit_W is 10 W; is this kW? Then write 10000"),
        ({"device__0__nominal_power_W": 2.0}, "nominal_power_W of meter-1 is 2 W; is this kW? Then write 2000"),
        (
            {"device__0__limits": {"active_power_W": [-11.0, 11.0]}},
            "limits.active_power_W of meter-1 is 11 W; is this kW? Then write 11000",
        ),
        ({"push__deadline_s": 100.0}, "push: deadline_s (100) is longer than half of interval_s (60); 30 s is used"),
        ({"push__deadline_s": 0.0}, "push: deadline_s is 0: no poll is that fast"),
        ({"poll": {"interval_s": 0.01}}, "poll.interval_s is 0.01 s: hardly any device can be polled that often"),
        ({"device__0__poll_interval_s": 0.02}, "poll_interval_s of meter-1 is 0.02 s: hardly any device"),
        ({"outbox": {"path": "queue.sqlite3"}}, "outbox.path is relative: the queue is /"),
        ({"outbox": {"path": "/etc"}}, "outbox.path: /etc is a directory; write the path of a file in it"),
        ({"outbox": {"path": "/etc/passwd/o"}}, "outbox.path: this user cannot write to /etc/passwd"),
        ({"outbox": {"path": "/proc/o"}}, "/proc/o cannot keep messages: /proc is a file system of the kernel (proc)"),
        ({"outbox": {"path": "/sys/a/o"}}, "/sys/a/o cannot keep messages: /sys is a file system of the kernel"),
        ({"outbox": {"path": "/dev/o"}}, "/dev/o cannot keep messages: /dev is in memory ("),
        ({"device__0__energy_capacity_Wh": 5.0}, "energy_capacity_Wh of meter-1 has no effect"),
    ],
)
def test_what_is_seldom_meant_is_said(file: Path, changes: dict[str, Any], words: str) -> None:
    (line,) = said(file, **changes)
    assert words in line


def test_a_secret_that_everybody_can_read_is_named_with_its_remedy(tmp_path: Path, file: Path) -> None:
    file.chmod(0o644)
    assert said(file) == [f"everybody on this machine can read {file}: chmod o-r {file}"]
    token = tmp_path / "token"
    token.write_text("abc")
    token.chmod(0o604)
    assert said(file, push__token=None, push__token_file=str(token)) == [
        f"everybody on this machine can read {token}: chmod o-r {token}"
    ]
    proxied = said(file, push__token=None, push__token_file=str(token), push__proxy_url="http://a:b@proxy.test:3128")
    assert len(proxied) == 2


def test_a_limit_of_zero_and_usual_values_are_meant(file: Path) -> None:
    assert said(file, site__import_limit_W=17_250.0, site__export_limit_W=0.0, device__0__nominal_power_W=2000.0) == []


def test_a_broken_profile_of_the_site_is_named_though_no_device_uses_it(tmp_path: Path, file: Path) -> None:
    broken = tmp_path / "profiles" / "broken.toml"
    broken.parent.mkdir()
    broken.write_text("kind = ")
    (line,) = said(file, drivers={"profile_dirs": [str(broken.parent)]})
    assert line.startswith(f"profile not used: {broken}: is not valid TOML")
