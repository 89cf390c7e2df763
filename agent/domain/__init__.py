"""The vocabulary of a site: node types and signs, physical ranges, sleep. Pure."""

from agent.domain.node import (
    MAX_ID,
    SIGNED,
    Node,
    WhenOffline,
    counted_in,
    direction,
    doubts,
    nesting_mistakes,
    sign_in_words,
    use_of,
    why_unfit,
)
from agent.domain.ranges import QUANTITIES, WIDEST, Range, largest_power, ranges
from agent.domain.sleep import Night, all_sleep, heard, may_sleep, on_disk, restored, silence_in_words, why_awake

__all__ = [
    "MAX_ID",
    "QUANTITIES",
    "SIGNED",
    "WIDEST",
    "Night",
    "Node",
    "Range",
    "WhenOffline",
    "all_sleep",
    "counted_in",
    "direction",
    "doubts",
    "heard",
    "largest_power",
    "may_sleep",
    "nesting_mistakes",
    "on_disk",
    "ranges",
    "restored",
    "sign_in_words",
    "silence_in_words",
    "use_of",
    "why_awake",
    "why_unfit",
]
