"""The reference endpoint: checks token, site, signature, schema, duplicates and order.

Integrators read it as an example. The daemon never loads it.
"""

from agent.receiver.server import Validator, Verdict, serving

__all__ = [
    "Validator",
    "Verdict",
    "serving",
]
