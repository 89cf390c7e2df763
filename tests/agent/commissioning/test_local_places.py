"""What `init` proposes to scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.commissioning.local_places import places, timezone

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
eth1\t0000000A\t00000000\t0001\t0\t0\t100\t000000FF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_the_connected_networks_and_the_serial_ports(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text(ROUTES)
    (tmp_path / "ttyUSB1").touch()
    (tmp_path / "ttyS0").touch()
    assert places(routes, tmp_path) == ["192.168.1.0/24", str(tmp_path / "ttyUSB1")]
    assert places(tmp_path / "missing", tmp_path / "none") == []


def test_the_time_zone_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Brussels")
    assert timezone(link) == "Europe/Brussels"
    assert timezone(tmp_path / "missing") is None
    monkeypatch.setenv("TZ", ":Europe/Paris")
    assert timezone(link) == "Europe/Paris"
    for rule in ("CET-1", "CET-1CEST,M3.5.0/2,M10.5.0/3", "Europe/Nowhere", "../Europe/Paris"):
        monkeypatch.setenv("TZ", rule)
        assert timezone(link) is None
    for path in (link, "/usr/share/zoneinfo/Europe/Brussels"):
        for colon in ("", ":"):
            monkeypatch.setenv("TZ", f"{colon}{path}")
            assert timezone(tmp_path / "missing") == "Europe/Brussels"
    monkeypatch.setenv("TZ", f":{tmp_path}/missing")
    assert timezone(link) is None
