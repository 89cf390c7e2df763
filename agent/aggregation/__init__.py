"""Calculates the numbers of a push from scans: windows per node, energies of the day, totals per type.

Begin with `Aggregator`. It has one `Window` per node, and an `EnergyTracker` for all counters. `groups` calculates the
totals.
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
