"""Devices, links and the schedule: who is polled when, and what a failed poll means.

The poller owns each device's health. It reports scans and failures to a listener and asks nobody above it.
"""
