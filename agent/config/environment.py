"""Keys of the configuration that come from the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from inspect import isclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.config.errors import ConfigError, did_you_mean
from agent.domain import QUANTITIES

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
    *steps, last = name[len(PREFIX) :].split("__")
    for depth, step in enumerate(steps, 1):
        key, annotation = _step(name, step, place, annotation)
        container = _container(annotation)
        if container is not None and isinstance(place, dict):
            place.setdefault(key, container())
        if container is None or not isinstance(place[key], container):
            wrong = "is not a list in the file" if container is list else "is a value, not a table"
            raise ConfigError([f"environment {name}: {'.'.join(steps[:depth])} {wrong}"])
        place = place[key]
    key, annotation = _step(name, last, place, annotation)
    place[key] = _literal(text, annotation)


def _step(name: str, step: str, place: Any, annotation: Any) -> tuple[Any, Any]:
    """The key that `step` means in `place`, and the annotation of what stands there."""
    if isinstance(place, list):
        if not step.isdecimal() or int(step) >= len(place):
            items = f"0..{len(place) - 1}" if place else "of the file, which has none"
            raise ConfigError([f"environment {name}: must name an item {items} (found {step!r})"])
        return int(step), inside(annotation)
    model = model_in(annotation)
    if model is not None:
        for field, info in model.model_fields.items():
            if field.casefold() == step.casefold():
                return field, Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        raise ConfigError([f"environment {name}: no such key {step!r}{did_you_mean(step.lower(), model.model_fields)}"])
    existing = next((key for key in (*place, *QUANTITIES) if key.casefold() == step.casefold()), step.lower())
    return existing, inside(annotation)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a table with fixed keys; None for anything else."""
    core = _core(annotation)
    return core if isclass(core) and issubclass(core, BaseModel) else None


def inside(annotation: Any) -> Any:
    """The annotation of the items of a list, or of a table with free names; None for anything else."""
    core = _core(annotation)
    arguments = get_args(core)
    if get_origin(core) is tuple:
        return arguments[0]
    return arguments[-1] if get_origin(core) is dict else None


def _container(annotation: Any) -> type[dict[str, Any] | list[Any]] | None:
    """What TOML holds it in; None for a single value."""
    if get_origin(_core(annotation)) is tuple:
        return list
    return dict if model_in(annotation) is not None or inside(annotation) is not None else None


def _core(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return _core(get_args(annotation)[0])
    return annotation


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
