"""Which nodes may be asleep: nights from before the start, and what was last reported of each node.

`agent.domain.sleep` decides whether silence is sleep. This module keeps what that decision needs across a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf

import structlog

from agent.aggregation.node_summary import NodeSummary
from agent.aggregation.window import Window
from agent.domain import Night, on_disk, restored, why_awake

log = structlog.get_logger(__name__)


class Nights(Mapping[str, Night]):
    """The nights of the nodes that have one, by node id, as they are at the moment of reading."""

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
    """The nights of the nodes, by node id."""

    def __init__(self, saved: Mapping[str, Night]) -> None:
        self._saved = dict(saved)
        """Nights of nodes that have not answered since the start; Unix seconds."""
        self._reported: dict[str, str] = {}
        """Nodes that may sleep: "awake", "asleep" or "missing" at the last push."""

    @property
    def pending(self) -> bool:
        """Some nodes have not answered since the start."""
        return bool(self._saved)

    def answered(self, node_id: str) -> None:
        """The node answered: its saved night is not needed any more."""
        self._saved.pop(node_id, None)

    def place(self, windows: Mapping[str, Window], offset: float, at: float) -> None:
        """Give the saved nights to their windows, by what the clock says at monotonic `at`."""
        for node_id, saved in self._saved.items():
            if node_id in windows:
                windows[node_id].night = restored(saved, offset, at)

    def report(self, summary: NodeSummary) -> bool:
        """Note whether a node sleeps; returns whether it has just fallen asleep, which is saved at once.

        Logs once when a silent node cannot be asleep.
        """
        if summary.silent and not summary.expected:
            return False  # not polled yet
        rest = "awake" if not summary.silent else "asleep" if summary.sleeps else "missing"
        node_id = summary.node.node_id
        if rest == self._reported.get(node_id):
            return False
        self._reported[node_id] = rest
        if rest == "missing":
            reason = why_awake(summary.night, summary.at)
            log.warning("sleeper_missing", node=node_id, reason=f"{reason}: it counts as missing")
        return rest == "asleep"

    def to_save(self, windows: Iterable[tuple[str, Window]], offset: float) -> dict[str, Night]:
        """All nights in Unix seconds; without a clock only those from before the start."""
        nights = dict(self._saved)
        if offset > -inf:
            for node_id, window in windows:
                if window.night is not None and node_id not in nights:
                    nights[node_id] = on_disk(window.night, offset)
        return nights
