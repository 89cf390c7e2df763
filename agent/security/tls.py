"""Builds the TLS context of a server. The contexts of clients come from `drivers.tls`."""

from __future__ import annotations

import ssl
from pathlib import Path

from drivers.tls import MINIMUM_VERSION, TlsFileError, client_context, refuse_passphrase, unusable_files

__all__ = ["TlsFileError", "client_context", "server_context", "unusable_files"]


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a context with the certificate chain in `cert_file`. Both files are PEM.

    Raises OSError if a file cannot be used, or if the key has a passphrase.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = MINIMUM_VERSION
    context.load_cert_chain(cert_file, key_file, refuse_passphrase)
    return context
