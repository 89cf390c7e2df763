"""From the queue to the endpoint: attempts, outcomes, retries, circuit breaker, backlog, pacing.

Delivery handles bytes and record ids. It knows no device and no field of the contract.
Only `http_client` and `http_errors` use httpx.
"""

from agent.delivery.http_client import Endpoint, LocalError, encoded, tls_context
from agent.delivery.http_errors import in_words
from agent.delivery.manager import USER_AGENT, Delivery
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry, Stopped
from agent.delivery.sender import Sender

__all__ = [
    "USER_AGENT",
    "Delivered",
    "Delivery",
    "Endpoint",
    "LocalError",
    "Misconfigured",
    "Outcome",
    "Refused",
    "Retry",
    "Sender",
    "Stopped",
    "encoded",
    "in_words",
    "tls_context",
]
