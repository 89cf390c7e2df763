"""The reference endpoint: checks token, site, signature, schema, duplicates and order.

It is an example for integrators. The daemon never imports it.
"""

from agent.receiver.server import Validator, Verdict, serving

__all__ = [
    "Validator",
    "Verdict",
    "serving",
]
