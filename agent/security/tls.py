"""Private keys that are stored encrypted: the daemon has nobody to ask for the passphrase."""

from __future__ import annotations

from typing import NoReturn


def refuse_passphrase() -> NoReturn:
    """For `SSLContext.load_cert_chain`, which would ask on the terminal otherwise, and wait there."""
    raise OSError("its private key has a passphrase, which nobody can type here; store it without, as mode 0600")
