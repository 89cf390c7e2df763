"""Describes what each endpoint receives, and warns of settings that are allowed but probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agent.config import DEFAULT_NAME, Config, PushConfig, token_path
from agent.domain import Node, counted_in
from drivers.model import NodeType

_LEVELS = {"device_type": "totals by device type", "device": "single devices"}
_ALL = "all devices"


def endpoints_in_words(config: Config, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield one line if the only endpoint has the default name, else one for the site and one per endpoint."""
    if _has_default_only(config):
        (push,) = config.push
        levels, chosen = " and ".join(push.levels), _nodes(push, nodes)
        of = "" if chosen == _ALL else f" of {chosen}"
        yield (
            f"site {config.site.node_id}: {levels}{of} to {push.shown_url} every {push.interval_s} s"
            f"{_renamed_ids(config, push)}"
        )
        return
    yield f"site {config.site.node_id}: {len(config.endpoints)} endpoint{'s' if len(config.endpoints) > 1 else ''}"
    for push in config.push:
        if not push.enabled:
            yield f"endpoint {push.name}: not enabled; its queue is kept"
            continue
        words = _LEVELS | {"device": "a snapshot"} if push.device_format == "snapshot" else _LEVELS
        levels = " and ".join(words[level] for level in push.levels)
        signed = ", signed" if push.signing_secret_file is not None else ""
        proxy = f" through the proxy {push.shown_proxy}" if push.proxy_url else ""
        yield (
            f"endpoint {push.name}: {levels} of {_nodes(push, nodes)} to {push.shown_url}{proxy} every"
            f" {push.interval_s} s{signed}{_renamed_ids(config, push)}"
        )


def _has_default_only(config: Config) -> bool:
    """Whether there is one endpoint, and it has the default name."""
    return [push.name for push in config.push] == [DEFAULT_NAME]


def _nodes(push: PushConfig, nodes: Sequence[Node]) -> str:
    sent = [node.node_id for node in nodes if node.push]
    chosen = [node_id for node_id in sent if push.chooses(node_id)]
    return _ALL if chosen == sent else ", ".join(chosen) or "no device"


def _renamed_ids(config: Config, push: PushConfig) -> str:
    names = {config.site.node_id: push.site_node_id or config.site.node_id, **push.node_ids}
    changed = [f"{ours} as {theirs}" for ours, theirs in names.items() if ours != theirs]
    return f"; sends {', '.join(changed)}" if changed else ""


def selection_doubts(config: Config, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield the warnings about the nodes that endpoints choose, one sentence each."""
    for push in config.endpoints:
        chosen = [node for node in nodes if push.chooses(node.node_id)]
        whose = "push" if _has_default_only(config) else f"endpoint {push.name}"
        for key, given in (("nodes", push.nodes), ("exclude_nodes", push.exclude_nodes)):
            for each in given:
                if not any(PushConfig.matches(node.node_id, each) for node in nodes):
                    yield f"{whose}: {key} has {each!r}, but no enabled device has such a node"
        if not any(node.push for node in chosen):
            yield f"{whose}: no device is sent, so the endpoint gets no values"
        elif "device_type" in push.levels:
            yield from _lost_meters(whose, nodes, chosen)


def _lost_meters(whose: str, nodes: Sequence[Node], chosen: Sequence[Node]) -> Iterator[str]:
    """Warn of each type whose total is empty because its nodes are not chosen.

    Also warn of each type whose total has the nodes behind a meter because the meter is not chosen.
    """
    ids = {node.node_id for node in chosen}
    counted_here = counted_in(nodes, ids)
    for type_ in NodeType:
        counted = [node.node_id for node in nodes if node.type is type_ and node.counted]
        left_out = [node_id for node_id in counted if node_id not in ids]
        remaining = [node.node_id for node in chosen if node.type is type_ and node.node_id in counted_here]
        inner = [node_id for node_id in remaining if node_id not in counted]
        if counted and not remaining:
            yield f"{whose}: its {type_} is empty, because {' and '.join(left_out)} is not chosen"
        elif inner:
            yield (
                f"{whose}: its {type_} is the sum of {' and '.join(remaining)}, because the meter"
                f" {' and '.join(left_out)} is not chosen"
            )


def shared_tokens(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each endpoint that has the token of an earlier endpoint."""
    first: dict[str, str] = {}
    for push in config.endpoints:
        token = token_text(push, environ)
        if token and token in first:
            yield (
                f"endpoint {push.name} has the token of endpoint {first[token]}; each endpoint should have its own"
                " token, because whoever has a token can send in the name of the site"
            )
        if token:
            first.setdefault(token, push.name)


def token_text(push: PushConfig, environ: Mapping[str, str]) -> str:
    """Return the token of an endpoint; empty if there is none, or if its file cannot be read."""
    if push.token is not None:
        return push.token.get_secret_value().strip()
    path = token_path(push, environ)
    try:
        return path.read_text(encoding="utf-8-sig").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""
