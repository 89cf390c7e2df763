"""The day that the status page shows as charts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from agent.aggregation import Fields
from agent.outbox.backlog import Backlog
from agent.status.history import STEP_S, STEPS, History
from agent.status.model import EndpointStatus, Snapshot

TIME = 1_795_577_000.0


def snapshot(flow: dict[str, Fields], **endpoints: dict[str, int]) -> Snapshot:
    backlog = Backlog(0, None, 0, False, {})
    found = tuple(
        EndpointStatus(name, "https://e", 60, None, None, None, outcomes, (), backlog)
        for name, outcomes in endpoints.items()
    )
    return Snapshot("1", "S", TIME, 1.0, True, None, "synchronised", flow, (), found)


def power(value: float) -> dict[str, Fields]:
    return {"grid": {"active_power_W": value}}


def test_a_step_has_the_mean_of_its_samples_and_the_growth_of_the_counters() -> None:
    history = History(1000.0)
    history.add(1000.0, snapshot(power(100.0), a={"delivered": 2, "retry": 1, "refused": 1}))
    history.add(1060.0, snapshot(power(201.0), a={"delivered": 5, "retry": 1, "refused": 2}))
    history.add(1600.0, snapshot({"grid": {}}, a={"delivered": 6, "retry": 1, "refused": 2}))
    assert history.shown(1660.0, TIME) == {
        "step_s": 600.0,
        "began": TIME - 660,
        "power_W": {"grid": [150, None]},
        "endpoints": {"a": {"delivered": [3, 1], "failed": [1, 0]}},
    }


def test_steps_without_a_sample_are_empty_and_after_a_day_the_oldest_goes() -> None:
    history = History(0.0)
    history.add(0.0, snapshot(power(1.0), a={"delivered": 1}))
    history.add(3 * STEP_S, snapshot(power(2.0), a={"delivered": 2}))
    shown = history.shown(3 * STEP_S, TIME)
    assert shown["power_W"]["grid"] == [1, None, None, 2]
    assert shown["endpoints"]["a"]["delivered"] == [0, 0, 0, 1]
    for step in range(4, STEPS + 2):
        history.add(step * STEP_S, snapshot(power(float(step)), a={"delivered": 2}))
    shown = history.shown((STEPS + 1) * STEP_S + 1, TIME)
    assert shown["power_W"]["grid"] == [None, *range(2, 3), *range(4, STEPS + 2)]
    assert shown["began"] == round(TIME - 1 - (STEPS - 1) * STEP_S)
    shown = history.shown(9 * STEPS * STEP_S, TIME)
    assert shown["power_W"]["grid"] == [None] * STEPS
    assert set(shown["endpoints"]["a"]["delivered"]) == {0}


def test_a_group_that_never_had_a_power_is_unknown_and_one_that_is_removed_leaves() -> None:
    history = History(0.0)
    history.add(0.0, snapshot({"heat_pump": {}, "switched_load": {"active_power_W": 2000.0}}))
    assert history.shown(60.0, TIME)["power_W"] == {"heat_pump": [None], "switched_load": [2000]}
    history.add(60.0, snapshot({"switched_load": {"active_power_W": 1000.0}}))
    assert history.shown(60.0, TIME)["power_W"] == {"switched_load": [1500]}


def test_an_endpoint_that_is_removed_leaves_and_a_counter_that_restarts_counts_nothing() -> None:
    history = History(0.0)
    history.add(0.0, snapshot({}, a={"delivered": 9}, b={"delivered": 3}))
    history.add(60.0, snapshot({}, a={"delivered": 1}))
    history.add(120.0, snapshot({}, a={"delivered": 2}, b={"delivered": 1}))
    assert history.shown(120.0, TIME)["endpoints"] == {
        "a": {"delivered": [1], "failed": [0]},
        "b": {"delivered": [0], "failed": [0]},
    }


def test_its_memory_is_bounded() -> None:
    types = ("grid", "solar", "storage", "heat_pump", "switched_load", "variable_power_load")
    history = History(0.0)
    for step in range(2 * STEPS):
        flow: dict[str, Fields] = {name: {"active_power_W": -1234.5} for name in types}
        history.add(step * STEP_S, replace(snapshot(flow, a={"delivered": 2**33 * step}, b={}), time=TIME))
    powers, attempts = history._powers.values(), history._attempts.values()
    used = sum(sys.getsizeof(each.means) for each in powers)
    used += sum(sys.getsizeof(series) for each in attempts for series in (each.delivered, each.failed))
    assert used <= 6 * 700 + 2 * 1400
    assert len(json.dumps(history.shown(2 * STEPS * STEP_S, TIME))) < 12_000
