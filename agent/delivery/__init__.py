"""From the queue to the endpoint: attempts, outcomes, retries, circuit breaker, backlog, pacing.

Delivery handles bytes and record ids, and knows no device. Of the contract, it uses only `envelope`. `sender` describes
the path of a message through the modules. Only `stats` says whether the endpoint is well. Only `http_client` and
`http_errors` use httpx. Only `retry` uses tenacity.
"""

from agent.delivery.http_client import Endpoint, LocalError, tls_context
from agent.delivery.http_errors import in_words
from agent.delivery.manager import USER_AGENT, Deliveries, Delivery
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry, Stopped
from agent.delivery.queue_files import QueueFile, QueueFiles, queue_files
from agent.delivery.sender import Sender
from agent.delivery.stats import DeliveryStats, RecordedAttempt, State

__all__ = [
    "USER_AGENT",
    "Delivered",
    "Deliveries",
    "Delivery",
    "DeliveryStats",
    "Endpoint",
    "LocalError",
    "Misconfigured",
    "Outcome",
    "QueueFile",
    "QueueFiles",
    "RecordedAttempt",
    "Refused",
    "Retry",
    "Sender",
    "State",
    "Stopped",
    "in_words",
    "queue_files",
    "tls_context",
]
