"""The texts of addresses."""

from __future__ import annotations

import pytest

from drivers.addresses import host_and_port, is_ip_address, link_address, unit_address, zone_mistake


@pytest.mark.parametrize(
    "link", [host_and_port("192.168.1.20", 502), host_and_port("fe80::1%eth0", 802), "/dev/ttyUSB0"]
)
def test_the_address_of_a_unit_holds_that_of_its_link(link: str) -> None:
    assert unit_address(link, 3) == f"{link} unit 3"
    assert link_address(unit_address(link, 3)) == link


def test_an_ipv6_address_has_brackets_before_its_port() -> None:
    assert host_and_port("::1", 502) == "[::1]:502"
    assert host_and_port("meter.lan", 502) == "meter.lan:502"


@pytest.mark.parametrize(
    ("host", "wrong"),
    [("fe80::1", True), ("FE80::1", True), ("febf::1", True), ("fe80::1%eth0", False), ("2001:db8::1", False)],
)
def test_a_link_local_address_needs_its_interface(host: str, wrong: bool) -> None:
    assert (zone_mistake(host) is not None) == wrong
    assert is_ip_address(host)


def test_a_name_is_no_address() -> None:
    assert not is_ip_address("meter.lan")
    assert not is_ip_address("[::1]")
