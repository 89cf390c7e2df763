"""Import rules that import-linter (`.importlinter`, `make lint`) cannot express, read from the source."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.cases import for_each

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("agent/**/*.py"), *ROOT.glob("drivers/**/*.py")])

# Library -> the packages that may import it.
OWNERS = {
    "pymodbus": ("drivers.modbus", "drivers.simulator"),
    "serial": ("drivers.modbus",),
    "httpx": ("agent.delivery",),
    "tenacity": ("agent.delivery",),
    "prometheus_client": ("agent.status.metrics",),
    "sqlite3": ("agent.storage", "agent.outbox", "agent.energy", "agent.commissioning.outbox_admin"),
}

# Modules that other packages import by their full name: the daemon loads them late or never, or the rest of their
# package is closed to the importer (delivery uses nothing of the contract but the envelope).
DOORS = {
    "agent.contract.envelope",
    "agent.contract.schema",
    "agent.receiver.command",
    "agent.status.listener",
    "drivers.profile.device_table",
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str | None:
    """agent.polling for agent.polling.poller; None for modules directly in agent or drivers."""
    package = ".".join(module.split(".")[:2])
    return package if (ROOT / package.replace(".", "/")).is_dir() else None


@cache
def imported(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return tuple(names)


@cache
def pure_modules() -> tuple[str, ...]:
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    return tuple(contract["importlinter:contract:pure"]["source_modules"].split())


def belongs(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


@for_each("path", MODULES, module_of)
def test_a_library_is_imported_by_its_owner_alone(path: Path) -> None:
    for library in {name.partition(".")[0] for name in imported(path)} & set(OWNERS):
        assert belongs(module_of(path), OWNERS[library]), f"{library} belongs to {OWNERS[library]}"


@for_each("path", MODULES, module_of)
def test_packages_import_each_other_by_their_public_face(path: Path) -> None:
    """A pure module is the exception: it imports pure modules by full name, as a face also loads what is not pure."""
    here = module_of(path)
    if belongs(here, pure_modules()):
        return
    for module in imported(path):
        package = package_of(module)
        if module.startswith(("agent.", "drivers.")) and package not in (None, package_of(here)):
            assert module == package or module in DOORS or belongs(module, ("agent.cli", "agent.commissioning")), (
                f"{here} imports {module}: import the name from {package}, and add it to its __init__ if it is public"
            )


def test_the_daemon_does_not_load_the_tools() -> None:
    code = (
        "import sys, agent.__main__; agent.__main__._import_structlog_without_rich();"
        "import agent.app, agent.site, agent.service, agent.runtime;"
        "print([m for m in ('prometheus_client', 'agent.status.listener', 'drivers.simulator', 'agent.contract.schema',"
        " 'agent.receiver', 'agent.commissioning', 'drivers.scan', 'drivers.dump', 'drivers.profile.device_table',"
        " 'pymodbus.server', 'typer', 'agent.cli', 'pydantic',"
        " 'pydantic_settings', 'rich', 'drivers.sunspec', 'pytest') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    # Older versions of typer need click, and where click is, httpx loads rich.
    allowed = {"['rich']"} if importlib.util.find_spec("click") else set()
    assert found.strip() in {"[]"} | allowed
