"""Checks the files of certificates, keys and signing secrets that a configuration names.

Without this check, a mistake would appear only at the first push or poll.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.errors import path_shown
from agent.config.tables import endpoint_key
from agent.security import TlsFileError, signatures, unusable_files

if TYPE_CHECKING:
    from agent.config.devices import ConnectionConfig
    from agent.config.model import Config
    from agent.config.push import PushConfig


def mistakes(config: Config) -> Iterator[str]:
    """Yield one line per unusable file: key, rule, file.

    The files of disabled endpoints are not checked. `push_token` checks the token files.
    """
    for index, push in enumerate(config.push):
        if push.enabled:
            key = endpoint_key(config.push, index)
            yield from _tls(key, push)
            if push.signing_secret_file is not None:
                yield from _signing(f"{key}.signing_secret_file", push.signing_secret_file)
    for name, connection in config.connection.items():
        yield from _tls(f"connection.{name}", connection)


def _tls(table: str, config: PushConfig | ConnectionConfig) -> Iterator[str]:
    for error in unusable_files(config.ca_file, config.client_cert_file, config.client_key_file):
        yield f"{table}.{error.key}: {_tls_rule(error)}"


def _tls_rule(error: TlsFileError) -> str:
    if isinstance(error.cause, ssl.SSLError):
        with_key = "" if error.key == "ca_file" else ", with a key that fits"
        why = error.cause.reason or "OpenSSL gives no reason"
        return f"must be a PEM file of certificates{with_key} ({why}: {str(error.file)!r})"
    return _unreadable(error.file, error.cause)


def _signing(key: str, file: Path) -> Iterator[str]:
    try:
        signatures(file.read_text(encoding="utf-8-sig"), "", 0, b"")
    except OSError as error:
        yield f"{key}: {_unreadable(file, error)}"
    except UnicodeDecodeError:
        yield f"{key}: must be text (found {str(file)!r})"
    except ValueError as error:
        yield f"{key}: {error} (found {str(file)!r})"


def _unreadable(file: Path, error: OSError) -> str:
    return f"must be a readable file ({error.strerror or error}: {path_shown(file)})"
