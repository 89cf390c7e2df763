"""From counters to energies of the day: ledger, local days, and the file that keeps them.

`ledger` and `days` are pure. `store` is the file.
"""
