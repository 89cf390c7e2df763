"""Power and counter of a device, to recognise that two units are one device. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.model import Nature, NodeType, Quantity, Scan

_ENOUGH_WH = 10_000.0
"""Equal counters prove one device only if one of them is at least this large. Small counters may be equal by chance."""
_ROUND_WH = 10.0
"""Two values of one counter may differ by this much, or by one step of the counter if that is more."""
_CLOSE_W, _CLOSE_SHARE = 50.0, 0.05
"""The powers of one device in two polls may differ by this many watts, or by this share if that is more."""


@dataclass(frozen=True, slots=True)
class Values:
    """Power and counter of a device at one time. None: the device did not report the value."""

    power_W: float | None
    counter_Wh: float | None
    resolution_Wh: float
    """Step of the counter."""

    @classmethod
    def of(cls, scan: Scan, resolution_Wh: float) -> Values:
        """Return the total power (of a hybrid: the solar power) and the largest lifetime counter of a scan."""
        good = [r for r in scan.readings if isinstance(r.value, float) and r.phase is None]
        powers = [r.value for r in good if r.quantity is Quantity.ACTIVE_POWER and r.node in (None, NodeType.SOLAR)]
        counters = [r.value for r in good if r.quantity.nature is Nature.COUNTER]
        largest = max((float(value) for value in counters if value is not None), default=None)
        return cls(float(powers[0]) if powers and powers[0] is not None else None, largest, resolution_Wh)

    def same(self, other: Values) -> bool:
        """Whether power and counter prove that both are one device.

        False if a value is missing, or if both counters are below `_ENOUGH_WH`.
        """
        if None in (self.power_W, other.power_W, self.counter_Wh, other.counter_Wh):
            return False
        power, counter = abs(self.power_W - other.power_W), abs(self.counter_Wh - other.counter_Wh)  # type: ignore[operator]
        enough = max(self.counter_Wh or 0.0, other.counter_Wh or 0.0) >= _ENOUGH_WH
        return (
            enough
            and counter <= max(self.resolution_Wh, other.resolution_Wh, _ROUND_WH)
            and power <= max(_CLOSE_W, _CLOSE_SHARE * abs(self.power_W or 0.0))
        )

    def between(self, before: Values, after: Values) -> bool | None:
        """Whether these values are of the device that had the values `before` and `after`.

        - True: the power fits, and so does a counter of at least `_ENOUGH_WH`.
        - False: the counter does not fit. Or the power does not fit, and the counter is missing or below `_ENOUGH_WH`.
        - None in all other cases: it is not certain.
        """
        if self.counted_apart(before, after):
            return False
        counters = _range(before.counter_Wh, after.counter_Wh)
        counted = self.counter_Wh is not None and counters is not None and max(counters) >= _ENOUGH_WH
        powers = _range(before.power_W, after.power_W)
        if powers is None or self.power_W is None:
            return None
        close = _within(self.power_W, powers, max(_CLOSE_W, _CLOSE_SHARE * abs(self.power_W)))
        return close if close is counted else None  # None: only the power or only the counter fits

    def counted_apart(self, before: Values, after: Values) -> bool:
        """Whether the counter shows that these values are of another device than the values `before` and `after`.

        False if one of the counters is missing.
        """
        counters = _range(before.counter_Wh, after.counter_Wh)
        step_Wh = max(self.resolution_Wh, before.resolution_Wh, _ROUND_WH)
        return counters is not None and self.counter_Wh is not None and not _within(self.counter_Wh, counters, step_Wh)


def _range(one: float | None, two: float | None) -> tuple[float, float] | None:
    return (min(one, two), max(one, two)) if one is not None and two is not None else None


def _within(value: float, limits: tuple[float, float], margin: float) -> bool:
    return limits[0] - margin <= value <= limits[1] + margin
