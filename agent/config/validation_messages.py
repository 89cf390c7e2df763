"""Turns the errors of pydantic into lines for people who write TOML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from agent.config.environment import inside, model_in, variable_of
from agent.config.errors import did_you_mean
from agent.security import without_secrets

_TABLES = frozenset({"dict_type", "model_type", "model_attributes_type"})
"""Types of pydantic's errors for a value that must be a table but is not."""
_HIDDEN = _TABLES | {"path_type"}
"""Types of errors whose value is not shown. A value in place of a table may contain a token. A value in place of a file
name may be the secret itself, for example in `token_file`."""

# If a table can have more keys than this, the error text lists none of them.
_MOST_LISTED = 12
# Maximum characters of a value in an error text.
_MOST_SHOWN = 120


def explain(error: ValidationError, environ: Mapping[str, str], origin: str, root: type[BaseModel]) -> Iterator[str]:
    """Yield one line per mistake: origin, key, rule, value. `root` is the model of the whole file.

    The origin is the variable of `environ` that sets the key, otherwise `origin`.
    """
    items = error.errors(include_url=False)
    for item in items:
        loc = item["loc"]
        if item["type"] == "too_short" and any(other["loc"][: len(loc)] == loc for other in items if other is not item):
            continue  # pydantic counts only the correct items of the list; each wrong item has a line of its own
        place, steps = _place(loc)
        message = f"{place}{_rule(item, place, steps, root)}"
        yield f"{origin_of(message, environ, origin)}: {message}"


def origin_of(message: str, environ: Mapping[str, str], origin: str) -> str:
    """Return the variable of `environ` that sets the key at the beginning of `message`; `origin` if none does."""
    key = re.sub(r"\[(\d+)\]", r".\1", message.partition(":")[0])
    variable = variable_of(key.split("."), environ)
    return f"environment {variable}" if variable else origin


def _place(loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """Return the key, such as `device[2].port`, and its steps, such as `device`, `2` and `port`.

    Steps that pydantic adds for unions are omitted.
    """
    text = ""
    steps = []
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.endswith("]") or part in ("str", "float", "int"):
            continue
        else:
            text += f".{part}" if text else part
        steps.append(str(part))
    return text, steps


def _rule(item: Any, place: str, steps: list[str], root: type[BaseModel]) -> str:
    """Return the part of the line after the key: the rule, the value found, and what to write instead."""
    kind, message, value = item["type"], item["msg"], item["input"]
    if kind == "extra_forbidden":
        return f": unknown key{_instead(steps, root)}"
    if kind == "missing":
        return ": missing"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        # A check of several keys begins its message with the key that is wrong, relative to `place`.
        if isinstance(value, BaseModel | dict) or not place:
            return f"{'.' if place else ''}{message}"
    message = _PLAIN_WORDS.get(kind, message).removeprefix("Input ")
    shown = "a secret" if "token" in steps[-1:] else _shown(value, hidden=kind in _HIDDEN)
    return f": {message[:1].lower()}{message[1:]} (found {shown}){_remedy(item, steps)}"


# Kind of error → rule, in the words of TOML instead of Python.
_PLAIN_WORDS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text, in quotes",
    "tuple_type": "must be a list",
    "path_type": "must be a file name",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "too_short": "must not be empty",
}


def _shown(value: object, *, hidden: bool) -> str:
    """Return the value for an error text, without the secrets of URLs. `hidden`: show only the kind of the value.

    A table is never shown, because it may hold a token.
    """
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        if any(isinstance(item, dict) for item in value):
            return "a list of tables"
        if any(isinstance(item, list) for item in value):
            return "a list of lists"
    if hidden:
        return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a value"
    text = repr([_safe(item) for item in value] if isinstance(value, list) else _safe(value))
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _safe(value: object) -> object:
    return without_secrets(value) if isinstance(value, str) else value


def _remedy(item: Any, steps: list[str]) -> str:
    """Return what to write instead of a wrong value, as the end of an error text; empty if not known."""
    kind, value = item["type"], item["input"]
    if kind in ("literal_error", "enum") and isinstance(value, str):
        return did_you_mean(value, re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    if steps == ["device"] and isinstance(value, dict):
        return "; write [[device]], in two pairs of brackets"
    if steps[:1] == ["connection"] and len(steps) <= 2 and kind in _TABLES:
        return "; write [connection.NAME], and its keys below"
    if isinstance(value, list) and kind in ("model_type", "model_attributes_type"):
        return f"; write [{'.'.join(steps)}], in one pair of brackets"
    if kind == "tuple_type" and isinstance(value, str):
        return f'; write ["{without_secrets(value)}"]'
    return ""


def _instead(steps: list[str], root: type[BaseModel]) -> str:
    """Return the end of an error text for an unknown key.

    The first of these rules that applies decides:

    - If the key belongs in [connection.NAME], the text says so.
    - If the table has a similar key, the text names it.
    - If the table has fixed keys, and at most `_MOST_LISTED` of them, the text names all.
    - Otherwise the text is empty.
    """
    known = _siblings(steps, root)
    if steps[0] == "device" and steps[-1] in _siblings(["connection", "NAME", steps[-1]], root):
        return '; write it in [connection.NAME], and connection = "NAME" in [[device]]'
    if guess := did_you_mean(steps[-1], known):
        return guess
    return f"; there are {', '.join(known)}" if 0 < len(known) <= _MOST_LISTED else ""


def _siblings(steps: list[str], root: type[BaseModel]) -> list[str]:
    """Return all keys that the table with the key at `steps` can have; empty if the table has free names."""
    annotation: Any = root
    for step, following in pairwise(steps):
        model = model_in(annotation)
        if model is not None and step in model.model_fields:
            annotation = model.model_fields[step].annotation
        elif model is None:
            annotation = inside(annotation)
        if not following.isdecimal() and get_origin(annotation) is tuple:  # a list written as a single table
            annotation = inside(annotation)
    model = model_in(annotation)
    return list(model.model_fields) if model else []
