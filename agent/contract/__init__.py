"""What leaves the site: the bytes of the payload and the schema of the contract.

Change a field, its unit or its rounding here, together with docs/contract.md.
`envelope` is what delivery needs of a message, on bytes alone; it is imported by its full name.
`schema` is for receivers and tests; the daemon does not load it.
"""

from agent.contract.payload import PayloadOptions, bodies

__all__ = [
    "PayloadOptions",
    "bodies",
]
