"""The durable queue of messages that wait for delivery.

The invariants are at the top of `queue`. The package handles bytes and never imports drivers.
"""
