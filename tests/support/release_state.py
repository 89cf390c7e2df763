"""Writes the queue and the energies of this release for the tests of later ones; see docs/releasing.md.

`python -m tests.support.release_state` writes them to tests/fixtures/releases/VERSION.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from pathlib import Path

import agent
from agent.domain import Night
from agent.energy.readings import advance
from agent.energy.store import EnergyStore
from drivers.model import Quantity
from tests.support.outbox import opened, waiting

RELEASES = Path(__file__).parents[1] / "fixtures/releases"
AT = 1_795_911_064
"""2026-11-29 00:11 UTC."""


def write(directory: Path) -> None:
    """Write a queue with two messages and a dead letter, a counter with 20 Wh of the day, and a saved night."""
    outbox = opened(directory / "outbox.sqlite3", at=AT)
    outbox.put([b'{"time":%d}' % (AT + number) for number in range(3)])
    first = waiting(outbox)[0]
    outbox.update(replace(first, attempts=5, refusals=5, parked="HTTP 422"))
    outbox.close()
    ledger = None
    for number in range(3):
        ledger = advance(ledger, 1000.0 + 10.0 * number, AT + 60.0 * number, UTC)
    assert ledger is not None
    store = EnergyStore.open(directory / "energy.sqlite3")
    store.save({("meter-1", Quantity.IMPORTED_ENERGY): ledger}, {"pv-south": Night(0.0, AT, AT - 60.0, AT - 60.0)})
    store.close()
    (directory / "outbox.sqlite3.reserve").unlink(missing_ok=True)


if __name__ == "__main__":
    write(RELEASES / agent.__version__)
