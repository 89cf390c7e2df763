"""The composition root: connects polling, aggregation, contract, outbox, delivery and status, and runs them.

`settings` converts the configuration to the settings of the parts. `push_schedule` decides when each endpoint pushes.
"""

from agent.app.app import App
from agent.app.settings import aggregation_settings, payload_options

__all__ = ["App", "aggregation_settings", "payload_options"]
