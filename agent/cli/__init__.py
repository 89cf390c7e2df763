"""The commands of `telemetry-agent`: options, exit statuses, what is printed.

Change here what a command accepts or shows. What a command does belongs to `agent.commissioning` or below.
No other package imports this one.
"""

from agent.cli.main import app

__all__ = [
    "app",
]
