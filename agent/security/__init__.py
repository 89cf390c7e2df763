"""Secrets, their removal from texts and URLs, TLS contexts, signatures and loopback addresses."""

from agent.security.loopback import is_loopback
from agent.security.redaction import Secrets
from agent.security.secrets import Secret, SecretFile, Token, may_be_secret, open_to_all, warn_if_open
from agent.security.signing import signatures, signing_keys
from agent.security.tls import TlsFileError, client_context, server_context, unusable_files
from agent.security.urls import without_secrets

__all__ = [
    "Secret",
    "SecretFile",
    "Secrets",
    "TlsFileError",
    "Token",
    "client_context",
    "is_loopback",
    "may_be_secret",
    "open_to_all",
    "server_context",
    "signatures",
    "signing_keys",
    "unusable_files",
    "warn_if_open",
    "without_secrets",
]
