"""Scanning real sockets and pseudo-terminals."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.model import Kind, NodeType, Table
from drivers.profile.loader import Profile, load
from drivers.scan.identify import Identifier
from drivers.scan.scanner import Scanner, ScanSettings
from drivers.scan.targets import TargetError, Targets, parse_numbers, parse_targets
from drivers.scan.timeouts import LearnedTimeout
from drivers.scan.unit_search import SearchLocation
from drivers.simulator.modbus_server import ModbusServer
from drivers.simulator.sunspec_units import battery_model, inverter_model, meter_model, sunspec_unit
from tests.faults.device import Faults
from tests.faults.modbus import FaultServer, _Peer

QUICK = ScanSettings(connect_timeout_s=5.0, timeout_s=0.2, gateway_timeout_s=0.2, serial_timeout_s=0.2, request_gap_s=0)
MARK = 0xFC02
RTU_REQUEST = bytes.fromhex("01 04 000C 0001 F1C9")


def marked(folder: Path, name: str, value: object, type_: str = "uint16", extra: str = "") -> Profile:
    path = folder / f"{name}.toml"
    path.write_text(
        f'manufacturer = "Acme"\nmodels = ["{name}"]\nkind = "meter"\nsource = "this test"\n'
        '[[point]]\nquantity = "active_power"\ntable = "input"\naddress = 0\ntype = "float32"\n'
        f'[identify]\ntable = "holding"\naddress = {MARK}\ntype = "{type_}"\nequals = [{value}]\n{extra}'
    )
    return load(path)


def meter(mark: int) -> dict[Table, dict[int, int]]:
    return {Table.INPUT: {0: 0, 1: 0}, Table.HOLDING: {MARK: mark}}


def gateway(units: dict[int, int]) -> dict[tuple[int, Table], dict[int, int]]:
    return {(unit, table): words for unit, mark in units.items() for table, words in meter(mark).items()}


async def scan(settings: ScanSettings, targets: Targets, *profiles: Profile) -> list[SearchLocation]:
    scanner = Scanner(settings, Identifier(profiles, time.monotonic))
    await scanner.run(targets)
    return scanner.places


def at(*servers: FaultServer, settings: ScanSettings = QUICK) -> ScanSettings:
    return replace(settings, ports=tuple(server.port for server in servers))


LOCAL = Targets(hosts=("127.0.0.1",))


async def test_twenty_devices_behind_one_gateway_are_all_found(tmp_path: Path) -> None:
    profile = marked(tmp_path, "acme-1", 7)
    async with FaultServer(gateway(dict.fromkeys(range(1, 21), 7))) as server:
        (place,) = await scan(at(server), LOCAL, profile)
    assert [unit.unit_id for unit in place.units] == list(range(1, 21))
    for unit in place.units:
        assert unit.identity is not None
        assert [match.driver for match in unit.identity.matches] == ["acme-1"]
    assert not place.any_unit
    assert server.functions <= {3, 4}


async def test_a_gateway_that_answers_for_dead_units_finds_none_of_them() -> None:
    async with FaultServer(gateway({3: 7, 12: 7})) as server:
        for unit_id in set(range(256)) - {3, 12}:
            server.registers[unit_id, Table.COIL] = {}
            server.unit_faults[unit_id] = Faults(exception=11 if unit_id % 2 else 10)
        (place,) = await scan(at(server), LOCAL)
    assert [unit.unit_id for unit in place.units] == [3, 12]


class BusyGateway(asyncio.Protocol):
    """Serves one request at a time for all its clients, and is deaf for `busy_s` while it waits for a dead unit."""

    busy_s = 0.3
    units = frozenset({1, 3, 5, 7})

    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.free_at = max(getattr(BusyGateway, "free_at", 0.0), loop.time())
        if data[6] not in self.units:
            BusyGateway.free_at = self.free_at + self.busy_s
            return
        reply = data[:5] + bytes((3, data[6], data[7] | 0x80, 2))
        loop.call_at(self.free_at, self.transport.write, reply)  # type: ignore[union-attr]


@pytest.mark.simulated_time
async def test_a_gateway_that_is_deaf_while_it_waits_for_a_dead_unit_loses_none() -> None:
    listener = await asyncio.get_running_loop().create_server(BusyGateway, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    settings = replace(QUICK, ports=(port,), units=tuple(range(1, 8)), gateway_timeout_s=1.0, timeout_s=0.1)
    (place,) = await scan(settings, LOCAL)
    listener.close()
    assert [unit.unit_id for unit in place.units] == [1, 3, 5, 7]


def test_patience_follows_the_slowest_answer_and_never_undercuts_it() -> None:
    timeout = LearnedTimeout(1.0, 4.0)
    assert timeout.seconds == 4
    timeout.answered(0.02)
    assert timeout.seconds == 4, "until it is known how long silence is"
    assert timeout.learned_s == 0.3
    assert timeout.silent()
    assert not timeout.silent()
    assert timeout.seconds == 0.3
    timeout.answered(0.06)
    assert timeout.seconds == pytest.approx(0.6)
    timeout.answered(0.5)
    assert timeout.seconds == 1
    timeout.answered(2.0)
    assert timeout.seconds == 3


class Taciturn(asyncio.Protocol):
    """Answers at once to the first probe, and to nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data[8:10] == (40_000).to_bytes(2):
            self.transport.write(data[:5] + bytes((3, data[6], data[7] | 0x80, 2)))  # type: ignore[attr-defined]


async def test_a_quick_device_is_not_waited_for_long_where_it_has_nothing(tmp_path: Path) -> None:
    """Every mark that it does not have costs a time-out."""
    listener = await asyncio.get_running_loop().create_server(Taciturn, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    settings = replace(QUICK, ports=(port,), units=(1,), timeout_s=60)
    (place,) = await asyncio.wait_for(scan(settings, LOCAL, marked(tmp_path, "acme-1", 7)), 20)
    listener.close()
    assert place.units[0].identity is not None
    assert place.units[0].identity.matches == []


async def test_a_device_with_an_exception_for_everything_is_there() -> None:
    async with FaultServer(gateway({2: 7})) as server:
        server.unit_faults[2] = Faults(exception=4)
        (place,) = await scan(at(server), LOCAL)
    assert [unit.unit_id for unit in place.units] == [2]
    assert place.units[0].identity is not None
    assert place.units[0].identity.matches == []


async def test_a_device_that_does_not_look_at_the_unit_id_is_found_once(tmp_path: Path) -> None:
    async with FaultServer(gateway(dict.fromkeys(range(256), 7))) as server:
        (place,) = await scan(at(server), LOCAL, marked(tmp_path, "acme-1", 7))
    assert place.any_unit
    assert [unit.unit_id for unit in place.units] == [1]


async def test_the_units_asked_for_are_exactly_those_given() -> None:
    async with FaultServer(gateway({40: 7, 45: 7, 50: 7})) as server:
        (place,) = await scan(replace(at(server), units=(40, 41, 45)), LOCAL)
    assert [unit.unit_id for unit in place.units] == [40, 45]
    assert {seen.unit_id for seen in server.requests} == {40, 41, 45}


async def test_profiles_are_told_apart_in_one_read(tmp_path: Path) -> None:
    profiles = [marked(tmp_path, f"acme-{value}", value) for value in (7, 8, 9)]
    async with FaultServer(gateway({1: 8})) as server:
        (place,) = await scan(replace(at(server), units=(1,)), LOCAL, *profiles)
    identity = place.units[0].identity
    assert identity is not None
    assert [(match.driver, match.why) for match in identity.matches] == [("acme-8", f"by holding {MARK}")]
    assert [seen.address for seen in server.requests].count(MARK) == 1


async def test_a_wide_mark_wins_over_a_narrow_one(tmp_path: Path) -> None:
    narrow = marked(tmp_path, "a-narrow", 0x4142)
    wide = marked(tmp_path, "b-wide", '"ABCD"', "string", "length = 2\n")
    registers = {(1, Table.HOLDING): {MARK: 0x4142, MARK + 1: 0x4344}}
    async with FaultServer(registers) as server:
        (place,) = await scan(replace(at(server), units=(1,)), LOCAL, narrow, wide)
    identity = place.units[0].identity
    assert identity is not None
    assert [match.driver for match in identity.matches] == ["b-wide", "a-narrow"]


@pytest.mark.parametrize(
    ("lost", "found", "unanswered"), [(1, ["b-wide", "a-narrow"], ()), (2, ["a-narrow"], ("b-wide",))]
)
async def test_a_lost_reply_proposes_no_other_family(
    tmp_path: Path, lost: int, found: list[str], unanswered: tuple[str, ...]
) -> None:
    narrow = marked(tmp_path, "a-narrow", 0x4142)
    wide = marked(tmp_path, "b-wide", '"ABCD"', "string", "length = 2\n")
    registers = {(1, Table.HOLDING): {MARK: 0x4142, MARK + 1: 0x4344}}
    async with FaultServer(registers) as server:
        server.faults.lost[MARK, 2] = lost
        (place,) = await scan(replace(at(server), units=(1,), timeout_s=1.0), LOCAL, narrow, wide)
    identity = place.units[0].identity
    assert identity is not None
    assert [match.driver for match in identity.matches] == found
    assert identity.unanswered == unanswered


@pytest.mark.parametrize(
    ("models", "kind", "driver", "nodes"),
    [
        ([inverter_model(1000, 5, 230)], Kind.INVERTER, "sunspec", {NodeType.SOLAR}),
        ([meter_model(1000, 5, 6, 230)], Kind.METER, "sunspec-meter", {NodeType.GRID}),
        (
            [inverter_model(1000, 5, 230), battery_model(100, 50, 9000), meter_model(1000, 5, 6, 230)],
            Kind.HYBRID,
            "sunspec",
            {NodeType.SOLAR, NodeType.STORAGE, NodeType.GRID},
        ),
    ],
)
async def test_sunspec_devices_say_what_they_are(
    models: list[list[int]], kind: Kind, driver: str, nodes: set[NodeType]
) -> None:
    server = ModbusServer([sunspec_unit("x", lambda: models, 126)], "127.0.0.1")
    await server.start()
    (place,) = await scan(replace(QUICK, ports=(server.port,), units=(126,)), LOCAL)
    await server.stop()
    assert [unit.unit_id for unit in place.units] == [126]
    identity = place.units[0].identity
    assert identity is not None
    (match,) = identity.matches
    assert (match.driver, match.kind, set(match.nodes), match.device) == (driver, kind, nodes, "Simulated x")


async def test_each_further_meter_of_a_sunspec_device_is_found() -> None:
    models = [inverter_model(1000, 5, 230), meter_model(1000, 5, 6, 230), meter_model(7, 5, 6, 230)]
    server = ModbusServer([sunspec_unit("x", lambda: models)], "127.0.0.1")
    await server.start()
    (place,) = await scan(replace(QUICK, ports=(server.port,), units=(1,)), LOCAL)
    await server.stop()
    identity = place.units[0].identity
    assert identity is not None
    assert [match.further for match in identity.matches] == [("sunspec-meter:2",)]


async def test_a_sunspec_family_with_wishes_of_its_own_comes_first(tmp_path: Path) -> None:
    text = 'manufacturer = "{}"\nmodels = ["x"]\nkind = "hybrid"\nsource = "this test"\ndriver = "{}"\n'
    families = {
        "theirs": ("Simulated", "sunspec"),
        "others": ("Acme", "sunspec"),
        "meter": ("Simulated", "sunspec-meter"),
    }
    profiles = []
    for name, family in families.items():
        (tmp_path / f"{name}.toml").write_text(text.format(*family))
        profiles.append(load(tmp_path / f"{name}.toml"))
    server = ModbusServer([sunspec_unit("x", lambda: [inverter_model(1000, 5, 230)])], "127.0.0.1")
    await server.start()
    (place,) = await scan(replace(QUICK, ports=(server.port,), units=(1,)), LOCAL, *profiles)
    await server.stop()
    identity = place.units[0].identity
    assert identity is not None
    assert [match.driver for match in identity.matches] == ["theirs", "sunspec"]


async def test_a_sunspec_device_that_answers_as_two_units_is_one() -> None:
    models = [inverter_model(1000, 5, 230)]
    server = ModbusServer([sunspec_unit("same", lambda: models, unit) for unit in (1, 126)], "127.0.0.1")
    await server.start()
    (place,) = await scan(replace(QUICK, ports=(server.port,), units=(1, 2, 126)), LOCAL)
    await server.stop()
    assert [unit.unit_id for unit in place.units] == [1]
    same = f"unit 126 is the same device as 127.0.0.1:{server.port} unit 1 (the same serial number)"
    assert place.note == f"{same}; omitted, because it would count twice (its driver would be 'sunspec')"


async def test_two_serial_numbers_on_two_ports_are_two_devices() -> None:
    models = [inverter_model(1000, 5, 230)]
    servers = [ModbusServer([sunspec_unit(name, lambda: models)], "127.0.0.1") for name in ("east", "west")]
    for server in servers:
        await server.start()
    places = await scan(replace(QUICK, ports=tuple(server.port for server in servers), units=(1,)), LOCAL)
    for server in servers:
        await server.stop()
    assert [[unit.unit_id for unit in place.units] for place in places] == [[1], [1]]


async def test_without_values_one_unit_id_on_two_ports_is_in_doubt_and_two_meters_on_one_are_two(
    tmp_path: Path,
) -> None:
    profile = marked(tmp_path, "acme-1", 7)
    async with FaultServer(gateway({1: 7, 2: 7})) as first, FaultServer(gateway({2: 7, 3: 7})) as second:
        places = await scan(replace(at(first, second), units=(1, 2, 3)), LOCAL, profile)
    doubt = f"perhaps the same device as 127.0.0.1:{first.port} unit 2 (the same unit id on another port)"
    assert [[(unit.unit_id, unit.doubt) for unit in place.units] for place in places] == [
        [(1, ""), (2, "")],
        [(2, doubt), (3, "")],
    ]


@pytest.mark.parametrize("transport", ["tcp", "rtu"])
async def test_an_unknown_device_is_asked_what_it_calls_itself(transport: str) -> None:
    async with FaultServer(gateway({1: 7}), transport=transport) as server:
        server.faults.labels = (b"Acme", b"X1", b"V2.0")
        link = server.link()
        targets = LOCAL if link.serial_port is None else Targets(serial_ports=(link.serial_port,))
        (place,) = await scan(replace(QUICK, ports=(server.port or 502,), units=(1,)), targets)
    identity = place.units[0].identity
    assert identity is not None
    assert identity.labels == ("Acme", "X1", "V2.0")
    assert [seen.function for seen in server.requests].count(43) == 1
    assert server.functions <= {1, 3, 4, 43}, "coils too, because it has no register that a profile knows"


async def test_serial_lines_are_tried_until_one_answers(tmp_path: Path) -> None:
    async with FaultServer(gateway({4: 7}), transport="rtu") as server:
        port = server.link().serial_port
        assert port is not None
        (place,) = await scan(QUICK, Targets(serial_ports=(port,)), marked(tmp_path, "acme-1", 7))
    assert (place.link.serial_port, place.link.baudrate, place.link.parity) == (port, 9600, "N")
    assert [unit.unit_id for unit in place.units] == [4]
    identity = place.units[0].identity
    assert identity is not None
    assert [match.driver for match in identity.matches] == ["acme-1"]


async def test_a_serial_line_without_devices_says_so_after_every_setting() -> None:
    settings = replace(QUICK, units=(1,), lines=((9600, "N"), (2400, "N")), serial_timeout_s=0.02)
    async with FaultServer({}, transport="rtu") as server:
        port = server.link().serial_port
        assert port is not None
        (place,) = await scan(settings, Targets(serial_ports=(port,)))
    assert place.units == []
    assert place.note.startswith("no unit answers")
    assert place.link.baudrate == 2400


async def test_a_serial_port_that_is_not_there_says_why() -> None:
    (place,) = await scan(QUICK, Targets(serial_ports=("/dev/ttyNONE",)))
    assert "no such serial port" in place.note


async def test_closed_ports_are_passed_over_and_those_that_are_no_modbus_named() -> None:
    units = gateway(dict.fromkeys(range(256), 7))
    async with FaultServer(units) as server, FaultServer(units) as closed:
        server.faults.garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        await closed.refuse()
        (place,) = await scan(at(closed, server), LOCAL)
    assert place.link.port == server.port
    assert place.units == []
    assert place.note.startswith("the port is open, but the reply is not valid Modbus")


async def test_a_converter_that_does_not_translate_is_read_with_rtu_frames(tmp_path: Path) -> None:
    """It ignores requests of Modbus TCP, so only RTU frames show what it is."""
    async with FaultServer(gateway({2: 7, 5: 7}), transport="rtu_over_tcp") as server:
        (place,) = await scan(replace(at(server), units=(1, 2, 5)), LOCAL, marked(tmp_path, "acme-1", 7))
    assert [unit.unit_id for unit in place.units] == [2, 5]
    for unit in place.units:
        assert unit.identity is not None
        assert [match.driver for match in unit.identity.matches] == ["acme-1"]
    assert place.link.transport == "rtu_over_tcp"
    assert place.note == "the converter does not translate to Modbus TCP: transport is rtu_over_tcp"


class SharedBus(FaultServer):
    """A converter without translation. Each request of Modbus TCP is answered with an RTU frame of another device."""

    def _received(self, peer: _Peer, data: bytes) -> None:
        if len(data) > len(RTU_REQUEST):
            peer.write(bytes.fromhex("0304 0000 0002 70 29"))
        else:
            super()._received(peer, data)


@pytest.mark.simulated_time
async def test_a_slow_device_behind_a_converter_that_does_not_translate_is_found(tmp_path: Path) -> None:
    async with SharedBus(gateway({1: 7}), transport="rtu_over_tcp") as server:
        server.faults.slow_after_connect_s = 2.0
        (place,) = await scan(replace(at(server), units=(1,)), LOCAL, marked(tmp_path, "acme-1", 7))
    assert [unit.identity.matches[0].driver for unit in place.units if unit.identity] == ["acme-1"]
    assert (place.link.transport, place.link.connect_delay_s) == ("rtu_over_tcp", 3.0)
    assert place.note == "the converter does not translate to Modbus TCP: transport is rtu_over_tcp"


@pytest.mark.simulated_time
async def test_a_transport_that_was_tried_is_not_proposed() -> None:
    async with SharedBus({}, transport="rtu_over_tcp") as server:
        (place,) = await scan(replace(at(server), units=(1,)), LOCAL)
    assert (place.units, place.link.transport) == ([], "rtu_over_tcp")
    assert place.note == "the port is open and replies with RTU frames, but no unit answers"


async def test_an_rtu_frame_behind_found_units_ends_the_search_and_is_named() -> None:
    async with FaultServer(gateway({1: 7, 2: 7, 3: 7})) as server:
        server.unit_faults[2] = Faults(garbage=bytes.fromhex("020404 0000 0007 8946"))
        settings = replace(at(server), units=(1, 2, 3), timeout_s=60.0, gateway_timeout_s=60.0)
        (place,) = await scan(settings, LOCAL)
    assert ([unit.unit_id for unit in place.units], place.link.transport) == ([1], "tcp")
    assert place.note == "one of the replies is an RTU frame, so units may be missing"


async def test_rtu_frames_are_named_where_they_are_seen_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.scan.scanner._SLOW_DELAY_S", 0.1)
    monkeypatch.setattr("drivers.scan.scanner._SLOW_TIMEOUT_S", 0.1)
    async with FaultServer(gateway({1: 7})) as foreign, FaultServer(gateway({1: 7})) as silent:
        foreign.faults.garbage = bytes.fromhex("0304 0000 0002 70 29")
        silent.faults.silent = True
        settings = replace(at(foreign, silent), units=(1,))
        by_port = {place.link.port: place.note for place in await scan(settings, LOCAL)}
    assert by_port[foreign.port] == "the port is open and replies with RTU frames, but no unit answers"
    assert by_port[silent.port] == "the port is open, but no unit answers"


@pytest.mark.parametrize(
    ("fault", "found"), [(Faults(first_transaction_offset=7), [1, 2]), (Faults(transaction_offset=7), [])]
)
async def test_a_gateway_with_wrong_transactions_is_named_for_what_it_is(fault: Faults, found: list[int]) -> None:
    async with FaultServer(gateway({1: 7, 2: 7})) as server:
        server.faults = fault
        (place,) = await scan(replace(at(server), units=(1, 2)), LOCAL)
    assert [unit.unit_id for unit in place.units] == found
    assert "the transaction number of another request; the agent drops this reply. Restart the gateway" in place.note
    assert "rtu_over_tcp" not in place.note


async def test_a_gateway_that_replies_twice_is_scanned(tmp_path: Path) -> None:
    async with FaultServer(gateway({1: 7, 2: 7})) as server:
        server.faults.duplicate = True
        (place,) = await scan(replace(at(server), units=(1, 2)), LOCAL, marked(tmp_path, "acme-1", 7))
    assert [(unit.unit_id, bool(unit.identity and unit.identity.matches)) for unit in place.units] == [
        (1, True),
        (2, True),
    ]
    assert (place.note, server.max_connections) == ("", 1)


async def test_a_device_that_drops_its_client_ends_the_search_soon() -> None:
    async with FaultServer(gateway(dict.fromkeys(range(256), 7))) as server:
        server.faults.close_instead = True
        (place,) = await scan(at(server), LOCAL)
    assert "closes the connection instead of a reply" in place.note
    assert len(server.requests) < 10


async def test_a_device_that_swallows_what_comes_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.scan.scanner._SLOW_DELAY_S", 0.3)
    async with FaultServer(gateway({1: 7})) as server:
        server.faults.slow_after_connect_s = 0.2
        (place,) = await scan(replace(at(server), units=(1,)), LOCAL)
    assert [unit.unit_id for unit in place.units] == [1]
    assert place.link.connect_delay_s == 0.3


async def test_one_connection_and_one_request_at_a_time() -> None:
    async with FaultServer(gateway({1: 7, 2: 7})) as server:
        server.faults.latency_s = 0.005
        server.one_client = True
        (place,) = await scan(at(server), LOCAL)
    assert [unit.unit_id for unit in place.units] == [1, 2]
    assert server.max_connections == 1


@contextmanager
def silent_address(host: str, port: int) -> Iterator[None]:
    """A listener whose queue is full: the kernel drops every further SYN, as a host that is not there does."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((host, port))
            fillers.append(filler)
        try:
            yield
        finally:
            for filler in fillers:
                filler.close()


async def test_silent_addresses_are_waited_for_side_by_side() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(FaultServer(gateway({1: 7})))
        hosts = [f"127.0.7.{number}" for number in range(1, 31)]
        for host in hosts:
            stack.enter_context(silent_address(host, server.port))
        before = asyncio.get_running_loop().time()
        settings = replace(at(server), units=(1,), hosts_at_once=31, connect_timeout_s=2.0)
        (place,) = await scan(settings, Targets(hosts=(*hosts, "127.0.0.1")))
        took_s = asyncio.get_running_loop().time() - before
    assert place.link.host == "127.0.0.1"
    assert 1.9 < took_s < 30 * 2.0 / 3, "30 time-outs of 2 s cost about one of them"


async def test_a_scan_that_is_broken_off_keeps_what_it_found() -> None:
    async with FaultServer(gateway({1: 7})) as server, FaultServer(gateway({1: 7})) as second:
        second.faults.silent = True
        settings = replace(at(server, second), units=(1, 2), timeout_s=60)
        server.unit_faults[2] = Faults(exception=11)
        scanner = Scanner(settings, Identifier([], time.monotonic))
        task = asyncio.create_task(scanner.run(LOCAL))
        await second.wait(lambda: bool(second.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await second.wait(lambda: not second.connections)
    assert [(place.link.port, len(place.units)) for place in scanner.places] == [(server.port, 1)]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("192.168.1.20", ["192.168.1.20"]),
        ("inverter.local", ["inverter.local"]),
        ("192.168.1.0/30", ["192.168.1.1", "192.168.1.2"]),
        ("192.168.1.7/32", ["192.168.1.7"]),
        ("192.168.1.9-11", ["192.168.1.9", "192.168.1.10", "192.168.1.11"]),
        ("192.168.1.254-192.168.2.1", ["192.168.1.254", "192.168.1.255", "192.168.2.0", "192.168.2.1"]),
        ("fe80::1%eth0", ["fe80::1%eth0"]),
        ("fd00::1", ["fd00::1"]),
    ],
)
def test_targets(text: str, hosts: list[str]) -> None:
    assert parse_targets([text]) == Targets(hosts=tuple(hosts))


def test_serial_ports_and_hosts_stand_side_by_side_and_once() -> None:
    targets = parse_targets(["/dev/ttyUSB0", "10.0.0.1", "10.0.0.1-2"])
    assert targets == Targets(hosts=("10.0.0.1", "10.0.0.2"), serial_ports=("/dev/ttyUSB0",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.168.1.0/99",
        "10.0.0.0/8",
        "192.168.1.20-10",
        "192.168.1.300",
        "1.2.3.4-::1",
        "-x",
        "a b",
        "FE80::1",
        "fe80::/120",
    ],
)
def test_wrong_targets_say_what_is_right(text: str) -> None:
    with pytest.raises(TargetError, match=re.escape(f"(found {text!r})")):
        parse_targets([text])


def test_numbers() -> None:
    assert parse_numbers("1,3,10-12,3", 0, 255) == (1, 3, 10, 11, 12)
    for text in ("", "x", "5-1", "256", "1,,2", "-1"):
        with pytest.raises(TargetError, match=r"must be numbers 0\.\.255"):
            parse_numbers(text, 0, 255)
