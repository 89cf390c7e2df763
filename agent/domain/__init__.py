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
from agent.domain.sleep import (
    Night,
    after_reading,
    all_sleep,
    in_monotonic_seconds,
    in_unix_seconds,
    may_sleep,
    silence_in_words,
    why_awake,
)

__all__ = [
    "MAX_ID",
    "QUANTITIES",
    "SIGNED",
    "WIDEST",
    "Night",
    "Node",
    "Range",
    "WhenOffline",
    "after_reading",
    "all_sleep",
    "counted_in",
    "direction",
    "doubts",
    "in_monotonic_seconds",
    "in_unix_seconds",
    "largest_power",
    "may_sleep",
    "nesting_mistakes",
    "ranges",
    "sign_in_words",
    "silence_in_words",
    "use_of",
    "why_awake",
    "why_unfit",
]
