"""Checks the rules between keys of an endpoint, between endpoints, and between an endpoint and the nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from agent.config.errors import did_you_mean
from agent.config.tables import endpoint_key, is_pattern

if TYPE_CHECKING:
    from agent.config.push import PushConfig


def mistakes(pushes: Sequence[PushConfig], node_ids: Collection[str], enabled: Collection[str]) -> Iterator[str]:
    """Yield one line per mistake: key and rule.

    `node_ids` has the node ids of all devices. `enabled` has only those of enabled devices.
    """
    yield from _names(pushes)
    for index, push in enumerate(pushes):
        key = endpoint_key(pushes, index)
        if push.retry.initial_s > push.retry.max_s:
            yield f"{key}.retry.initial_s: must not be larger than {key}.retry.max_s"
        yield from _unknown(key, push, node_ids)
        yield from _same_id(key, push, enabled)
    if not any(push.enabled for push in pushes):
        yield f"{endpoint_key(pushes, 0)}.enabled: at least one endpoint must be enabled"


def _names(pushes: Sequence[PushConfig]) -> Iterator[str]:
    first: dict[str, int] = {}
    for index, push in enumerate(pushes):
        if len(pushes) > 1 and "name" not in push.model_fields_set:
            yield f"push[{index}].name: missing; each of several endpoints needs a name"
        elif push.name in first:
            yield f"push[{index}].name: must be unique; push[{first[push.name]}] has {push.name!r} already"
        first.setdefault(push.name, index)
    former: dict[str, int] = {}
    for index, push in enumerate(pushes):
        if push.formerly is None:
            continue
        key = f"{endpoint_key(pushes, index)}.formerly"
        if push.formerly in first:
            yield f"{key}: must be a name that no endpoint has now (found {push.formerly!r})"
        elif push.formerly in former:
            yield f"{key}: push[{former[push.formerly]}] takes over the queue of {push.formerly!r} already"
        former.setdefault(push.formerly, index)


def _unknown(key: str, push: PushConfig, node_ids: Collection[str]) -> Iterator[str]:
    for name, given in (("nodes", push.nodes), ("exclude_nodes", push.exclude_nodes), ("node_ids", push.node_ids)):
        for node_id in given:
            if node_id not in node_ids and (name == "node_ids" or not is_pattern(node_id)):
                yield f"{key}.{name}: no device has the node {node_id!r}{did_you_mean(node_id, node_ids)}"


def _same_id(key: str, push: PushConfig, node_ids: Collection[str]) -> Iterator[str]:
    """Yield a line for each node that would have the id of another node in the messages of the endpoint."""
    owner: dict[str, str] = {}
    for node_id in sorted(node_ids):
        if push.chooses(node_id):
            sent = push.node_ids.get(node_id, node_id)
            if sent in owner:
                yield f"{key}.node_ids: {owner[sent]!r} and {node_id!r} would both be sent as {sent!r}"
            owner.setdefault(sent, node_id)
