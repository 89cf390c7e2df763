"""Writes the reference of the configuration from its pydantic models: docs/configuration.md, and a JSON Schema.

The meaning of a key is the text below it in `agent/config`. Python does not keep such a text, so this module parses the
source. `python -m agent.commissioning.config_reference docs/configuration.md` writes the page.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel

from agent.config import Config, PushConfig

_ORDER = ("site", "push", "outbox", "poll", "device", "connection", "drivers", "status", "log")
_UNITS = {"_per_s": "1/s", "_s": "s", "_Wh": "Wh", "_W": "W", "_mb": "MB"}
"""End of a key → its unit. The first end that matches counts."""
_SUBTABLES = ("sign", "retry")
"""Keys of [push] that have a section of their own on the page."""
_SHOWN = {"device": "[[device]]", "connection": "[connection.NAME]"}
"""Table → its heading on the page. Every other heading is the name in brackets."""

_HEAD = """\
# Configuration

All keys of `/etc/telemetry-agent/config.toml`. This page is generated from the models: `make schema` writes it.
[config.example.toml](../config.example.toml) is a complete example. `telemetry-agent config example` prints it, and
`telemetry-agent config schema` prints a JSON Schema for editors. `telemetry-agent check` names every mistake with its
key, its rule and its value, unless the value may be a secret.
[An environment variable](operations.md#environment-variables) can set every key.

In the column "default", **necessary** means that the key must be set. An empty cell means that the key is optional. For
several endpoints, write `[[push]]` tables ([several-endpoints.md](several-endpoints.md)). A device has either `host` or
`connection`. It has either `nodes`, or both `node_id` and `type`.
"""


def tables() -> dict[str, type[BaseModel]]:
    """Return heading → model for each table, in the order of the page."""
    found = {}
    for name in _ORDER:
        found[_SHOWN.get(name, f"[{name}]")] = _model_in(Config.model_fields[name].annotation)
        if name == "push":
            found |= {f"[push.{key}]": _model_in(PushConfig.model_fields[key].annotation) for key in _SUBTABLES}
    return found


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the model in an annotation such as `tuple[Model, ...]` or `Model | None`."""
    if _is_model(annotation):
        return cast("type[BaseModel]", annotation)
    return next(_model_in(each) for each in get_args(annotation) if get_args(each) or _is_model(each))


def _is_model(each: Any) -> bool:
    return isinstance(each, type) and issubclass(each, BaseModel)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration, with the meaning of each key as its description."""
    whole = Config.model_json_schema()
    for model in tables().values():
        properties = whole["$defs"][model.__name__]["properties"]
        for key, meaning in meanings(model).items():
            properties[key]["description"] = meaning
    return whole


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return key → meaning, as one line, for the keys of a table."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    body = cast("ast.ClassDef", node).body
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def page() -> str:
    """Return the text of docs/configuration.md."""
    definitions = Config.model_json_schema()["$defs"]
    return _HEAD + "".join(_table(name, model, definitions) for name, model in tables().items())


def _table(name: str, model: type[BaseModel], definitions: Mapping[str, Any]) -> str:
    own = definitions[model.__name__]
    about = own["description"].partition(": ")[2]  # "the poll interval" of "[poll]: the poll interval"
    lines = [
        f"\n## {name}\n\n{about[0].upper()}{about[1:]}\n",
        "| key | type | default | unit | meaning |",
        "|---|---|---|---|---|",
    ]
    texts = meanings(model)
    for key, rule in own["properties"].items():
        if name == "[push]" and key in _SUBTABLES:
            continue
        default = "**necessary**" if key in own.get("required", ()) else _default(rule.get("default"))
        unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")
        cells = (f"`{key}`", " or ".join(_words(rule, definitions)), default, unit, texts[key])
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if value in (None, {}, []):
        return ""
    return f"`{json.dumps(value)}`"


def _words(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """Yield the types that a value can have, in words."""
    if "$ref" in rule:
        rule = definitions[rule["$ref"].rpartition("/")[2]]
    if "anyOf" in rule:
        for each in rule["anyOf"]:
            if each.get("type") != "null":
                yield from _words(each, definitions)
    elif "enum" in rule or "const" in rule:
        yield ", ".join(f"`{json.dumps(value)}`" for value in rule.get("enum", [rule.get("const")]))
    elif rule.get("type") == "array":
        yield f"list of {' or '.join(_words(rule.get('items', {}), definitions)) or 'values'}"
    elif rule.get("type") == "object":
        yield "table"
    else:
        kind = {"string": "text", "boolean": "true or false"}.get(rule.get("type", ""), rule.get("type", "value"))
        yield ("path" if rule.get("format") == "path" else kind) + _bounds(rule)


def _bounds(rule: Mapping[str, Any]) -> str:
    low, high, above = rule.get("minimum"), rule.get("maximum"), rule.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}".replace("e+", "e").replace("e0", "e")
    if above is not None:
        return f" > {above:g}"
    return f" >= {low:g}" if low is not None else ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
