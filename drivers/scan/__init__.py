"""Finding and identifying devices on networks and serial lines.

The agent's `scan` command runs it; the daemon never loads it.
"""
