"""From the queue to the endpoint: attempts, outcomes, retries, circuit breaker, backlog, pacing.

Delivery handles bytes and record ids. It knows no device and no field of the contract.
Only `http_client` and `http_errors` use httpx.
"""
