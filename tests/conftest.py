"""What holds for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers.simulator.modbus_server import SimulatedUnit
from tests.faults import wire


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
