"""`python -m agent` and the command `telemetry-agent`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from agent.cli import app

    app()


if __name__ == "__main__":
    main()
