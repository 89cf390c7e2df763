"""The disturbances of the energy campaign. Each function adds one to a scenario."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.energy_scenario import DAY, HOUR, PEAKS, POLL_S, Fault, Scenario


def _wrong(scenario: Scenario) -> Fault:
    amount = scenario.dice.choice([300.0, 700.0, 3000.0, 20_000.0]) * scenario.dice.uniform(0.8, 1.2)
    words = 65_536 * scenario.step
    faults: list[Fault] = [
        lambda value, at: 0.0,
        lambda value, at: value + amount,
        lambda value, at: value + words,
        lambda value, at: value - words,
        lambda value, at: 4e9,
        lambda value, at: value / 2,
        lambda value, at: -5.0,
    ]
    return scenario.dice.choice(faults)


def two_wrong_polls(scenario: Scenario) -> None:
    at, fault = scenario.moment(), _wrong(scenario)
    same = fault(scenario.shown(at), at)
    scenario.fault(at, 20, scenario.dice.choice([fault, lambda value, at: same]))


def two_wrong_seconds(scenario: Scenario) -> None:
    at = scenario.moment()
    scenario.fine.append((at - 600, at + 600))
    scenario.fault(at + scenario.dice.randrange(1, 10), 2, lambda value, at: value + 700)


def burst_of_three(scenario: Scenario) -> None:
    at = scenario.moment()
    for number in range(3):
        scenario.fault(at + 10 * number, 10, _wrong(scenario))


def _upward(scenario: Scenario, times: int, low: float, high: float) -> None:
    for _ in range(times):
        amount = max(1.0, scenario.dice.uniform(low, high) // scenario.step) * scenario.step
        scenario.fault(scenario.moment(), 10, lambda value, at, amount=amount: value + amount)  # type: ignore[misc]


def thirty_glitches(scenario: Scenario) -> None:
    _upward(scenario, 30, 30, 3000)


def plausible_glitches(scenario: Scenario) -> None:
    _upward(scenario, 10, 1, 60)


def glitch_and_restart(scenario: Scenario) -> None:
    at, seconds = scenario.moment(), scenario.dice.choice([10, 20])
    scenario.fault(at, seconds, _wrong(scenario))
    stopped = at + scenario.dice.choice([5, 10, 15])
    scenario.offs.append((stopped, stopped + scenario.dice.choice([0, 0, 60, 600]), "clean"))


def zeros_at_a_guessed_end(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at = scenario.moment()
    end = scenario.dice.choice([65_536.0, 655_360.0, 6_553_600.0, 42_949_672_960.0, 429_496_729.6])
    scenario.offset = end - scenario.dice.uniform(0, 300) - scenario.energy(at)
    return scenario.fault(at, 20, lambda value, at: 0.0)


def zeros_at_a_known_end(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at = scenario.moment()
    scenario.step = min(scenario.step, 100.0)  # the agent accepts counters up to 1e12 Wh
    scenario.range = 2.0**32 * scenario.step
    scenario.offset = scenario.range - scenario.dice.uniform(1, 3) * scenario.step - scenario.energy(at)
    return scenario.fault(at, 20, lambda value, at: 0.0)


def zero_after_a_gap(scenario: Scenario) -> None:
    at = scenario.moment()
    scenario.off(at, 1800)
    scenario.fault(at + 1800, 10, lambda value, at: 0.0)


def rollover_16_bit_in_a_gap(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    scenario.step = max(scenario.step, 1.0)
    scenario.range = 65_536 * scenario.step
    return scenario.off(scenario.moment(2 * HOUR), 1800)


def rollover_32_bit(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    scenario.step = min(scenario.step, 100.0)  # the agent accepts counters up to 1e12 Wh
    scenario.range = 2.0**32 * scenario.step
    scenario.offset = scenario.range - scenario.energy(scenario.moment())
    return None


def replaced_by_a_higher(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at, seconds = scenario.moment(10 * HOUR), scenario.dice.choice([0.5, 8]) * HOUR
    scenario.off(at, seconds)
    level = scenario.offset + scenario.energy(at) + scenario.dice.uniform(5e6, 5e7)
    return scenario.levels.append((at + seconds - 60, level))


def replaced_by_a_lower(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at, seconds = scenario.moment(2 * HOUR), scenario.dice.choice([0, 60, 1800])
    if seconds:
        scenario.off(at, seconds)
    level = scenario.dice.choice([0.0, 0.5 * scenario.shown(at) * scenario.dice.random()])
    return scenario.levels.append((at + max(0, seconds - 30), level))


def zero_for_a_quarter_of_an_hour(scenario: Scenario) -> None:
    scenario.fault(scenario.moment(), 900, lambda value, at: 0.0)


def reboot_to_zero(scenario: Scenario) -> None:
    scenario.fault(scenario.moment(), scenario.dice.choice([10, 30, 60]), lambda value, at: 0.0)


def daily_register_over_a_night_off(scenario: Scenario) -> None:
    scenario.daily = True
    midnight = scenario.dice.choice(scenario.midnights[:-2] or scenario.midnights[:1])
    scenario.off(midnight + 8 * HOUR, scenario.dice.uniform(26, 34) * HOUR)


def daily_register_early_or_late(scenario: Scenario) -> None:
    scenario.daily = True
    scenario.turn_s = scenario.dice.choice([-300, 300, -60, 60, -10, 10, 7200, -7200])


def restarts(scenario: Scenario) -> None:
    for _ in range(3):
        at = scenario.moment()
        scenario.offs.append((at, at + scenario.dice.choice([0, 30, 120, 900]), scenario.dice.choice(("clean", "cut"))))


def gap_over_midnights(scenario: Scenario) -> None:
    midnight = scenario.dice.choice(scenario.midnights[:-2] or scenario.midnights[:1])
    before, after = (scenario.dice.randrange(60, 1800) * POLL_S for _ in range(2))
    scenario.off(midnight - before, before + scenario.dice.choice([0.0, DAY]) + after)


def missed_polls(scenario: Scenario) -> None:
    for _ in range(100):
        scenario.fault(scenario.moment(), scenario.dice.choice([10, 20, 30, 100]), lambda value, at: None)


def late_register(scenario: Scenario) -> None:
    scenario.late_s = scenario.dice.choice([20.0, 30.0, 60.0, 900.0])
    scenario.tolerance += PEAKS[scenario.kind] * (scenario.late_s - POLL_S) / HOUR


def power_five_times_too_low(scenario: Scenario) -> None:
    scenario.power_factor = 0.2


def no_power(scenario: Scenario) -> None:
    scenario.power_factor = None


def power_register_dead(scenario: Scenario) -> None:
    scenario.power_factor = 0.0


def step_unknown(scenario: Scenario) -> None:
    scenario.tells_step = False


def limits(scenario: Scenario) -> None:
    scenario.limit_W = 1.1 * PEAKS[scenario.kind]


def connection(scenario: Scenario) -> None:
    scenario.connection_W = 3 * PEAKS[scenario.kind]


def torn_words(scenario: Scenario) -> None:
    words = 65_536 * scenario.step * scenario.dice.choice([-1, 1])
    scenario.fault(scenario.moment(), 10, lambda value, at: value + words)


ROWS: dict[str, Callable[[Scenario], object]] = {
    row.__name__: row
    for row in (
        *(two_wrong_polls, two_wrong_seconds, burst_of_three, thirty_glitches, plausible_glitches, glitch_and_restart),
        *(zeros_at_a_guessed_end, zeros_at_a_known_end, zero_after_a_gap, rollover_16_bit_in_a_gap, rollover_32_bit),
        *(replaced_by_a_higher, replaced_by_a_lower, zero_for_a_quarter_of_an_hour, reboot_to_zero),
        *(daily_register_over_a_night_off, daily_register_early_or_late, restarts, gap_over_midnights, missed_polls),
        *(late_register, power_five_times_too_low, no_power, power_register_dead, step_unknown, limits, connection),
        torn_words,
    )
}
