"""docs/container.md and the compose file: the configuration that they give by environment variables is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agent.commissioning.config_review import advice
from agent.config import load

DOCS = Path(__file__).parents[2] / "docs"
NOTHING = Path("/dev/null")


def of_the_page() -> dict[str, str]:
    text = (DOCS / "container.md").read_text(encoding="utf-8")
    return {key: value for _, key, value in re.findall(r"--env ('?)(TELEMETRY_AGENT__\w+)=(.*?)\1 \\", text)}


def of_the_compose_file() -> dict[str, str]:
    text = (DOCS / "examples/compose.yaml").read_text(encoding="utf-8").replace(">-\n", "")
    return {
        key: value.strip().strip('"') if not value.strip().startswith("[") else value.strip()
        for key, value in re.findall(r"(?m)^ +(TELEMETRY_AGENT__\w+): (.*)$", text)
    }


@pytest.mark.parametrize("environ", [of_the_page(), of_the_compose_file()], ids=["page", "compose"])
def test_the_variables_are_a_configuration(environ: dict[str, Any], tmp_path: Path) -> None:
    if "TELEMETRY_AGENT__PUSH__TOKEN_FILE" in environ:
        environ["TELEMETRY_AGENT__PUSH__TOKEN_FILE"] = str(tmp_path / "token")
        (tmp_path / "token").write_text("a-token")
    config = load(NOTHING, environ)
    (device,) = config.device
    assert device.driver == "eastron-sdm630"
    assert not [doubt for doubt in advice(config, NOTHING, environ) if "/dev/null" in doubt]
