"""What holds for the whole run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import engine

from drivers.simulator.modbus_server import SimulatedUnit
from tests import hunt
from tests.faults import wire
from tests.steady_loop import SteadyLoop

# A slow machine is no failure: no profile limits the time of an example. `steady` tries the same examples in each run,
# `hunt` others. The hypothesis plugin loads another profile after this file, where the command line names one.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("hunt", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("steady")
# hypothesis has no setting for this: a test that fails shrinks its example for five minutes.
engine.MAX_SHRINKING_SECONDS = 20


def pytest_configure() -> None:
    """A shell starts a background job with SIGINT ignored, and the daemons of the tests would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.seeds(1, 2)` runs a test with each `seed`; a hunt runs it with as many drawn ones."""
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is None:
        return
    seeds = list(marker.args)
    if hunt.SEED in os.environ:
        dice = random.Random(f"{os.environ[hunt.SEED]} {metafunc.definition.nodeid}")
        seeds = [dice.randrange(1 << 32) for _ in seeds]
    metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])


def pytest_asyncio_loop_factories() -> dict[str, type[SteadyLoop]]:
    return {"steady": SteadyLoop}


def pytest_runtest_setup() -> None:
    if time.time() > float(os.environ.get(hunt.UNTIL, "inf")):
        pytest.skip("the time of the hunt is up")


@pytest.fixture(scope="session", autouse=True)
def only_reads_on_the_wire() -> Iterator[None]:
    """Whatever the tests do, in this process or in a daemon of its own, no request is anything but a read."""
    answer = SimulatedUnit.answer

    def answer_on_record(unit: SimulatedUnit, pdu: bytes) -> bytes:
        wire.record(pdu)
        return answer(unit, pdu)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedUnit, "answer", answer_on_record)
        yield
    assert wire.seen().keys() <= wire.READS, f"not only reads on the wire: {wire.seen()}"


@pytest.fixture(scope="session", autouse=True)
def any_clock_will_do() -> Iterator[None]:
    """Daemons of the tests do not wait for the time service of the machine that they run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELEMETRY_AGENT__PUSH__WAIT_FOR_CLOCK_S", "0")
        yield


@pytest.fixture
def off_the_record() -> Iterator[None]:
    """For a test that sends what is no read, on purpose."""
    with wire.off_the_record():
        yield
