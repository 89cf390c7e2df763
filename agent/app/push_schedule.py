"""Decides when each enabled endpoint pushes.

The fastest endpoint is the one with the shortest interval. The `Scheduler` makes the ticks of the fastest endpoint, and
aligns the polls with these ticks. Each other endpoint has a push clock (`PushClock`), which makes its ticks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.aggregation import Summary
from agent.app.settings import payload_options, rhythm
from agent.contract import PayloadOptions
from agent.delivery import Delivery
from agent.polling import Poller, PollFutures, PushClock, Rhythm, Scheduler, Tick
from agent.runtime import Clock

if TYPE_CHECKING:
    from agent.config import Config, PushConfig


@dataclass(slots=True)
class EndpointState:
    """The state of an enabled endpoint. A reload keeps it if the endpoint stays enabled, even if its name changes."""

    push: PushConfig
    payload: PayloadOptions
    rhythm: Rhythm
    delivery: Delivery | None = None
    """None until its queue is open."""
    last: Tick | None = None
    """Its last tick; None before the first one."""
    summary: Summary | None = None
    """The summary of its last push interval; None before the first push."""
    clock: asyncio.Task[None] | None = None
    """The task of its push clock; None for the fastest endpoint, and before the start."""
    clock_rhythm: Rhythm | None = None
    """The rhythm of its push clock; None without a push clock."""

    def stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
        self.clock = self.clock_rhythm = None


class PushSchedule:
    """The enabled endpoints and their ticks.

    It calls `push` at each tick, with the endpoint, the tick, and the futures of the polls that `push` may wait for.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        poller: Poller,
        push: Callable[[EndpointState, Tick, PollFutures], Coroutine[Any, Any, None]],
    ) -> None:
        self._clock = clock
        self._poller = poller
        self._push = push
        self._endpoints = {each.name: _state(config, each) for each in config.endpoints}
        self._fastest = _fastest(self._endpoints.values())
        self._scheduler = Scheduler(self._fastest.rhythm, clock, poller, self._push_fastest)
        self._group: asyncio.TaskGroup | None = None

    def __iter__(self) -> Iterator[EndpointState]:
        return iter(self._endpoints.values())

    def has(self, endpoint: EndpointState) -> bool:
        """Whether the endpoint is still enabled."""
        return self._endpoints.get(endpoint.push.name) is endpoint

    def start(self, group: asyncio.TaskGroup, ready: Callable[[], None], after: int) -> None:
        """Start the tasks that make the ticks, in `group`. `ready` is called when the polls have begun.

        `after` is the label of the last known tick of an earlier run of the daemon; 0 if unknown.
        """
        self._group = group
        group.create_task(self._scheduler.run(ready, after))
        self.set_clocks(after)

    def change(self, config: Config) -> dict[str, str]:
        """Apply a new configuration. Stop the push clocks of the endpoints that are removed or disabled.

        Return new name → previous name for each endpoint that continues. Without a rename, both names are the same. The
        caller then opens the queues of the new endpoints and calls `set_clocks`.
        """
        before = self._endpoints
        self._endpoints = {}
        names = {}
        for push in config.endpoints:
            new = _state(config, push)
            known = before.pop(push.name, None) or before.pop(push.formerly or "", None)
            if known is not None:
                names[push.name] = known.push.name
                known.push, known.payload, known.rhythm = new.push, new.payload, new.rhythm
            self._endpoints[push.name] = known or new
        for removed in before.values():
            removed.stop_clock()
        return names

    def set_clocks(self, after: int = 0) -> None:
        """Align the polls with the fastest endpoint. Give every other endpoint its own push clock.

        `after` is as in `start`. It is used only for the push clock of an endpoint that had no tick yet.
        """
        fastest = _fastest(self._endpoints.values())
        self._scheduler.change(fastest.rhythm, fastest.last if fastest is not self._fastest else None)
        self._fastest = fastest
        fastest.stop_clock()
        for each in self._endpoints.values():
            if each is not fastest and each.clock_rhythm != each.rhythm:
                self._start_clock(each, after)

    def _start_clock(self, endpoint: EndpointState, after: int) -> None:
        endpoint.stop_clock()
        group, rhythm = self._group, endpoint.rhythm
        if group is None:
            return

        def on_tick(tick: Tick) -> None:
            endpoint.last = tick
            answers = self._poller.answers(tick.at + rhythm.deadline_s - self._clock.monotonic())
            group.create_task(self._push(endpoint, tick, answers))

        last = endpoint.last.time if endpoint.last is not None else after
        clock = PushClock(rhythm.push_s, rhythm.phase_s, self._clock, on_tick, after=last)
        endpoint.clock, endpoint.clock_rhythm = group.create_task(clock.run()), rhythm

    async def _push_fastest(self, tick: Tick, answers: PollFutures) -> None:
        self._fastest.last = tick
        await self._push(self._fastest, tick, answers)


def _state(config: Config, push: PushConfig) -> EndpointState:
    return EndpointState(push, payload_options(config, push), rhythm(config, push))


def _fastest(endpoints: Iterable[EndpointState]) -> EndpointState:
    """Return the endpoint with the shortest interval; the first one if several have it."""
    return min(endpoints, key=lambda each: each.rhythm.push_s)
