"""TLS contexts of clients: for Modbus devices and for the endpoint."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

MINIMUM_VERSION = ssl.TLSVersion.TLSv1_2
"""The oldest version of TLS that clients and servers accept."""


class TlsFileError(OSError):
    """A certificate or key file cannot be used. `key` is the configuration key that names the file."""

    def __init__(self, key: str, file: Path, cause: OSError) -> None:
        """`cause` is an ssl.SSLError if the content of the file is wrong."""
        self.reason = cause.strerror or str(cause)
        super().__init__(f"{key} {file} cannot be used ({self.reason})")
        self.key = key
        self.file = file
        self.cause = cause


def client_context(ca_file: Path | None, client_cert_file: Path | None, client_key_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks the certificate and the name of the server. Raises TlsFileError.

    All files are PEM.

    - `ca_file`: trusted certificates; if it is None, those of the system.
    - `client_cert_file`: the certificate of the client; if it is None, the client sends no certificate.
    - `client_key_file`: the key of the client; if it is None, the key is in `client_cert_file`.
    """
    context = _trusting(ca_file)
    context.minimum_version = MINIMUM_VERSION
    if client_cert_file is not None:
        _identify(context, client_cert_file, client_key_file)
    return context


def unusable_files(
    ca_file: Path | None, client_cert_file: Path | None, client_key_file: Path | None
) -> Iterator[TlsFileError]:
    """Yield at most one error for `ca_file`, and at most one for the other two files together.

    `client_context` raises only the first error.
    """
    if ca_file is not None:
        try:
            _trusting(ca_file)
        except TlsFileError as error:
            yield error
    if client_cert_file is not None:
        try:
            _identify(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client_cert_file, client_key_file)
        except TlsFileError as error:
            yield error


def refuse_passphrase() -> NoReturn:
    """Raise OSError. As `password` of `SSLContext.load_cert_chain`, it replaces a question on the terminal."""
    raise OSError(
        "its private key has a passphrase, which the agent cannot enter; store the key without one, mode 0600"
    )


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise TlsFileError("ca_file", ca_file or Path(), error) from None


def _identify(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    if key_file is not None:
        # The error of load_cert_chain does not name the missing file.
        try:
            key_file.open("rb").close()
        except OSError as error:
            raise TlsFileError("client_key_file", key_file, error) from None
    try:
        context.load_cert_chain(cert_file, key_file, refuse_passphrase)
    except OSError as error:
        raise TlsFileError("client_cert_file", cert_file, error) from None
