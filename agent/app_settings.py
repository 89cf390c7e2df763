"""What each part of the line needs of the configuration. Pure."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from agent.config import Config
from agent.payload import PayloadOptions
from agent.schedule import Rhythm
from agent.ticks import phase_s
from agent.totals import TotalsSettings
from drivers.model import NodeType


def rhythm(config: Config) -> Rhythm:
    """What the schedule needs of the configuration."""
    push = config.push
    return Rhythm(push.interval_s, phase_s(push.align, config.site.node_id, push.interval_s), config.poll.interval_s)


def totals_settings(config: Config) -> TotalsSettings:
    """What the totals need of the configuration."""
    return TotalsSettings(
        timezone=ZoneInfo(config.site.timezone) if config.site.timezone else None,
        statistic=config.poll.statistic,
        stale_after_s=config.poll.stale_after_s,
        partial_totals=config.push.partial_totals,
        sign={type_: getattr(config.push.sign, type_) for type_ in NodeType},
    )


def payload_options(config: Config) -> PayloadOptions:
    """What the payload needs of the configuration."""
    push = config.push
    return PayloadOptions(
        site_node_id=config.site.node_id,
        levels=push.levels,
        device_format=push.device_format,
        device_fields=push.device_fields,
        time_format=push.time_format,
        quality=push.quality,
        import_limit_W=config.site.import_limit_W,
        export_limit_W=config.site.export_limit_W,
    )
