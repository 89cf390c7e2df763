"""What holds for the whole run."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import engine

from agent.commissioning.queue_place import why_not_kept
from agent.runtime import logging_setup
from drivers.simulator.modbus_server import SimulatedUnit
from tests import hunt
from tests.faults import pty, wire
from tests.faults.certificates import Authority
from tests.steady_loop import SteadyLoop
from tests.support.profiles import load_once
from tests.support.simulated_loop import SimulatedLoop

# A slow machine is no failure: no profile limits the time of an example. `steady` tries the same examples in each run,
# `hunt` others. The hypothesis plugin loads another profile after this file, where the command line names one.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("hunt", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("steady")
# hypothesis has no setting for this: a test that fails shrinks its example for five minutes.
engine.MAX_SHRINKING_SECONDS = 20


def pytest_configure() -> None:
    """A shell starts a background job with SIGINT ignored, and the daemons of the tests would inherit that.

    `check` warns of a queue that is only in memory, and /tmp of many machines is: then the tests use another directory.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if why_not_kept(Path(tempfile.gettempdir())) is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/var/tmp")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and items live as long as the process: the collector of cycles never looks at them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


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


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, type[SteadyLoop]]:
    if item.get_closest_marker("simulated_time"):
        return {"simulated": SimulatedLoop}
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
def serial_lines_have_no_delay() -> Iterator[None]:
    with pty.without_delay():
        yield


@pytest.fixture(autouse=True)
def no_later_test_prints_what_libraries_log() -> Iterator[None]:
    """`logging_setup.configure` sets up the logging of the whole process."""
    yield
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler).__module__ == logging_setup.__name__:
            root.removeHandler(handler)


@pytest.fixture(scope="session", autouse=True)
def any_clock_will_do() -> Iterator[None]:
    """Daemons of the tests do not wait for the time service of the machine that they run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELEMETRY_AGENT__PUSH__WAIT_FOR_CLOCK_S", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def the_profiles_are_loaded_once() -> Iterator[None]:
    """A command that looks at all of them would load them again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("drivers.catalogue.load", load_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def a_short_store_of_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """OpenSSL reads the store of the system in 0.1 s, for each client that is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(Authority(tmp_path_factory.mktemp("authority")).ca_file))
        yield


@pytest.fixture
def off_the_record() -> Iterator[None]:
    """For a test that sends what is no read, on purpose."""
    with wire.off_the_record():
        yield
