"""Finds the bearer token of an endpoint, and checks it.

The first of these that has a usable token is used: `token_file`, the systemd credential, `token` in the configuration.
If `token_file` and the credential both have a usable token, and the endpoint rejects the token of `token_file`, the
token of the credential is used.

A credential is a copy of a file. systemd makes the copy at the start of the service, so the copy does not follow a
rotation of the file. If the user of the service cannot read the file itself, a rotation needs a restart of the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.errors import path_shown
from agent.config.tables import DEFAULT_NAME, endpoint_key
from agent.security import Token

if TYPE_CHECKING:
    from agent.config.push import PushConfig

CREDENTIAL = "push_token"
"""The credential of the endpoint `default`. The credential of another endpoint NAME is `push_token.NAME`."""
USABLE = "visible ASCII characters without blanks"
"""What `usable` requires, for error texts."""
_ALONE = f"must be the token alone: {USABLE}, and no 'Bearer' before it"


def token_of(push: PushConfig, environ: Mapping[str, str]) -> Token:
    """Return the token of the endpoint. See the module for the order of its sources."""
    files = [path for path in (push.token_file, credential_file(push, environ)) if path is not None]
    return Token(files, push.token, lambda text: None if usable(text) else _ALONE)


def mistakes(pushes: Sequence[PushConfig], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each enabled endpoint whose token is missing or unusable: key, rule, file."""
    for index, push in enumerate(pushes):
        if push.enabled and (rule := _mistake(push, environ)):
            yield f"{endpoint_key(pushes, index)}.{rule}"


def _mistake(push: PushConfig, environ: Mapping[str, str]) -> str | None:
    """Return key, rule and file of a missing or unusable token; otherwise None."""
    if push.token is not None:
        token = push.token.get_secret_value().strip()
        if not token:
            return "token: must not be empty"
        return None if usable(token) else f"token: {_ALONE}"
    path = token_path(push, environ)
    if path is None:
        return f"token_file: missing; give token_file, token or the systemd credential {credential_of(push)}"
    try:
        token = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, PermissionError) and path != push.token_file:
            return None  # a process such as ExecReload= is not permitted to read the credential
        reason = getattr(error, "strerror", None) or "is not text"
        hint = "; write the token of the integrator into it" if isinstance(error, FileNotFoundError) else ""
        return f"token_file: must be a readable file ({reason}: {path_shown(path)}){hint}"
    if not token:
        return f"token_file: must hold the token (found {str(path)!r} empty)"
    return None if usable(token) else f"token_file: {_ALONE} (found something else in {str(path)!r})"


def usable(token: str) -> bool:
    """Whether the token has only visible ASCII characters, and at least one."""
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def token_path(push: PushConfig, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the token; None if there is no `token_file` and no systemd credential.

    If both exist, return:

    - `token_file`, if it has a usable token.
    - Otherwise the systemd credential, if it has a usable token, or if this process cannot read it.
    - Otherwise `token_file`, because a person must edit that file. The credential is empty if its source file does not
      exist and SetCredential= gives it a blank value.
    """
    credential = credential_file(push, environ)
    if credential is None or push.token_file is None:
        return push.token_file or credential
    if usable(_text(push.token_file) or ""):
        return push.token_file
    copied = _text(credential)
    return credential if copied is None or usable(copied) else push.token_file


def _text(path: Path) -> str | None:
    """Return the text of the file without the blanks around it; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return None


def credential_of(push: PushConfig) -> str:
    """Return the name of the systemd credential of the endpoint."""
    return CREDENTIAL if push.name == DEFAULT_NAME else f"{CREDENTIAL}.{push.name}"


def credential_file(push: PushConfig, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the systemd credential (LoadCredential=push_token:…); None if there is none."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, credential_of(push)) if directory else None
    return path if path is not None and _exists(path) else None


def _exists(path: Path) -> bool:
    """Whether the file exists. True if this user is not permitted to check."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
