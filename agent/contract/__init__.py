"""The messages that leave the site: the bytes of the payload and the schema of the contract.

`agent.aggregation` calculates the fields. If you change a field, also change `schema` and docs/contract.md.
`envelope` has the functions for message bytes; import it by its full name. `schema` and `openapi` are for receivers and
tests; the daemon does not import them.
"""

from agent.contract.payload import PayloadOptions, bodies

__all__ = [
    "PayloadOptions",
    "bodies",
]
