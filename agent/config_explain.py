"""Mistakes that pydantic found → lines for people who write TOML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from agent.config_env import PREFIX, inside, model_in
from agent.config_errors import did_you_mean


def explain(error: ValidationError, environ: Mapping[str, str], origin: str, root: type[BaseModel]) -> Iterator[str]:
    """A line per mistake: the variable of `environ` or else `origin`, key, rule, value.

    `root` is the model of the whole file.
    """
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and len(error.errors()) > 1:
            continue  # says again what the item's own line says
        place, steps = _place(item["loc"])
        variable = PREFIX + "__".join(steps).upper()
        overridden = next((name for name in environ if steps and name.upper() == variable), None)
        where = f"environment {overridden}" if overridden else origin
        yield f"{where}: {place}{_rule(item, place, steps, root)}"


def _place(loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """`push.interval_s`, `device[2].port`, without the steps that pydantic adds for unions and validators."""
    text = ""
    steps = []
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "[" in part or "-" in part or part in ("str", "float", "int"):
            continue
        else:
            text += f".{part}" if text else part
        steps.append(str(part))
    return text, steps


def _rule(item: Any, place: str, steps: list[str], root: type[BaseModel]) -> str:
    kind, message, value = item["type"], item["msg"], item["input"]
    message = _PLAIN_WORDS.get(kind, message)
    if kind == "extra_forbidden":
        return f": unknown key{did_you_mean(steps[-1], _siblings(steps, root))}"
    if kind == "missing":
        return ": missing"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        # Checks over several keys name their key themselves.
        if isinstance(value, BaseModel | dict) or not place:
            return f"{'.' if place else ''}{message}"
    message = message.removeprefix("Input ")
    shown = "a secret" if "token" in steps[-1:] else repr(value)
    return f": {message[:1].lower()}{message[1:]} (found {shown})"


# pydantic's words for people who write Python, in words for people who write TOML.
_PLAIN_WORDS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "path_type": "must be a file name",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
}


def _siblings(steps: list[str], root: type[BaseModel]) -> list[str]:
    annotation: Any = root
    for step in steps[:-1]:
        model = model_in(annotation)
        if model is not None and step in model.model_fields:
            annotation = model.model_fields[step].annotation
        elif model is None:
            annotation = inside(annotation)
    model = model_in(annotation)
    return list(model.model_fields) if model else []
