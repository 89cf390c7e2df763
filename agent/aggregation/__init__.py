"""Calculates the numbers of a push from scans: windows per node, energies of the day, totals per type.

`window` and `groups` only calculate. `aggregator` calls them; it keeps the windows and follows the energies.
"""

from agent.aggregation.aggregator import AggregationSettings, Aggregator, SummarySettings
from agent.aggregation.energy_tracker import TODAY as COUNTERS_OF
from agent.aggregation.groups import DECIMALS, Fields, NodeResult, Summary, fields_of, total
from agent.aggregation.node_summary import NodeSummary
from agent.aggregation.window import Window

__all__ = [
    "COUNTERS_OF",
    "DECIMALS",
    "AggregationSettings",
    "Aggregator",
    "Fields",
    "NodeResult",
    "NodeSummary",
    "Summary",
    "SummarySettings",
    "Window",
    "fields_of",
    "total",
]
