"""Secrets, TLS and signatures: read, hidden and checked in one place."""

from agent.security.secrets import SecretFile, Token, open_to_all, warn_if_open
from agent.security.signing import signatures
from agent.security.tls import refuse_passphrase

__all__ = [
    "SecretFile",
    "Token",
    "open_to_all",
    "refuse_passphrase",
    "signatures",
    "warn_if_open",
]
