"""[status]: the status listener."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from agent.config.errors import path_shown
from agent.config.tables import DEFAULT_LISTEN, StatusTable, both_tokens_mistake, token_mistake
from agent.config.types import FilePath, Listen, SecretText, Section


class StatusConfig(Section, StatusTable):
    """[status]: address and token of the listener. Without this table there is no listener."""

    listen: Listen = DEFAULT_LISTEN
    """Address and port of the status page, /healthz, /readyz, /metrics, /status.json and /history.json."""
    token: SecretText | None = None
    """The bearer token that requests need, except those for / and /healthz. Better: `token_file`."""
    token_file: FilePath | None = None
    """The file of the token. The token has at least 16 characters. A token is necessary if `listen` is
    not a loopback address."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (mistake := both_tokens_mistake(self.token, self.token_file)) is not None:
            raise ValueError(mistake)
        if not self.loopback and not (self.token or self.token_file):
            raise ValueError(
                f"token_file: missing; anybody who reaches {self.listen} could read the status:"
                " give token_file or token, or listen on 127.0.0.1"
            )
        try:
            secret = self.secret()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not text"
            where = path_shown(self.token_file or Path())
            raise ValueError(f"token_file: must be a readable file ({reason}: {where})") from None
        if secret is not None and (mistake := token_mistake(secret.get_secret_value())):
            key = "token" if self.token else "token_file"
            raise ValueError(f"{key}: {mistake}; `openssl rand -hex 24` makes a token")
        return self
