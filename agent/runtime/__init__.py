"""Clocks, watchdog and logging: what every other package may use."""
