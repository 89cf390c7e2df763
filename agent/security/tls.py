"""TLS contexts of servers. `drivers.tls` builds the contexts of clients, for the endpoint and for Modbus devices."""

from __future__ import annotations

import ssl
from pathlib import Path

from drivers.tls import MINIMUM_VERSION, TlsFileError, client_context, refuse_passphrase, unusable_files

__all__ = ["TlsFileError", "client_context", "server_context", "unusable_files"]


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a context with a certificate chain and its key, both PEM. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = MINIMUM_VERSION
    context.load_cert_chain(cert_file, key_file, refuse_passphrase)
    return context
