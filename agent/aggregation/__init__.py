"""From scans to the numbers of a push: windows per node, energies of the day, totals per type.

`window` and `groups` are pure arithmetic. `aggregator` orchestrates them and owns their state.
"""
