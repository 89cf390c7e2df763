"""The Ansible role of docs/examples on a clean Debian 12: check mode, installation, an upgrade that fails.

Ansible runs inside the machine. Both hosts of the inventory are this machine: the role does the same on each.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import TOKEN
from tests.system import debian
from tests.system.conftest import ETC, Site, site_on
from tests.system.debian import REPO

pytestmark = pytest.mark.system

ANSIBLE = "ansible-core==2.19.14"
INVENTORY = """
sites:
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
  hosts: {first: {}, second: {}}
canary:
  hosts: {first: {}}
"""


@pytest.fixture(scope="module")
def fleet(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A machine with Ansible, the example and the packages in /stage, beside a meter and the reference endpoint."""
    try:
        machine = debian.machine(tmp_path_factory.mktemp("machine"), "bookworm")
        wheels = machine.stage / "wheels"
        debian.call(sys.executable, "-m", "pip", "--quiet", "download", "--dest", wheels, "--python-version=3.11",
                    "--only-binary=:all:", ANSIBLE)  # fmt: skip
    except debian.UnableError as reason:
        pytest.skip(f"the system tests cannot run here: {reason}")
    shutil.copytree(REPO / "docs/examples/ansible", machine.stage / "ansible")
    (machine.stage / "packages").mkdir()
    for path in packages.values():
        shutil.copy(path, machine.stage / "packages")
    (machine.stage / "ansible/inventory.yml").write_text(INVENTORY)
    shutil.rmtree(machine.stage / "ansible/host_vars")
    machine.shell(
        "python3 -m venv /root/ansible; "
        f"PIP_FIND_LINKS=/stage/wheels /root/ansible/bin/pip --quiet install {ANSIBLE}; "
        "echo password >/root/vault; cp -r /stage/ansible /root/run; cd /root/run; "
        f"echo 'vault_telemetry_agent_token: {TOKEN}' >group_vars/sites.yml; "
        "LC_ALL=C.UTF-8 /root/ansible/bin/ansible-vault encrypt --vault-password-file /root/vault group_vars/sites.yml"
    )
    with site_on(machine) as made:
        yield made


def play(fleet: Site, version: str, *options: str, ready_s: int = 60) -> subprocess.CompletedProcess[str]:
    """Run the example's playbook for a version, with the meter and the endpoint of the test."""
    device = {"node_id": "meter-1", "type": "grid", "driver": "eastron-sdm630", "host": "127.0.0.1"}
    variables = {
        "telemetry_agent_version": version,
        "telemetry_agent_packages": "/stage/packages",
        "telemetry_agent_ready_s": ready_s,
        "telemetry_agent_node_id": "SITE_1",
        "telemetry_agent_token": "{{ vault_telemetry_agent_token }}",
        "telemetry_agent_push": {"url": fleet.endpoint.url, "interval_s": 1, "align": "clock"},
        "telemetry_agent_devices": [device | {"port": fleet.meter.server.port}],
    }
    fleet.write("/root/run/group_vars/all.yml", json.dumps(variables))
    return fleet.machine.run(
        *("env", "-C", "/root/run", "LC_ALL=C.UTF-8", "/root/ansible/bin/ansible-playbook", "site.yml"),
        *("--inventory=inventory.yml", "--vault-password-file=/root/vault", *options),
        check=False,
    )


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, int]]:
    """Host → counts by kind."""
    lines = re.findall(r"(?m)^(\w+) +: (ok=.*)$", done.stdout)
    return {host: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def version(fleet: Site) -> str:
    return fleet.machine.run("telemetry-agent", "--version").stdout.split()[-1]


def test_check_mode_says_that_a_new_controller_changes_and_changes_nothing(fleet: Site) -> None:
    done = play(fleet, "0.9.0", "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert {host: counts["changed"] for host, counts in recap(done).items()} == {"first": 1, "second": 1}
    assert not (fleet.machine.root / ETC.lstrip("/")).exists()


def test_the_first_run_installs_and_the_second_changes_nothing(fleet: Site) -> None:
    done = play(fleet, "0.9.0", "--diff")
    assert done.returncode == 0, done.stdout
    assert version(fleet) == "0.9.0"
    fleet.await_pushes()
    modes = fleet.machine.shell(f"stat --format '%a %U:%G' {ETC}/token {ETC}/config.toml").splitlines()
    assert modes == ["640 root:telemetry-agent"] * 2
    assert TOKEN not in done.stdout
    # The second host is the same machine.
    assert recap(done)["second"]["changed"] == 0
    assert fleet.machine.run("systemctl", "is-enabled", "telemetry-agent").stdout == "enabled\n"


def test_a_canary_whose_messages_do_not_arrive_goes_back_and_stops_the_rest(fleet: Site) -> None:
    keep = fleet.endpoint.desk.keep

    def refuse(identity: str, message: object) -> None:
        raise OSError

    fleet.endpoint.desk.keep = refuse
    done = play(fleet, "1.0.0", ready_s=9)
    fleet.endpoint.desk.keep = keep
    assert done.returncode
    assert recap(done)["first"]["failed"] == 1
    assert "second" not in recap(done)
    assert "Wait until messages arrive at the endpoint" in done.stdout
    assert version(fleet) == "0.9.0"
    fleet.await_pushes()
