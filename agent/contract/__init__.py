"""What leaves the site: the bytes of the payload and the schema of the contract.

Change a field, its unit or its rounding here, together with docs/contract.md.
`schema` is for receivers and tests; the daemon does not load it.
"""

from agent.contract.payload import PayloadOptions, bodies, with_time

__all__ = [
    "PayloadOptions",
    "bodies",
    "with_time",
]
