"""What is wrong with the files that a configuration names, as far as reading them tells: certificates and secrets.

Found at a start or a reload, when a person looks, instead of in the log of the first message or the first poll.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.errors import path_shown
from agent.security import refuse_passphrase, signatures

if TYPE_CHECKING:
    from agent.config.devices import ConnectionConfig
    from agent.config.model import Config
    from agent.config.push import PushConfig


def mistakes(config: Config) -> Iterator[str]:
    """A line for each file that cannot be what its key says: key, rule, file. The token has a rule of its own."""
    push = config.push
    yield from _tls("push", push)
    if push.signing_secret_file is not None:
        yield from _mistake("push.signing_secret_file", push.signing_secret_file, _signs)
    for name, connection in config.connection.items():
        yield from _tls(f"connection.{name}", connection)


def _tls(table: str, settings: PushConfig | ConnectionConfig) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    key_file = settings.client_key_file

    def load_pair(cert_file: Path) -> None:
        context.load_cert_chain(cert_file, key_file, refuse_passphrase)

    if settings.ca_file is not None:
        yield from _mistake(f"{table}.ca_file", settings.ca_file, context.load_verify_locations)
    unreadable = list(_mistake(f"{table}.client_key_file", key_file, _read)) if key_file is not None else []
    yield from unreadable
    if settings.client_cert_file is not None and not unreadable:
        yield from _mistake(f"{table}.client_cert_file", settings.client_cert_file, load_pair)


def _mistake(key: str, file: Path, use: Callable[[Path], object]) -> Iterator[str]:
    try:
        use(file)
    except ssl.SSLError as error:
        with_key = "" if key.endswith("ca_file") else ", with a key that fits"
        yield f"{key}: must be a PEM file of certificates{with_key} ({error.reason or 'is none'}: {str(file)!r})"
    except OSError as error:
        yield f"{key}: must be a readable file ({error.strerror or error}: {path_shown(file)})"
    except ValueError as error:
        yield f"{key}: {error} (found {str(file)!r})"


def _read(file: Path) -> None:
    with file.open("rb"):
        pass


def _signs(file: Path) -> None:
    try:
        secrets = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("must be text") from None
    signatures(secrets, "", 0, b"")
