"""This release reads the files of every earlier one. Each directory of tests/fixtures/releases is one version."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import agent
from agent.energy.ledger import of_day
from agent.energy.store import EnergyStore
from tests.support.outbox import opened, waiting
from tests.support.release_state import RELEASES, write

VERSIONS = sorted(each.name for each in RELEASES.iterdir())

DATE = "2026-11-29"
WRITTEN = {("meter-1", "imported_energy"): 20.0}
"""Energies of DATE that `write` stores, by node and counter."""
ENERGIES: dict[str, dict[tuple[str, str], float]] = {
    # The daemon of that release ran for a minute on a simulated site.
    "0.1.0": {
        ("meter-1", "imported_energy"): 24.414,
        ("meter-1", "exported_energy"): 15.869,
        ("pv-south", "produced_energy"): 0.0,
    },
}


@pytest.fixture(params=[*VERSIONS, "now"])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The state directory of a release, or one that this checkout writes for later ones."""
    directory: Path = tmp_path / request.param
    if request.param == "now":
        write(directory)
        return directory
    shutil.copytree(RELEASES / request.param, directory)
    return directory


def rows(path: Path, query: str) -> Sequence[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def test_the_version_of_this_checkout_has_its_files() -> None:
    assert agent.__version__ in VERSIONS


def test_every_message_of_the_queue_is_kept(release: Path) -> None:
    path = release / "outbox.sqlite3"
    stored = rows(path, "SELECT id, body, attempts, parked FROM message ORDER BY seq")
    newest = json.loads(stored[-1][1])["time"]
    with capture_logs() as logs:
        outbox = opened(path, at=newest + 60.0)
        kept = sorted([*waiting(outbox), *outbox.parked()], key=lambda record: record.seq)
        outbox.put([b"{}"])
        outbox.close()
    assert [(each.id, each.body, each.attempts, each.parked) for each in kept] == stored
    assert {each.parked is None for each in kept} == {True, False}
    assert logs == []


def test_the_energies_of_the_day_are_kept(release: Path) -> None:
    with capture_logs() as logs:
        store = EnergyStore.open(release / "energy.sqlite3")
        ledgers, nights = store.load(), store.load_nights()
        store.save(ledgers, nights)
        store.close()
    assert logs == []
    days = {(node, quantity.value): of_day(ledger, DATE) for (node, quantity), ledger in ledgers.items()}
    assert {key: round(day.energy, 3) for key, day in days.items() if day is not None} == ENERGIES.get(
        release.name, WRITTEN
    )
    assert set(nights) == {"pv-south"}
