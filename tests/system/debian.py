"""A clean Debian of this machine's own release, from the mirror that apt is set up with; kept in the user's cache.

What is needed to make one is installed with apt-get. `Unable` says in words why it cannot be done here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.system.machine import Machine

REPO = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "telemetry-push-agent"
TOOLS = {
    "debootstrap": "debootstrap",
    "lintian": "lintian",
    "nsenter": "util-linux",
    "systemd-nspawn": "systemd-container",
}
PACKAGES = ("ca-certificates", "dbus", "python3", "python3-venv", "systemd", "systemd-sysv")


class UnableError(Exception):
    """This machine cannot run a Debian."""


def call(*command: str | Path) -> str:
    """Standard output. Raises UnableError with the last line of what went wrong."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise UnableError(f"{Path(command[0]).name} ended with {done.returncode}: {words[-1]}")
    return done.stdout


def install_tools() -> None:
    """Raises UnableError where that is not possible."""
    if os.getuid():
        raise UnableError("needs root")
    if shutil.which("apt-get") is None:
        raise UnableError("needs Debian's apt-get")
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        call("apt-get", "update", "-qq")
        call("apt-get", "install", "-qq", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing)


def release_and_mirror() -> tuple[str, str]:
    """Codename of this machine's Debian, and the address of its mirror, as apt knows them."""
    codename = ""
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            codename = value.strip('"')
    targets = "$(CODENAME)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)"

    def found() -> str | None:
        for line in call("apt-get", "indextargets", "--format", targets, "Created-By: Packages").splitlines():
            if line.startswith(f"{codename}|Debian|main|"):
                return line.rpartition("|")[2]
        return None

    mirror = found()
    if mirror is None:  # apt has no lists yet
        call("apt-get", "update", "-qq")
        mirror = found()
    if not codename or mirror is None:
        raise UnableError(f"apt knows no Debian mirror for {codename or 'this release'}")
    return codename, mirror


def root(release: str | None = None) -> Path:
    """The file system of a clean Debian, to be copied; by default of this machine's own release. Raises UnableError."""
    install_tools()
    codename, mirror = release_and_mirror()
    codename = release or codename
    wanted = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
    directory = CACHE / f"{codename}-{wanted}"
    if not directory.is_dir():
        unfinished = directory.with_suffix(f".{os.getpid()}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            call("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", codename, unfinished, mirror)
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def wheels(debian: Path) -> Path:
    """Everything that an installation needs from the package index, for Debian's Python. Raises UnableError."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (debian / "usr/lib" / version).is_dir():
        raise UnableError(f"the tests run with {version}, Debian has another; wheels would not fit")
    pins = (REPO / "requirements.lock").read_bytes() + (REPO / "pyproject.toml").read_bytes()
    directory = CACHE / f"wheels-{version}-{hashlib.sha256(pins).hexdigest()[:8]}"
    if not directory.is_dir():
        unfinished = directory.with_suffix(f".{os.getpid()}")
        try:
            pip = (sys.executable, "-m", "pip", "--quiet", "wheel", "--wheel-dir", unfinished)
            call(*pip, "--require-hashes", "--requirement", REPO / "requirements.lock")
            call(*pip, "hatchling==1.33.0")
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def machine(directory: Path, release: str | None = None) -> Machine:
    """A booted copy in `directory`; the checkout is in /src. Raises UnableError.

    Without `release` it is this machine's own, with the wheels for the test's Python in /wheels.
    """
    clean = root(release)
    shared = {REPO: "/src"} if release else {REPO: "/src", wheels(clean): "/wheels"}
    copy = directory / "root"
    call("cp", "--archive", "--reflink=auto", clean, copy)
    booted = Machine(copy, shared)
    try:
        booted.boot()
    except (OSError, TimeoutError, subprocess.SubprocessError) as error:
        booted.stop()
        raise UnableError(f"systemd-nspawn does not boot here: {error}; {booted.console()}") from error
    return booted
