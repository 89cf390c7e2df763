"""Keys of the configuration that are set by environment variables.

pydantic-settings splits the names of variables, decodes JSON, and merges the sources by precedence. This module adds:

- A variable with the prefix `TELEMETRY_AGENT_` that names no key is an error.
- A number in a name is the index of a list item (…__DEVICE__0__HOST).
- Text such as `5` or `true` becomes a number or a boolean if the key needs one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from inspect import isclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from agent.config.errors import ConfigError, did_you_mean
from agent.domain import QUANTITIES

PREFIX = "TELEMETRY_AGENT__"
_DELIMITER = "__"
ONE_OR_SEVERAL = "a list of tables, or a single table"
"""Marks the annotation of a key whose value is a list of tables, or a single table instead of the list."""


class EnvironmentSource(EnvSettingsSource):
    """Returns the top-level keys that variables set or change. The value in the file is merged with the variables.

    Names of variables begin with PREFIX, in upper or lower case.
    """

    def __init__(self, settings_cls: type[BaseSettings], table: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        """`table` is the parsed file. Raises ConfigError as `_Names` does."""
        super().__init__(settings_cls, case_sensitive=True, env_prefix=PREFIX, env_nested_delimiter=_DELIMITER)
        self._table = table
        self._keys = _Names(table, environ, settings_cls).keys
        # Name of a variable, spelled like the keys of the models → its text. A variable that sets a whole table comes
        # first, so that variables of single keys override it.
        self.env_vars = {PREFIX + _DELIMITER.join(steps): text for steps, (text, _) in self._keys.items()}

    def next_field(self, field: Any, key: str, case_sensitive: bool | None = None) -> FieldInfo | None:  # noqa: FBT001
        annotation = field.annotation if isinstance(field, FieldInfo) else field
        if get_origin(_core(annotation)) is tuple:
            item = FieldInfo.from_annotation(inside(annotation))
            return item if key.isdecimal() else super().next_field(item, key, case_sensitive)
        return super().next_field(field, key, case_sensitive)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return _decoded(value)

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        for (*steps, last), (text, annotation) in self._keys.items():
            if steps and steps[0] in values:
                place = values
                for step in steps:
                    place = place[step]
                if place[last] == text:
                    place[last] = _scalar(text, annotation)
        return {key: _merged(self._table.get(key), value) for key, value in values.items()}


class _Names:
    """The keys that variables name.

    Raises ConfigError for a variable that names no key, or that does not fit the file or another variable.
    """

    def __init__(self, table: Mapping[str, Any], environ: Mapping[str, str], root: type[BaseModel]) -> None:
        self.keys: dict[tuple[str, ...], tuple[str, Any]] = {}
        """Steps to a key → text of its variable, and annotation of the key. A table comes before its single keys."""
        self._table = table
        self._root = root
        for name in sorted(environ, key=lambda name: (name.count(_DELIMITER), name)):
            if name.upper().startswith(PREFIX):
                steps, annotation = self._resolve(name)
                self.keys[steps] = environ[name], annotation
            elif name.upper().startswith(PREFIX[:-1]):
                raise ConfigError(
                    [f"environment {name}: no such key; write two underscores before each part: {PREFIX}PUSH__URL"]
                )

    def _resolve(self, name: str) -> tuple[tuple[str, ...], Any]:
        place: Any = self._table
        annotation: Any = self._root
        given = name[len(PREFIX) :].split(_DELIMITER)
        steps: tuple[str, ...] = ()
        for depth, step in enumerate(given, 1):
            key, annotation = _step(name, step, place, annotation)
            steps = (*steps, key)
            if depth < len(given):
                place = self._enter(name, place, steps, annotation, ".".join(given[:depth]))
                annotation = item_of(annotation, place)
        return steps, annotation

    def _enter(self, name: str, place: Any, steps: tuple[str, ...], annotation: Any, shown: str) -> Any:
        """Return the table or list at `steps` in the file, merged with a variable that sets the whole table.

        Raises ConfigError in these cases:

        - The key needs a value instead of a table or a list.
        - The key needs a table or a list, and the file or another variable has a different kind of value.
        - Another variable sets the whole list.
        """
        container = _container(annotation)
        key = steps[-1]
        empty: Any = {} if _may_be_one(annotation) else container() if container else None
        entered = place[int(key)] if isinstance(place, list) else place.get(key, empty)
        if steps in self.keys:
            whole = _decoded(self.keys[steps][0])
            if container is list and not (_may_be_one(annotation) and isinstance(whole, dict)):
                raise ConfigError([f"environment {name}: not possible, because another variable sets all of {shown}"])
            entered = _merged(entered, whole)
        if _may_be_one(annotation) and isinstance(entered, dict):
            return entered
        if container is None or not isinstance(entered, container):
            wrong = "is not a list in the file" if container is list else "is a value, not a table"
            raise ConfigError([f"environment {name}: {shown} {wrong}"])
        return entered


def variable_of(steps: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return the name of the variable that sets the key at `steps`, or a table or list with this key; else None."""
    names = {name.upper(): name for name in environ}
    for length in range(len(steps), 0, -1):
        name = names.get((PREFIX + _DELIMITER.join(steps[:length])).upper())
        if name is not None and _sets(_decoded(environ[name]), steps[length:]):
            return name
    return None


def _sets(value: Any, steps: Sequence[str]) -> bool:
    if not steps or isinstance(value, list):  # a list in a variable replaces the list in the file
        return True
    return isinstance(value, dict) and steps[0] in value and _sets(value[steps[0]], steps[1:])


def _step(name: str, step: str, place: Any, annotation: Any) -> tuple[str, Any]:
    """Return the key that `step` names in `place`, and the annotation of its value.

    In a list, the key is the index of an item. Raises ConfigError for a wrong index, and for a key that a table with
    fixed keys does not have.
    """
    if isinstance(place, list):
        if not _is_index(step, place):
            items = (
                f"must be the index of an item, 0..{len(place) - 1}" if place else "the list of the file has no items"
            )
            raise ConfigError([f"environment {name}: {items} (found {step!r})"])
        return str(int(step)), inside(annotation)
    model = model_in(annotation)
    if model is not None:
        for field, info in model.model_fields.items():
            if field.casefold() == step.casefold():
                return field, Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        raise ConfigError([f"environment {name}: no such key {step!r}{did_you_mean(step.lower(), model.model_fields)}"])
    existing = next((key for key in (*place, *QUANTITIES) if key.casefold() == step.casefold()), step.lower())
    return existing, inside(annotation)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a table with fixed keys; None for anything else."""
    core = _core(annotation)
    return core if isclass(core) and issubclass(core, BaseModel) else None


def inside(annotation: Any) -> Any:
    """Return the annotation of the items of a list, or of the values of a table with free names; otherwise None."""
    core = _core(annotation)
    arguments = get_args(core)
    if get_origin(core) is tuple:
        return arguments[0]
    return arguments[-1] if get_origin(core) is dict else None


def item_of(annotation: Any, value: object) -> Any:
    """Return the annotation of one item if `value` is a single table in place of a list; else `annotation`."""
    return inside(annotation) if get_origin(_core(annotation)) is tuple and isinstance(value, dict) else annotation


def _may_be_one(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated and ONE_OR_SEVERAL in get_args(annotation)


def _container(annotation: Any) -> type[dict[str, Any] | list[Any]] | None:
    """Return the type of the value in the file: dict for a table, list for a list; None for any other value."""
    if get_origin(_core(annotation)) is tuple:
        return list
    return dict if model_in(annotation) is not None or inside(annotation) is not None else None


def _core(annotation: Any) -> Any:
    """Return the annotation without `Annotated` and `| None`."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return _core(get_args(annotation)[0])
    return annotation


def _decoded(text: str) -> Any:
    """Return the JSON value of `text`. If `text` is `null` or not JSON, return `text`, so that the model checks it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if value is None else value  # pydantic-settings would ignore null


def _is_index(step: str, items: Sequence[Any]) -> bool:
    return step.isdecimal() and int(step) < len(items)


def _scalar(text: str, annotation: Any) -> Any:
    """Return the text if the key accepts text, else the JSON value: `5` for a number, `true` for a boolean."""
    try:
        TypeAdapter(annotation).validate_python(text)
    except ValidationError:
        return _decoded(text)
    return text


def _merged(base: Any, over: Any) -> Any:
    """Return `base` merged with `over`. Tables are merged key by key. `over` replaces any other value.

    If `base` is a list, `over` may be a table: index → the value to merge into that item.
    """
    if isinstance(base, list) and isinstance(over, dict) and all(_is_index(key, base) for key in over):
        items = list(base)
        for index, item in over.items():
            items[int(index)] = _merged(items[int(index)], item)
        return items
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: _merged(base.get(key), value) for key, value in over.items()}
    return over
