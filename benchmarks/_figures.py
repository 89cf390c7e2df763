"""Not a benchmark: figures with their floors, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `floor` is the worst value that holds; None if the figure only explains others."""

    name: str
    value: float
    unit: str = ""
    floor: float | None = None
    better: Literal["lower", "higher"] = "lower"
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is not worse than the floor, with the digits that the table shows."""
        if self.floor is None:
            return True
        return self.value <= self.floor + 1e-9 if self.better == "lower" else self.value >= self.floor - 1e-9

    @property
    def bound(self) -> str:
        """The floor in words; empty without one."""
        if self.floor is None:
            return ""
        return f"{'at most' if self.better == 'lower' else 'at least'} {self.floor:g}"

    @property
    def result(self) -> str:
        return self.note if self.floor is None else "holds" if self.holds else "MISSED"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    rows = [(f.name, f"{f.value:.2f} {f.unit}".rstrip(), f.bound, f.result) for f in figures]
    heads = ("figure", "value", "floor", "result")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [heads, tuple("-" * width for width in widths), *rows]
    padded = ([f"{text:<{width}}" for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
