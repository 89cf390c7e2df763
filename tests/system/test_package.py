"""The Debian package on a clean Debian 12 and 13, from installation to purge. The tests are one story, in order."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import TOKEN
from tests.system import debian
from tests.system.conftest import ETC, STATE, Site, site_on
from tests.system.machine import eventually

pytestmark = pytest.mark.system

RELEASES = ("bookworm", "trixie")


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def box(release: str, packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A booted Debian without a package index, beside a meter and the reference endpoint."""
    try:
        machine = debian.machine(tmp_path_factory.mktemp("machine"), release)
    except debian.UnableError as reason:
        pytest.skip(f"the system tests cannot run here: {reason}")
    for name, path in packages.items():
        shutil.copy(path, machine.stage / f"{name}.deb")
    with site_on(machine) as made:
        yield made


def version(box: Site) -> str:
    return box.machine.run("telemetry-agent", "--version").stdout.split()[-1]


def show(box: Site, unit: str, name: str) -> str:
    return box.machine.run("systemctl", "show", f"--property={name}", "--value", unit).stdout


def answers(box: Site, unit: str) -> bool:
    return "1 of 1 devices answer" in show(box, unit, "StatusText")


def waiting(box: Site) -> int:
    return int(json.loads(box.machine.run("telemetry-agent", "outbox").stdout)["waiting"])


def install(box: Site, name: str, *options: str) -> None:
    box.machine.run("apt-get", "install", "--yes", "-qq", *options, f"/stage/{name}.deb")


def test_lintian_finds_only_what_is_overridden(packages: dict[str, Path]) -> None:
    # `build` does not compress, to save time.
    without = "--suppress-tags=uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
    command = ("lintian", "--allow-root", "--tag-display-limit=0", "--display-info", "--pedantic", without)
    done = subprocess.run([*command, packages["first"]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_edits_and_the_first_message_arrives(box: Site) -> None:
    install(box, "first")
    assert version(box) == "0.9.0"
    box.configure("[outbox]\nbacklog_rate_per_s = 20\n")
    box.write(f"{ETC}/token", TOKEN)
    box.machine.run("systemctl", "enable", "--now", "telemetry-agent")
    box.await_pushes()
    assert box.endpoint.messages[-1]["grid"]["active_power_W"] == 1234
    modes = box.machine.shell(f"stat --format '%a %U:%G' {ETC}/token {ETC}/config.toml").splitlines()
    assert modes == ["640 root:telemetry-agent"] * 2


def test_an_upgrade_keeps_every_message_and_the_energies(box: Site) -> None:
    box.meter.count(50.5)
    eventually(lambda: box.endpoint.messages[-1]["grid"].get("today_imported_energy_Wh") == 500, "the energy")
    keep = box.endpoint.desk.keep
    stored: set[int] = set()

    def refuse(identity: str, message: Any) -> None:
        stored.add(message["time"])
        raise OSError

    box.endpoint.desk.keep = refuse
    eventually(lambda: waiting(box) > 2, "a backlog")
    box.meter.count(50.75)
    install(box, "next")
    assert version(box) == "1.0.0"
    box.endpoint.desk.keep = keep
    box.await_pushes(3)
    eventually(lambda: box.endpoint.messages[-1]["grid"].get("today_imported_energy_Wh") == 750, "the energy")
    eventually(lambda: waiting(box) <= 1, "an empty queue", 120)

    def times() -> set[int]:
        return {message["time"] for message in box.endpoint.messages}

    eventually(lambda: stored <= times(), "every message")
    # While the service restarts, no tick is closed.
    assert len(set(range(min(stored), max(times()))) - times()) <= 5


@pytest.mark.parametrize("bad", ["dies", "refuses"])
def test_a_version_that_does_not_run_leaves_the_one_before(box: Site, bad: str) -> None:
    failed = box.machine.run("apt-get", "install", "--yes", "-qq", f"/stage/{bad}.deb", check=False)
    assert failed.returncode
    assert "the release before stays in use" in failed.stdout
    assert version(box) == "1.0.0"
    box.await_pushes()


def test_a_version_can_be_gone_back_to(box: Site) -> None:
    install(box, "first", "--allow-downgrades")
    assert version(box) == "0.9.0"
    box.await_pushes()
    assert box.endpoint.messages[-1]["grid"]["today_imported_energy_Wh"] == 750
    assert box.machine.run("dpkg", "--audit").stdout == ""


def test_it_takes_the_place_of_an_installation_by_the_script(box: Site) -> None:
    box.machine.run("apt-get", "remove", "--yes", "-qq", "telemetry-agent")
    assert {"config.toml", "token"} <= set(box.machine.shell(f"ls {ETC}").split())
    assert "outbox.sqlite3" in box.machine.shell(f"ls {STATE}")
    bundle = "/usr/lib/telemetry-agent"
    box.machine.shell(
        f"dpkg-deb --extract /stage/first.deb /root/unpacked; cd /root/unpacked{bundle}; "
        "PIP_FIND_LINKS=wheels systemd/install wheels/telemetry_push_agent-*.whl; "
        "systemctl enable --now telemetry-agent"
    )
    box.await_pushes()
    assert box.property("FragmentPath") == "/etc/systemd/system/telemetry-agent.service"
    install(box, "next")
    assert box.property("FragmentPath").endswith("lib/systemd/system/telemetry-agent.service")
    assert version(box) == "1.0.0"
    box.await_pushes()


def test_two_sites_run_side_by_side(box: Site) -> None:
    box.configure()
    config = box.machine.run("cat", f"{ETC}/config.toml").stdout
    for site in ("north", "south"):
        own = config.replace("SITE_1", f"SITE_{site}").replace(f"{ETC}/token", f"{ETC}/{site}/token")
        own += f"[outbox]\npath = '/var/lib/telemetry-agent-{site}/outbox.sqlite3'\n"
        box.write(f"{ETC}/{site}/config.toml", own)
        box.write(f"{ETC}/{site}/token", TOKEN)
        box.machine.shell(f"chmod 644 {ETC}/{site}/config.toml; chmod 600 {ETC}/{site}/token")
        box.machine.run("systemctl", "start", f"telemetry-agent@{site}")
    for site in ("north", "south"):
        unit = f"telemetry-agent@{site}"
        assert box.machine.run("systemctl", "is-active", unit).stdout == "active\n"
        assert show(box, unit, "User") == f"telemetry-agent-{site}\n"
        eventually(partial(answers, box, unit), "its device")
        assert "outbox.sqlite3" in box.machine.shell(f"ls /var/lib/telemetry-agent-{site}/")
    box.machine.run("systemctl", "stop", "telemetry-agent@north", "telemetry-agent@south")


def test_a_missing_token_file_is_named_and_not_tried_for_ever(box: Site) -> None:
    box.machine.run("systemctl", "stop", "telemetry-agent")
    box.machine.shell(f"mv {ETC}/token /root/token")
    assert box.machine.run("systemctl", "start", "telemetry-agent", check=False).returncode
    eventually(lambda: box.property("ExecMainStatus") == "78", "the status")
    assert f"push.token_file: must be a readable file (No such file or directory: '{ETC}/token')" in box.journal()
    box.machine.shell(f"mv /root/token {ETC}/token; systemctl reset-failed telemetry-agent")
    box.machine.run("systemctl", "start", "telemetry-agent")
    box.await_pushes()


def test_it_goes_as_a_whole(box: Site) -> None:
    box.machine.run("apt-get", "purge", "--yes", "-qq", "telemetry-agent")
    elsewhere = "-path /src -prune -o -path /stage -prune -o -path /root -prune -o -path /var/log -prune"
    assert box.machine.shell(f"find / -xdev {elsewhere} -o -name '*telemetry?agent*' -print") == ""
