"""The commands of `telemetry-agent`: options, exit statuses and output.

The work of most commands is in `agent.commissioning` or in the packages of lower layers. Only `agent.__main__` imports
`agent.cli`.
"""

from agent.cli.main import app

__all__ = [
    "app",
]
