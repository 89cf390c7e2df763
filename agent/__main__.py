"""`python -m agent` and the command `telemetry-agent`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    _import_structlog_without_rich()
    from agent.cli import app

    app()


def _import_structlog_without_rich() -> None:
    """structlog imports rich where it is installed, for tracebacks: 3 MB and 0.1 s of a daemon that draws none."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # makes an import fail
        import structlog  # noqa: F401 - for its side effect

        del sys.modules["rich"]


if __name__ == "__main__":
    main()
