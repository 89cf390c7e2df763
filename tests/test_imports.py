"""Who may import whom: the design's rules, read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("agent/**/*.py"), *ROOT.glob("drivers/**/*.py")])
PURE = (
    "drivers/codec",
    "drivers/plan",
    "drivers/model",
    "drivers/redact",
    "drivers/scan_patience",
    "drivers/scan_targets",
    "agent/paste",
    "agent/plausible",
    "agent/aggregate",
    "agent/balance",
    "agent/energy.py",
    "agent/energy_day",
    "agent/limits",
    "agent/night",
    "agent/node",
    "agent/window",
    "agent/payload",
    "agent/remedy",
    "agent/ticks",
)
IMPURE = {
    "asyncio",
    "os",
    "socket",
    "time",
    "sqlite3",
    "httpx",
    "pymodbus",
    "pathlib",
    "structlog",
    "random",
    "threading",
}
# The names that a pure module may still know: types of errors that it puts into words, and chance.
KNOWN = {
    "agent/push_health.py": {"random"},
    "agent/push_pace.py": {"random"},
    "agent/push_words.py": {"httpx", "os", "socket"},
    "drivers/bus_reasons.py": {"socket"},
    "drivers/physics_plants.py": {"random"},
}
OWNERS = {
    "pymodbus": ("drivers/bus", "drivers/simulator"),
    "httpx": ("agent/push",),
    "tenacity": ("agent/push",),
    "prometheus_client": ("agent/status_metrics",),
    "sqlite3": ("agent/outbox", "agent/energy_store"),
}


def says_pure(tree: ast.Module) -> bool:
    return re.search(r"\bpure\b", ast.get_docstring(tree) or "", re.IGNORECASE) is not None


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text())
    modules = imported(tree)
    roots = {module.partition(".")[0] for module in modules}
    if name.startswith("drivers/"):
        assert "agent" not in roots
    if name == "drivers/model.py":
        assert "drivers" not in roots
    if says_pure(tree) or name.startswith(PURE):
        assert not roots & IMPURE - KNOWN.get(name, set())
    for library, owners in OWNERS.items():
        assert library not in roots or name.startswith(owners), f"{library} belongs to {owners}"
    if name.startswith(("agent/outbox", "agent/push")):
        assert "drivers" not in roots


def test_the_daemon_does_not_load_the_tools() -> None:
    code = (
        "import sys, agent.__main__; agent.__main__._import_structlog_without_rich();"
        "import agent.app, agent.site, agent.supervise, agent.daemon, agent.log;"
        "print([m for m in ('prometheus_client', 'agent.status.listener', 'drivers.simulator.site_server', 'agent.contract.schema', 'agent.receiver.server',"
        " 'pymodbus.server', 'typer', 'rich', 'drivers.sunspec.driver', 'pytest') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert found.strip() == "[]"
