"""10,000 agents against one endpoint in simulated time: a steady hour, an outage of an hour, the recovery.

Phase and ticks (`agent.polling.ticks`), back-off and breaker (`agent.delivery.circuit_breaker`) and the pace of the
backlog (`agent.delivery.pacing`) are the agent's own code. The loops of the live and the backlog worker are followed
here event by event, because 10,000 queues on disk and as many sockets would measure this machine instead.

Counted is every request at the moment it reaches the endpoint, refused or not, in bins of one second. Each site polls
for its own 0.05..2 s (it varies by a tenth) before its push leaves, and is 20..300 ms away.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.config.model import OutboxConfig
from agent.config.push import PushConfig
from agent.delivery.circuit_breaker import Backoff, CircuitBreaker
from agent.delivery.pacing import Pace
from agent.polling.ticks import Tick, first_tick, next_tick, phase_s

AGENTS = 10_000
STEADY_S = 3600
OUTAGE_S = 3600
AFTER_S = 3 * 3600
EPOCH = 1_800_000_000  # a multiple of the interval; simulated second 0

PUSH = PushConfig(url="https://telemetry.example.com/", token="t")
OUTBOX = OutboxConfig()


@dataclass(slots=True)
class Endpoint:
    """Takes everything but in the outage."""

    down_from: float
    down_until: float
    dated: bool = False
    """It names the end of the outage in Retry-After."""
    bins: list[int] = field(default_factory=list)

    def takes(self, at: float) -> bool:
        second = int(at)
        if second < len(self.bins):
            self.bins[second] += 1
        return not self.down_from <= at < self.down_until

    def retry_after(self, at: float) -> float | None:
        return self.down_until - at if self.dated else None


class Agent:
    """One site: the live and the backlog worker as events."""

    def __init__(self, number: int, fleet: Fleet, dice: random.Random) -> None:
        site = f"M1S{number:016d}D_site_0"
        self.fleet = fleet
        self.phase = phase_s(PUSH.align, site, PUSH.interval_s)
        self.poll_s = dice.uniform(0.05, 2.0)
        self.distance_s = dice.uniform(0.02, 0.3)
        self.dice = dice
        self.breaker = CircuitBreaker(Backoff(PUSH.retry.initial_s, PUSH.retry.max_s))
        self.pace = Pace(PUSH.interval_s, OUTBOX.backlog_rate_per_s)
        self.tick: Tick = first_tick(0.0, EPOCH, PUSH.interval_s, self.phase)
        self.number = 0
        self.live = False
        """The message of this tick is not delivered yet."""
        self.backlog = 0
        self.slot = 0.0
        self.due: float | None = None
        """When the backlog is looked at; an earlier moment replaces it."""
        fleet.at(self.tick.at + self.delay(), self.push)

    def delay(self) -> float:
        return self.poll_s * self.dice.uniform(0.9, 1.1)

    def push(self, now: float) -> None:
        self.backlog += self.live
        self.live = True
        self.number += 1
        self.tick = next_tick(self.tick, self.tick.at, EPOCH + self.tick.at, PUSH.interval_s, self.phase)
        self.fleet.at(self.tick.at + self.delay(), self.push)
        self.try_live(self.number, now)
        self.look(now)

    def try_live(self, number: int, now: float) -> None:
        if number != self.number or not self.live:
            return
        if wait_s := self.breaker.admit_live(now):
            self.fleet.at(now + wait_s, lambda at: self.try_live(number, at))
            return
        again_s = self.attempt(now, live=True)
        if again_s is None:
            self.live = False
        else:
            self.fleet.at(now + again_s, lambda at: self.try_live(number, at))

    def look(self, now: float) -> None:
        """Wait for the next moment at which the backlog may go, if there is one."""
        if not self.backlog:
            return
        at = max(now, self.slot, self.breaker.backlog_at())
        if self.due is None or at != self.due:
            self.due = at
            self.fleet.at(at, self.try_backlog)

    def try_backlog(self, now: float) -> None:
        if now != self.due:
            return
        self.due = None
        if max(self.slot, self.breaker.backlog_at()) > now:
            self.look(now)
            return
        if self.breaker.failures and self.live:
            return  # the newest message tries the endpoint; its delivery looks again
        self.slot = max(self.slot + self.pace.gap_s(self.backlog, 1), now)
        if self.attempt(now, live=False) is None:
            self.backlog -= 1
        self.look(now)

    def attempt(self, now: float, *, live: bool) -> float | None:
        """None when it was delivered, else when another makes sense."""
        endpoint = self.fleet.endpoint
        arrives = now + self.distance_s
        if not endpoint.takes(arrives):
            after_s = endpoint.retry_after(arrives)
            again_s = self.breaker.failed(now, after_s, live=live)
            if after_s:
                self.slot = max(self.slot, self.breaker.backlog_at() + self.pace.start_s(self.backlog, 1))
            return again_s
        if self.breaker.failures:
            self.slot = now + self.pace.start_s(self.backlog, 1)
            self.breaker.delivered(live=live)
            self.look(now)
        return None


class Fleet:
    """The clock of all agents."""

    def __init__(self, endpoint: Endpoint, agents: int, seed: int) -> None:
        self.endpoint = endpoint
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        dice = random.Random(seed)
        self.agents = [Agent(number, self, dice) for number in range(agents)]

    def at(self, when: float, event: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] < until:
            when, _, event = heapq.heappop(self._events)
            event(when)


@dataclass(frozen=True, slots=True)
class Result:
    """Requests a second, by phase of the simulation; `caught_up_s` after the end of the outage."""

    mean: float
    steady_peak: int
    outage_mean: float
    outage_peak: int
    after_peak: int
    after_mean: float
    caught_up_s: float
    late_live: int


def simulate(
    agents: int, seed: int, *, dated: bool = False, outage_s: int = OUTAGE_S, after_s: int = AFTER_S
) -> Result:
    """One run. Times are in seconds after the first minute, in which everyone starts."""
    start = PUSH.interval_s
    down, up = start + STEADY_S, start + STEADY_S + outage_s
    endpoint = Endpoint(down, up, dated, [0] * (up + after_s))
    random.seed(seed)
    fleet = Fleet(endpoint, agents, seed)
    fleet.run(up)
    caught_up = up
    for second in range(up, up + after_s, 60):
        fleet.run(second + 60)
        if any(agent.backlog for agent in fleet.agents):
            caught_up = second + 60
    bins = endpoint.bins
    mean = agents / PUSH.interval_s
    after = bins[up:]
    recovery = bins[up : max(up + 60, caught_up)]
    return Result(
        mean=mean,
        steady_peak=max(bins[start:down]),
        outage_mean=sum(bins[down:up]) / outage_s,
        outage_peak=max(bins[down:up]),
        after_peak=max(after),
        after_mean=sum(recovery) / len(recovery),
        caught_up_s=caught_up - up,
        late_live=sum(agent.live for agent in fleet.agents),
    )


def main() -> None:
    for answer, dated in (("503", False), ("503 with Retry-After, the same date for all", True)):
        r = simulate(AGENTS, seed=1, dated=dated)
        print(
            f"{AGENTS} agents, a message every {PUSH.interval_s} s, {OUTAGE_S} s of {answer}; requests per second in"
            f" bins of 1 s, as multiples of the steady mean of {r.mean:.1f}:\n"
            f"  steady: peak {r.steady_peak / r.mean:.2f}\n"
            f"  outage: mean {r.outage_mean / r.mean:.2f}, peak {r.outage_peak / r.mean:.2f}\n"
            f"  after:  mean {r.after_mean / r.mean:.2f}, peak {r.after_peak / r.mean:.2f},"
            f" caught up in {r.caught_up_s / 60:.0f} min, {r.late_live} live messages waiting at the end",
            flush=True,
        )


if __name__ == "__main__":
    main()
