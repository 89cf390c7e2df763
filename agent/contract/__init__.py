"""The messages that leave the site: the bytes of the payload and the schema of the contract.

`agent.aggregation` calculates the fields. A change of a field must also be made in `schema` and in docs/contract.md.
`envelope` has the functions for message bytes that delivery needs. Import it by its full name.
`schema` and `openapi` are for receivers and tests. The daemon does not import them.
"""

from agent.contract.payload import PayloadOptions, bodies

__all__ = [
    "PayloadOptions",
    "bodies",
]
