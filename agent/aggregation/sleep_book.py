"""Keeps the nights of solar nodes across a restart, and reports when a node falls asleep or is missing.

A night (`Night`) has the last power of an inverter, the time of this power, and two times of waking (`up`, `woke`).
`agent.domain.sleep` decides from the night whether a node that does not respond is asleep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf

import structlog

from agent.aggregation.node_summary import NodeSummary
from agent.aggregation.window import Window
from agent.domain import Night, Node, in_monotonic_seconds, in_unix_seconds, why_awake

log = structlog.get_logger(__name__)


class Nights(Mapping[str, Night]):
    """Node id → night in the window. A node without a night is left out."""

    def __init__(self, windows: Mapping[str, Window]) -> None:
        self._windows = windows

    def __getitem__(self, node_id: str) -> Night:
        night = self._windows[node_id].night
        if night is None:
            raise KeyError(node_id)
        return night

    def __iter__(self) -> Iterator[str]:
        return (node_id for node_id, window in self._windows.items() if window.night is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class SleepBook:
    """The nights that were saved before the start, and the last reported state of each node."""

    def __init__(self, saved: Mapping[str, Night]) -> None:
        self.pending = dict(saved)
        """Node id → saved night in Unix seconds, for nodes whose power was not read since the start."""
        self._restored: dict[str, Night] = {}
        """Node id → the night that `restore` last wrote to the window of the node."""
        self._started: float | None = None
        """Monotonic second of the first `restore`, which is called at the start."""
        self._reported: dict[str, tuple[str, float]] = {}
        """Node id → (state, monotonic second of the tick) of the newest report.

        The state is "awake", "asleep" or "missing".
        """

    def answered(self, nodes: Iterable[Node], windows: Mapping[str, Window]) -> None:
        """Forget the saved nights of those `nodes` whose power was read after the last `restore`.

        An answer without a power does not change the night of the window. The saved night is then kept, so that
        `restore` can convert it again when the clock is set.
        """
        for node in nodes:
            if windows[node.node_id].night is not self._restored.get(node.node_id):
                self.pending.pop(node.node_id, None)

    def restore(self, windows: Mapping[str, Window], offset: float, at: float) -> None:
        """Write the pending nights to the windows of their nodes.

        `offset` is wall minus monotonic time in seconds; minus infinity if unknown. `at` is the present monotonic time.
        """
        if self._started is None:
            self._started = at
        for node_id, saved in self.pending.items():
            if node_id in windows:
                night = in_monotonic_seconds(saved, offset, at, self._started)
                windows[node_id].night = self._restored[node_id] = night

    def report(self, summary: NodeSummary) -> bool:
        """Record the state of a node with `when_offline` "sleep". Log a warning if the state has become "missing".

        Return whether the state has become "asleep". The caller must then save the nights.
        """
        if summary.silent and not summary.expected:
            return False  # no poll was due in this push interval
        state = "awake" if not summary.silent else "asleep" if summary.sleeps else "missing"
        node_id = summary.node.node_id
        before, at = self._reported.get(node_id, ("", -inf))
        if summary.at < at:
            return False  # this push ends after a newer push to another endpoint
        self._reported[node_id] = state, summary.at
        if state == before:
            return False
        if state == "missing":
            reason = why_awake(summary.night, summary.at)
            log.warning("sleeper_missing", node=node_id, reason=f"{reason}: it counts as missing")
        return state == "asleep"

    def to_save(self, windows: Iterable[tuple[str, Window]], offset: float) -> dict[str, Night]:
        """Return the nights in Unix seconds: the pending ones and, if `offset` is known, those of the other nodes."""
        nights = dict(self.pending)
        if offset > -inf:
            for node_id, window in windows:
                if window.night is not None and node_id not in nights:
                    nights[node_id] = in_unix_seconds(window.night, offset)
        return nights
