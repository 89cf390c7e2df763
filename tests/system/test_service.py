"""The service on a clean Debian, from installation to removal. The tests are one story and stand in its order."""

from __future__ import annotations

import re
import shutil
import sqlite3
from typing import Any

import pytest

from tests.support.site import TOKEN
from tests.system import serial_device
from tests.system.conftest import ETC, STATE, Site
from tests.system.debian import REPO
from tests.system.machine import eventually

pytestmark = pytest.mark.system

UNIT = "/etc/systemd/system/telemetry-agent.service"
OPT = "/opt/telemetry-agent"
PORT = "/dev/serial/by-id/usb-adapter"


def release(site: Site, name: str, version: str, breakage: tuple[str, str] | None = None) -> str:
    """A checkout with another version, and with a line put in front of a module; its path in the machine."""
    folder = site.machine.stage / name
    shutil.copytree(REPO, folder, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__", "build"))
    project = folder / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text()))
    init = folder / "agent/__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', init.read_text()))
    if breakage is not None:
        module = folder / breakage[0]
        module.write_text(module.read_text().replace("\n\nimport ", f"\n\n{breakage[1]}\nimport ", 1))
    return f"/stage/{name}"


def test_a_fresh_installation_says_what_is_left_to_do(site: Site) -> None:
    told = site.machine.run("/src/systemd/install").stdout
    assert "systemctl enable --now telemetry-agent" in told
    checked = site.machine.run("telemetry-agent", "check", check=False)
    assert checked.returncode == 78
    assert "push.token_file: must hold the token" in checked.stdout
    site.configure()
    site.write(f"{ETC}/token", TOKEN)
    assert site.machine.run("telemetry-agent", "check").stdout.endswith("config.toml: ok\n")
    modes = site.machine.shell(f"stat --format '%a %U:%G' {ETC}/token {ETC}/config.toml").splitlines()
    assert modes == ["640 root:telemetry-agent"] * 2


def test_it_is_ready_once_it_runs_and_pushes_arrive(site: Site) -> None:
    site.machine.run("systemctl", "enable", "--now", "telemetry-agent")
    assert site.property("ActiveState") == "active"
    site.await_pushes(3)
    assert site.endpoint.messages[-1]["grid"]["active_power_W"] == 1234
    eventually(lambda: site.property("StatusText").startswith("1 of 1 devices answer; last push "), "the status line")


def test_the_unit_is_in_order_and_as_closed_as_promised(site: Site) -> None:
    for serial, exposure in ((False, "1.5"), (True, "1.7")):
        if serial:
            site.machine.run("install", "-Dm644", "/src/systemd/serial.conf", f"{UNIT}.d/serial.conf")
            site.machine.shell("systemctl daemon-reload; systemctl restart telemetry-agent")
            site.await_pushes()
        assert site.machine.run("systemd-analyze", "verify", UNIT).stdout == ""
        # The threshold is in tenths; a larger exposure is a failure.
        threshold = f"--threshold={exposure.replace('.', '')}"
        site.machine.run("systemd-analyze", "security", threshold, "--no-pager", "telemetry-agent")
    site.machine.shell(f"rm -r {UNIT}.d; systemctl daemon-reload; systemctl restart telemetry-agent")


def test_a_device_on_a_serial_line_is_read_with_the_drop_in_alone(site: Site) -> None:
    """All of the sandbox but the kernel's device filter (DeviceAllow=), which is not in force in a container."""
    plug_in = ("systemd-run", "--unit=adapter", "--working-directory=/src", f"{OPT}/current/bin/python")
    adapter = (*plug_in, "-m", "tests.system.serial_device", PORT)

    def load() -> Any:
        return site.endpoint.messages[-1]["switched_load"]

    site.machine.run(*adapter)
    eventually(lambda: not site.machine.run("test", "-e", PORT, check=False).returncode, "the port")
    site.configure(
        f"[[device]]\nnode_id = 'heater'\ntype = 'switched_load'\ndriver = 'eastron-sdm630'\nconnection = 'rs485'\n"
        f"unit_id = {serial_device.UNIT_ID}\n[connection.rs485]\ntransport = 'rtu'\nserial_port = '{PORT}'\n"
    )
    site.machine.run("systemctl", "restart", "telemetry-agent")
    eventually(lambda: "no such serial port" in site.journal(), "a word about the port")
    assert load() == {}

    site.machine.run("/src/systemd/install", "--serial")
    eventually(lambda: load() == {"active_power_W": serial_device.POWER_W}, "its power")
    site.machine.run("systemctl", "stop", "adapter")
    eventually(lambda: load() == {}, "the loss of what was pulled out")
    site.machine.run(*adapter)
    eventually(lambda: load() == {"active_power_W": serial_device.POWER_W}, "its return")
    assert site.endpoint.messages[-1]["grid"]["active_power_W"] == 1234

    site.machine.run("systemctl", "stop", "adapter")
    assert site.machine.run("systemctl", "is-failed", "adapter", check=False).stdout == "inactive\n"
    site.configure()
    site.machine.shell(f"rm -r {UNIT}.d; systemctl daemon-reload; systemctl restart telemetry-agent")


def test_nothing_but_its_state_can_be_written(site: Site) -> None:
    find = "find / -writable \\( -type d -o -type f \\) -not -path '/proc/*' -print"
    site.drop_in(f'ExecStartPre=/bin/sh -c "{find} >{STATE}/writable 2>/dev/null; true"')
    writable = set((site.machine.root / STATE.lstrip("/") / "writable").read_text().split("\n")) - {""}
    outside = {path for path in writable if not path.startswith(STATE)}
    # Those are its own, seen by nobody else and gone when it ends.
    assert outside <= {"/tmp", "/var/tmp", "/dev/mqueue"}
    assert f"{STATE}/outbox.sqlite3" in writable, "the search sees what can be written"
    site.drop_in("")


def test_nothing_is_lost_when_it_is_killed(site: Site) -> None:
    def refuse(identity: str, message: object) -> None:
        raise OSError

    keep = site.endpoint.desk.keep
    site.endpoint.desk.keep = refuse
    eventually(lambda: re.search(r" ([3-9]|\d\d+) waiting", site.property("StatusText")) is not None, "a backlog")
    site.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "telemetry-agent")
    queue = sqlite3.connect(f"file:{site.machine.root}{STATE}/outbox.sqlite3?mode=ro", uri=True)
    waiting = {identity for (identity,) in queue.execute("SELECT id FROM message")}
    queue.close()
    assert len(waiting) >= 3
    eventually(lambda: site.property("NRestarts") == "1" and site.property("ActiveState") == "active", "a restart")
    site.endpoint.desk.keep = keep

    def delivered() -> set[str]:
        return {headers["webhook-id"] for verdict, headers in site.endpoint.verdicts if verdict.status == 200}

    eventually(lambda: waiting <= delivered(), "the backlog")
    assert site.endpoint.desk.counts["duplicate"] == 0


def test_a_stuck_event_loop_is_restarted_and_says_where_it_hung(site: Site) -> None:
    hang = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"
    site.write("/opt/hang/sitecustomize.py", hang)
    site.drop_in("WatchdogSec=2\nEnvironment=PYTHONPATH=/opt/hang")
    site.await_pushes()
    before = site.property("MainPID")
    site.machine.run("systemctl", "kill", "--signal=USR1", "telemetry-agent")
    eventually(lambda: site.property("MainPID") not in (before, "0"), "a restart")
    assert site.property("NRestarts") == "1"
    assert "sitecustomize.py" in site.journal()
    assert "Failed with result 'watchdog'" in site.journal()
    site.await_pushes()
    site.drop_in("")


def test_a_good_file_is_taken_over_while_it_runs(site: Site) -> None:
    site.await_pushes()
    before, connections = site.property("MainPID"), site.meter.server.total_connections
    site.configure(site.device("heater", "switched_load"))
    site.machine.run("systemctl", "reload", "telemetry-agent")
    eventually(lambda: site.endpoint.messages[-1]["switched_load"] != {}, "the new device")
    assert site.property("MainPID") == before
    assert site.meter.server.total_connections == connections


def test_a_bad_file_is_refused_and_the_old_one_stays_in_force(site: Site) -> None:
    before = site.property("MainPID")
    site.configure(interval_s=0)
    assert site.machine.run("systemctl", "reload", "telemetry-agent", check=False).returncode
    assert "push.interval_s" in site.journal()
    site.machine.run("systemctl", "kill", "--signal=HUP", "telemetry-agent")
    eventually(lambda: "reload refused" in site.property("StatusText"), "the refusal")
    site.await_pushes()
    assert site.endpoint.messages[-1]["switched_load"] != {}
    assert site.property("MainPID") == before
    site.configure()
    site.machine.run("systemctl", "reload", "telemetry-agent")


def test_a_token_is_rotated_without_a_restart(site: Site) -> None:
    before = site.property("MainPID")
    site.endpoint.desk.token = "the-next-token"
    site.write(f"{ETC}/token", "the-next-token\n")
    site.await_pushes()
    assert site.property("MainPID") == before


def test_a_token_that_only_root_may_read_comes_as_a_credential(site: Site) -> None:
    site.machine.shell(f"chmod 600 {ETC}/token; systemctl restart telemetry-agent")
    site.await_pushes()
    site.machine.run("systemctl", "reload", "telemetry-agent")
    site.await_pushes()
    site.machine.shell("systemd-tmpfiles --create telemetry-agent.conf")
    assert site.machine.shell(f"stat --format %a {ETC}/token").strip() == "640"


def test_it_comes_back_after_a_reboot_with_the_energies_of_the_day(site: Site) -> None:
    site.meter.count(50.5)
    eventually(lambda: site.endpoint.messages[-1]["grid"].get("today_imported_energy_Wh") == 500, "the energy")
    site.machine.reboot()
    site.meter.count(50.75)
    site.await_pushes()
    eventually(lambda: site.endpoint.messages[-1]["grid"].get("today_imported_energy_Wh") == 750, "the energy")


def test_an_upgrade_keeps_everything_and_one_that_fails_changes_nothing(site: Site) -> None:
    version = site.machine.run("telemetry-agent", "--version").stdout
    before = site.property("MainPID")
    config = site.machine.run("cat", f"{ETC}/config.toml").stdout

    broken = release(site, "broken", "8.0", ("agent/cli/main.py", "raise SystemExit('broken')"))
    assert site.machine.run(f"{broken}/systemd/install", check=False).returncode
    assert site.property("MainPID") == before
    assert site.machine.run("telemetry-agent", "--version").stdout == version

    dies = release(site, "dies", "8.1", ("agent/service/daemon.py", "raise SystemExit('dies')"))
    failed = site.machine.run(f"{dies}/systemd/install", check=False)
    assert failed.returncode == 1
    assert "the old release runs again" in failed.stdout
    assert site.machine.run("telemetry-agent", "--version").stdout == version
    site.await_pushes()

    # An operator may set an absolute link. The upgrade still tries the new release, and keeps this one.
    site.machine.shell(f"ln -sfn {OPT}/$(readlink {OPT}/current) {OPT}/current")
    pip = "/opt/telemetry-agent/current/bin/pip --quiet --disable-pip-version-check"
    site.machine.shell(f"{pip} wheel --no-deps --wheel-dir /root {release(site, 'next', '9.0')}")
    site.machine.shell("/src/systemd/install /root/telemetry_push_agent-9.0-*.whl")
    assert site.machine.run("telemetry-agent", "--version").stdout == "telemetry-agent 9.0\n"
    assert site.machine.run("cat", f"{ETC}/config.toml").stdout == config
    site.await_pushes()
    assert site.endpoint.messages[-1]["grid"]["today_imported_energy_Wh"] == 750
    assert len(site.machine.shell("ls /opt/telemetry-agent/releases").split()) == 2


def test_it_goes_as_a_whole_and_leaves_what_is_the_sites(site: Site) -> None:
    site.machine.run("/src/systemd/uninstall")
    assert site.machine.run("systemctl", "cat", "telemetry-agent", check=False).returncode
    assert site.machine.run("bash", "-c", "command -v telemetry-agent", check=False).returncode
    assert {"config.toml", "token"} <= set(site.machine.shell(f"ls {ETC}").split())
    assert "outbox.sqlite3" in site.machine.shell(f"ls {STATE}")
    site.machine.run("/src/systemd/uninstall", "--purge")
    elsewhere = "-path /src -prune -o -path /stage -prune -o -path /root -prune"
    assert site.machine.shell(f"find / -xdev {elsewhere} -o -name '*telemetry?agent*' -print") == ""
    assert "telemetry" not in site.machine.shell("cat /etc/passwd /etc/group")
