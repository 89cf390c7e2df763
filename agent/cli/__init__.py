"""The commands of `telemetry-agent`: options, exit statuses and output.

Change the options and the output of a command here. The work of a command is in `agent.commissioning` or below.
No other package imports this one.
"""

from agent.cli.main import app

__all__ = [
    "app",
]
