"""A device that shows a power as a magnitude and says in a bit beside it which way it flows.

Its profile says `directed = true` and has both as points of the same node: `active_power`, and `on`, which is true
while the power is negative in the contract's sign, such as a battery that discharges. A sign that the register has all
the same is not believed; the bit is. The bit itself is no reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from drivers.driver import Reader
from drivers.model import Quality, Quantity, Reading, Scan
from drivers.profile.register_driver import RegisterDriver


class SignBitDriver(RegisterDriver):
    """A `drivers.catalogue.Driver` for such a profile."""

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        scan = await super().poll(reader, now)
        return replace(scan, readings=tuple(_joined(scan.readings)))


def _joined(readings: Sequence[Reading]) -> Iterator[Reading]:
    negative = {reading.node: reading for reading in readings if reading.quantity is Quantity.ON}
    for reading in readings:
        if reading.quantity is Quantity.ACTIVE_POWER and reading.node in negative:
            yield _signed(reading, negative[reading.node])
        elif reading.quantity is not Quantity.ON:
            yield reading


def _signed(power: Reading, negative: Reading) -> Reading:
    if negative.quality is not Quality.GOOD:
        return power._replace(value=None, quality=negative.quality)
    if not isinstance(power.value, float):
        return power
    magnitude = abs(power.value)
    return power._replace(value=0.0 - magnitude if negative.value else magnitude)  # 0.0 - 0.0 is 0.0, -0.0 is not
