"""Runs the daemon twice with faults of endpoints, devices and disk: its resources do not grow, no message is lost.

`python -m benchmarks.soak` does this for eight simulated hours.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.simulated_loop import SimulatedLoop
from tests.support.soak import BOUNDS, Soak, growth

MINUTES = 10


def test_after_all_faults_the_daemon_uses_what_it_used_before(tmp_path: Path) -> None:
    async def soak() -> None:
        (state := tmp_path / "state").mkdir()
        it = Soak(tmp_path, state, small_disk=False)
        async with it.running():
            await it.round(MINUTES, mistakes=1)
            before = await it.figures()
            await it.round(MINUTES, mistakes=1)
            after = await it.figures()
            left = await it.counted()
        assert {name: grown for name, grown in growth(before, after).items() if grown > BOUNDS[name]} == {}
        assert it.log.defects == []
        ledger = it.receiver.ledger
        assert ledger.stored >= 2 * MINUTES
        assert ledger.stored == ledger.accepted + left["waiting"] + left["parked"]
        assert (left["waiting"], left["parked"]) == (0, 2), "each round refuses one message"
        assert ledger.twice == it.renamed.ledger.twice == 0
        assert it.log.events["reloaded"]
        assert it.log.events["reload_refused"]
        assert it.notified["WATCHDOG"]

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(soak())
