"""docs/configuration.md is what the models say, and every key has a meaning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from agent.commissioning import config_reference
from agent.config import Config
from tests.support.in_process import call_inside

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_that_of_the_models() -> None:
    assert PAGE.read_text(encoding="utf-8") == config_reference.page(), "run `make schema`"


@pytest.mark.parametrize(("table", "model"), config_reference.tables().items())
def test_every_key_has_a_meaning(table: str, model: type[BaseModel]) -> None:
    meanings = config_reference.meanings(model)
    assert list(meanings) == list(model.model_fields)
    for key, meaning in meanings.items():
        assert meaning.endswith("."), f"{table} {key}"


def test_every_table_is_on_the_page() -> None:
    names = {table.strip("[]").partition(".")[0] for table in config_reference.tables()}
    assert names == set(Config.model_fields)


def test_editors_get_the_meanings() -> None:
    schema = json.loads(call_inside("config", "schema").stdout)
    interval = schema["$defs"]["PushConfig"]["properties"]["interval_s"]
    assert interval["description"] == "The time between two pushes."
