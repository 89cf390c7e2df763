"""Secrets, TLS and signatures: each decided in one place."""
from agent.security.secrets import SecretFile, Token, open_to_all, warn_if_open
from agent.security.signing import signatures
from agent.security.tls import TlsFileError, client_context, server_context, unusable_files

__all__ = [
    "SecretFile",
    "TlsFileError",
    "Token",
    "client_context",
    "open_to_all",
    "server_context",
    "signatures",
    "unusable_files",
    "warn_if_open",
]
