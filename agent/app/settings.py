"""Converts the configuration to the settings of schedule, aggregation and payload."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.aggregation import AggregationSettings, SummarySettings
from agent.config import DEFAULT_NAME
from agent.contract import PayloadOptions
from agent.polling import Rhythm, phase_s
from drivers.model import NodeType

if TYPE_CHECKING:
    from agent.config import Config, PushConfig

_CONNECTION_MARGIN = 2.0
"""The largest power of a device, as a multiple of the larger of `import_limit_W` and `export_limit_W`. A device can
consume more than the import limit, because it also consumes power that is produced on the site."""


def rhythm(config: Config, push: PushConfig) -> Rhythm:
    """Return the interval, the phase and the deadline of the pushes to one endpoint."""
    endpoint = "" if push.name == DEFAULT_NAME else push.name
    phase = phase_s(push.align, config.site.node_id, push.interval_s, endpoint)
    return Rhythm(push.interval_s, phase, push.effective_deadline_s)


def aggregation_settings(config: Config) -> AggregationSettings:
    """Return the settings of the aggregation for all enabled endpoints."""
    return AggregationSettings(
        timezone=ZoneInfo(config.site.timezone) if config.site.timezone else None,
        statistic=config.poll.statistic,
        stale_after_s=config.poll.stale_after_s,
        endpoints={push.name: _summary_settings(config, push) for push in config.endpoints},
        connection_W=_CONNECTION_MARGIN * max(config.site.import_limit_W or 0.0, config.site.export_limit_W or 0.0),
    )


def _summary_settings(config: Config, push: PushConfig) -> SummarySettings:
    return SummarySettings(
        node_ids=frozenset(
            node_id
            for device in config.device
            for node_id in device.node_ids.values()
            if device.enabled and push.chooses(node_id)
        ),
        partial_totals=push.partial_totals,
        sign={type_: getattr(push.sign, type_) for type_ in NodeType},
        formerly=push.formerly,
    )


def payload_options(config: Config, push: PushConfig) -> PayloadOptions:
    """Return the settings of the messages to one endpoint."""
    return PayloadOptions(
        site_node_id=push.site_node_id or config.site.node_id,
        node_ids=push.node_ids,
        levels=push.levels,
        device_format=push.device_format,
        device_fields=push.device_fields,
        time_format=push.time_format,
        quality=push.quality,
        import_limit_W=config.site.import_limit_W,
        export_limit_W=config.site.export_limit_W,
    )
