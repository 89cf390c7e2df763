"""Eight of twenty devices break in eight ways at once: the pushes neither wait for them nor carry what they say."""

from __future__ import annotations

import asyncio
import json
import struct
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path

from agent.app import App
from agent.config.loader import parse
from agent.polling.device_health import BACKOFF_FIRST_S
from agent.runtime.clock import Clock
from agent.site.builder import build
from drivers.model import Table
from tests.faults.http import Exchange, HttpFaults
from tests.faults.modbus import Faults, FaultServer, registers_from
from tests.support.delivery import FastClock

STALE_AFTER_S = 1.0
DEADLINE_S = 0.5
BROKEN_S = 4
SLACK_S = 1.5
"""For a busy machine; less than waiting for the slowest time-out would take."""
TIMEOUTS_S = {0: 3.0}

ALONE = {
    0: Faults(silent=True),
    1: Faults(reset_mid_frame=True),
    2: Faults(unit_offset=1),
    3: Faults(fewer=1),
    4: Faults(garbage=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}
REFUSING = 5
BEHIND_GATEWAYS = {13: Faults(exception=11), 18: Faults(dribble_s=0.05)}
BROKEN = {*ALONE, REFUSING, *BEHIND_GATEWAYS}
HEALTHY = set(range(20)) - BROKEN


def registers(power: float) -> dict[int, int]:
    words = registers_from(0, [0] * 100)
    words[52], words[53] = struct.unpack(">HH", struct.pack(">f", power))
    return words


class Site:
    """Twelve devices with a connection each, and two gateways with four more behind each."""

    def __init__(self) -> None:
        units = [[number] for number in range(12)] + [[12, 13, 14, 15], [16, 17, 18, 19]]
        self.servers = [
            FaultServer({(number + 1, Table.INPUT): registers(1000 + number) for number in numbers})
            for numbers in units
        ]
        self.of = {number: server for server, numbers in zip(self.servers, units, strict=True) for number in numbers}

    def show(self, number: int, power: float) -> None:
        self.of[number].registers[number + 1, Table.INPUT] = registers(power)

    async def break_down(self) -> None:
        for number in BROKEN:
            self.show(number, 666)
        for number, faults in {**ALONE, **BEHIND_GATEWAYS}.items():
            self.of[number].unit_faults[number + 1] = faults
        await self.of[REFUSING].refuse()

    async def heal(self) -> None:
        for number in BROKEN:
            self.show(number, 2000 + number)
            self.of[number].heal()
        await self.of[REFUSING].listen()

    def tables(self) -> str:
        return "".join(
            f'[[device]]\nnode_id = "{number}"\ntype = "grid"\ndriver = "eastron-sdm630"\nhost = "127.0.0.1"\n'
            f"port = {server.port}\nunit_id = {number + 1}\ntimeout_s = {TIMEOUTS_S.get(number, 0.2)}\n"
            for number, server in self.of.items()
        )


class Endpoint:
    """Keeps what arrives, by its time: how late, and the power of each node. It shares the loop of the agent, too."""

    def __init__(self, clock: Clock) -> None:
        self.late_s: dict[int, float] = {}
        self.powers: dict[int, dict[int, float]] = {}
        self.server = HttpFaults(self._take)
        self._clock = clock

    async def _take(self, exchange: Exchange) -> None:
        await exchange.accept()
        message = json.loads(exchange.request.body)
        self.late_s[message["time"]] = self._clock.time() - message["time"]
        self.powers[message["time"]] = {
            int(node): fields["grid"]["active_power_W"]
            for node, fields in message["nodes"].items()
            if "active_power_W" in fields["grid"]
        }
        await exchange.answer(204)

    async def wait_for(self, nodes: set[int], pushes: int = 1) -> None:
        """Until the last `pushes` pushes had exactly these nodes."""
        await self.server.until(
            lambda: [set(self.powers[at]) for at in sorted(self.powers)[-pushes:]] == [nodes] * pushes
        )


async def test_eight_of_twenty_devices_broken_in_eight_ways(tmp_path: Path) -> None:
    """The agent shares the event loop and the clock of its devices, so that no load of the machine counts as time."""
    clock = FastClock(1.0)
    site, endpoint = Site(), Endpoint(clock)
    async with AsyncExitStack() as stack:
        for server in site.servers:
            await stack.enter_async_context(server)
        await stack.enter_async_context(endpoint.server)
        tables = tomllib.loads(
            f'[site]\nnode_id = "S"\n[push]\nurl = "{endpoint.server.url()}"\ntoken = "t"\ninterval_s = 1\n'
            f'align = "clock"\nwait_for_clock_s = 0\nlevels = ["device"]\ndevice_format = "snapshot"\n'
            f"deadline_s = {DEADLINE_S}\n[poll]\ninterval_s = 0.5\nstale_after_s = {STALE_AFTER_S}\n"
            f'[outbox]\npath = "{tmp_path}/outbox.sqlite3"\n{site.tables()}'
        )
        config = parse(tables, {}, "test")
        agent = asyncio.create_task(App(config, build(config, "test"), clock, {}).run())
        stack.push_async_callback(asyncio.wait, [agent])
        stack.callback(agent.cancel)
        await endpoint.wait_for(HEALTHY | BROKEN, pushes=2)
        begin = clock.time()
        await site.break_down()
        await clock.sleep(BROKEN_S)
        healed = clock.time()
        await site.heal()
        await endpoint.wait_for(HEALTHY | BROKEN)
        back = max(endpoint.powers)
    times = [at for at in sorted(endpoint.powers) if at >= begin]
    assert times == list(range(times[0], times[-1] + 1))
    assert {at: late for at, late in endpoint.late_s.items() if late > DEADLINE_S + SLACK_S} == {}
    for at in times:
        powers = endpoint.powers[at]
        assert {number: powers.get(number) for number in HEALTHY} == {number: 1000.0 + number for number in HEALTHY}
        allowed = {1000} if at < begin + STALE_AFTER_S else set()
        allowed |= {2000} if at + DEADLINE_S >= healed else set()
        assert {power - number for number, power in powers.items() if number in BROKEN} <= allowed
    assert [at for at in times if begin + STALE_AFTER_S < at < healed]
    # Two probes failed within BROKEN_S: the next is due within twice the second wait.
    assert back - healed <= 4 * BACKOFF_FIRST_S + 1 + DEADLINE_S
    assert all(server.max_connections <= 1 for server in site.servers)
