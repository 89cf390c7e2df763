"""The daemon: configuration, polling, totals, delivery and the command line."""

__version__ = "0.1.0"
