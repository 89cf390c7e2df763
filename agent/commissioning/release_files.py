"""The files of a release that are not Python: systemd units, example configuration, schemas, alert rules and others."""

from __future__ import annotations

import shutil
from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "files"
"""Directory of the files in a wheel. A checkout has the same files in the places of `_PLACES`."""

_CHECKOUT = Path(__file__).parents[2]
_PLACES = {
    "config.example.toml": "config.example.toml",
    "grafana-dashboard.json": "docs/grafana-dashboard.json",
    "prometheus-scrape.yml": "docs/prometheus-scrape.yml",
    "requirements.lock": "requirements.lock",
    "schema": "docs/schema",
    "systemd": "systemd",
    "telemetry-agent.rules.yml": "docs/telemetry-agent.rules.yml",
}
"""Name of the file or directory → its path in a checkout. pyproject.toml puts the same files into the wheel."""


def example() -> str:
    """Return the text of config.example.toml."""
    name = "config.example.toml"
    return _source(name, _PLACES[name]).read_text(encoding="utf-8")


def write(directory: Path) -> list[Path]:
    """Copy the files into `directory`, which is created if it does not exist. Return their paths, sorted.

    Raises FileExistsError with the path, before anything is written, if `directory` already has one of the files.
    Raises OSError if a file cannot be read or written.
    """
    targets = [directory / name for name in _PLACES]
    for target in targets:
        if target.exists():
            raise FileExistsError(17, "exists already", str(target))
    directory.mkdir(parents=True, exist_ok=True)
    for name, place in _PLACES.items():
        source = _source(name, place)
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copy(source, directory / name)
    return sorted(path for target in targets for path in (target, *target.rglob("*")) if path.is_file())


def _source(name: str, place: str) -> Path:
    return _PACKAGED / name if _PACKAGED.is_dir() else _CHECKOUT / place
