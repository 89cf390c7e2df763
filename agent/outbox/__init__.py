"""The durable queue of messages that wait for delivery.

The invariants are at the top of `queue`. Messages are bytes here.
"""

from agent.outbox.backlog import Backlog, queued
from agent.outbox.drops import DROP_REASONS
from agent.outbox.files import delete_queue, queue_exists
from agent.outbox.queue import MAX_WAIT_S, Outbox
from agent.outbox.record import PendingWrites, Record, new_id
from agent.outbox.store import Store
from agent.outbox.take_over import take_over

__all__ = [
    "DROP_REASONS",
    "MAX_WAIT_S",
    "Backlog",
    "Outbox",
    "PendingWrites",
    "Record",
    "Store",
    "delete_queue",
    "new_id",
    "queue_exists",
    "queued",
    "take_over",
]
