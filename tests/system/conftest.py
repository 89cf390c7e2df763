"""What stands around the machine: a meter and the reference endpoint, on the loopback that it shares with the host."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.site import Endpoint, sdm630
from tests.system import debian
from tests.system.machine import Machine, eventually
from tests.system.package import BREAKS, REFUSES, build

ETC = "/etc/telemetry-agent"
STATE = "/var/lib/telemetry-agent"


class Meter:
    """A FaultServer on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = FaultServer({(1, Table.INPUT): sdm630(1234.0, 50.0, 0.0)})
        asyncio.run_coroutine_threadsafe(self.server.listen(), self._loop).result()

    def count(self, imported_kwh: float) -> None:
        """Move the counter."""
        self.server.registers[1, Table.INPUT].update(sdm630(1234.0, imported_kwh, 0.0))

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.__aexit__(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class Site:
    """Everything of one site."""

    machine: Machine
    meter: Meter
    endpoint: Endpoint

    def configure(self, *devices: str, **push: Any) -> None:
        """Write the site's configuration; `devices` come after the meter."""
        keys = {"url": self.endpoint.url, "token_file": f"{ETC}/token", "interval_s": 1, "align": "clock"} | push
        lines = "\n".join(f"{key} = {value!r}" for key, value in keys.items())
        self.write(
            f"{ETC}/config.toml",
            f"[site]\nnode_id = 'SITE_1'\n[push]\n{lines}\n"
            f"[push.retry]\nmax_s = 2\n[poll]\ninterval_s = 0.5\nstale_after_s = 1\n"
            + "".join((self.device("meter-1", "grid"), *devices)),
        )

    def device(self, node_id: str, type_: str, unit_id: int = 1) -> str:
        return (
            f"[[device]]\nnode_id = '{node_id}'\ntype = '{type_}'\ndriver = 'eastron-sdm630'\nhost = '127.0.0.1'\n"
            f"port = {self.meter.server.port}\nunit_id = {unit_id}\ntimeout_s = 0.3\n"
        )

    def write(self, path: str, text: str) -> None:
        """Into the machine, keeping owner and mode of a file that is there."""
        place = self.machine.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def drop_in(self, text: str) -> None:
        """Change the unit; nothing takes the change back."""
        path = "/etc/systemd/system/telemetry-agent.service.d/test.conf"
        if text:
            self.write(path, f"[Service]\n{text}\n")
        else:
            self.machine.run("rm", "-f", path)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", "telemetry-agent")

    def property(self, name: str) -> str:
        """One of the unit's, as `systemctl show` names it."""
        return self.machine.run("systemctl", "show", f"--property={name}", "--value", "telemetry-agent").stdout.strip()

    def journal(self) -> str:
        return self.machine.run("journalctl", "--unit=telemetry-agent", "--no-pager", "--output=cat").stdout

    def await_pushes(self, count: int = 2, within_s: float = 30.0) -> None:
        """So many from now on."""
        wanted = self.endpoint.desk.counts["accepted"] + count
        eventually(lambda: self.endpoint.desk.counts["accepted"] >= wanted, "pushes", within_s)


@contextlib.contextmanager
def site_on(machine: Machine) -> Iterator[Site]:
    """Run a meter and the reference endpoint beside the machine, and delete the machine at the end."""
    meter = Meter()
    try:
        with Endpoint() as endpoint:
            yield Site(machine, meter, endpoint)
    finally:
        meter.close()
        machine.stop()
        debian.call("rm", "--recursive", "--force", machine.root)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        machine = debian.machine(tmp_path_factory.mktemp("machine"))
    except debian.UnableError as reason:
        pytest.skip(f"the system tests cannot run here: {reason}")
    with site_on(machine) as made:
        yield made


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Package of each kind of version."""
    directory = tmp_path_factory.mktemp("packages")
    try:
        debian.install_tools()
        return {
            "first": build(directory, "0.9.0"),
            "next": build(directory, "1.0.0"),
            "dies": build(directory, "1.1.0", BREAKS),
            "refuses": build(directory, "1.2.0", REFUSES),
        }
    except (FileNotFoundError, debian.UnableError) as reason:
        pytest.skip(f"no package can be built here: {reason}")
