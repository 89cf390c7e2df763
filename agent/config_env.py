"""Keys of the configuration that come from the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.config_errors import ConfigError, did_you_mean
from agent.limits import QUANTITIES

PREFIX = "TELEMETRY_AGENT__"


def overlay(table: dict[str, Any], environ: Mapping[str, str], root: type[BaseModel]) -> dict[str, Any]:
    """`table` with every TELEMETRY_AGENT__… variable put in its place; list items by index (…__DEVICE__0__HOST).

    `root` is the model of the whole file. Raises ConfigError for a variable that names no key.
    """
    result: Any = _copy(table)
    for name in sorted(environ):
        if name.upper().startswith(PREFIX):
            _set(result, name, environ[name], root)
        elif name.upper().startswith(PREFIX[:-1]):
            raise ConfigError([f"environment {name}: no such key; two underscores stand before each step of it"])
    return dict(result)


def _set(result: dict[str, Any], name: str, text: str, root: type[BaseModel]) -> None:
    place: Any = result
    annotation: Any = root
    steps = name[len(PREFIX) :].split("__")
    for depth, step in enumerate(steps):
        key, annotation = _step(name, step, place, annotation)
        if depth == len(steps) - 1:
            place[key] = _literal(text, annotation)
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
        else:
            place = place[key]
        if depth < len(steps) - 1 and not isinstance(place, dict | list):
            raise ConfigError([f"environment {name}: {'.'.join(steps[: depth + 1])} is a value, not a table"])


def _step(name: str, step: str, place: Any, annotation: Any) -> tuple[Any, Any]:
    """The key that `step` means below `place`, and the annotation of what stands there."""
    if isinstance(place, list):
        if not step.isdigit() or int(step) >= len(place):
            raise ConfigError([f"environment {name}: must name an item 0..{len(place) - 1} (found {step!r})"])
        return int(step), get_args(annotation)[0]
    model = model_in(annotation)
    if model is not None:
        for field, info in model.model_fields.items():
            if field.casefold() == step.casefold():
                return field, Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        raise ConfigError([f"environment {name}: no such key {step!r}{did_you_mean(step.lower(), model.model_fields)}"])
    existing = next((key for key in (*place, *QUANTITIES) if key.casefold() == step.casefold()), step.lower())
    return existing, get_args(annotation)[-1] if get_args(annotation) else Any


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The table that a key holds, by its annotation; None where it holds a value, a list or named tables."""
    if get_origin(annotation) in (dict, tuple):
        return None
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _literal(text: str, annotation: Any) -> Any:
    """The value of a variable: text where the key takes text, else read as TOML."""
    try:
        TypeAdapter(annotation).validate_python(text)
    except ValidationError:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
