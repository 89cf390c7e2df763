"""sd_notify on a real datagram socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.service.sd_notify import notify, reloading, status, watchdog_s


@pytest.mark.parametrize("abstract", [False, True])
def test_one_datagram_carries_all_lines(tmp_path: Path, abstract: bool) -> None:
    address = f"@{tmp_path}/notify" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        notify("READY=1", status("3 of 4\ndevices"), environ={"NOTIFY_SOCKET": address})
        assert manager.recv(1000) == b"READY=1\nSTATUS=3 of 4 devices"
        notify(*reloading(), environ={"NOTIFY_SOCKET": address})
        first, second = manager.recv(1000).decode().split("\n")
        assert first == "RELOADING=1"
        assert second.removeprefix("MONOTONIC_USEC=").isdecimal()


def test_no_manager_and_one_that_went_away_are_no_error(tmp_path: Path) -> None:
    notify("READY=1", environ={})
    notify("READY=1", environ={"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_the_watchdog_is_for_the_process_it_names() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 7) == 60
    assert watchdog_s({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 8) is None
    assert watchdog_s({"WATCHDOG_USEC": "500000"}, 8) == 0.5
    for nothing in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}):
        assert watchdog_s(nothing, 8) is None
