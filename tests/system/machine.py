"""A booted container: systemd as its first process, the network of the host, entered with nsenter."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

BOOT_S = 60.0
RESTART_ME = 133
NSPAWN = (
    *("systemd-nspawn", "--quiet", "--boot", "--settings=no"),
    *("--register=no", "--keep-unit", "--console=pipe"),  # works where the host itself has no systemd
)


def eventually(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Wait until `condition` holds. Raises TimeoutError."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(0.05)


class Machine:
    """Boot it, run commands in it, stop it."""

    def __init__(self, root: Path, shared: Mapping[Path, str]) -> None:
        """`shared` directories of the host are seen read-only under the given paths."""
        self.root = root
        self.stage = root.with_name("stage")
        """Seen as /stage."""
        self.stage.mkdir()
        self._shared = {**shared, self.stage: "/stage"}
        self._log = root.with_name("console.log")
        self._nspawn: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Returns when systemd has started everything."""
        binds = [f"--bind-ro={source}:{place}" for source, place in self._shared.items()]
        with self._log.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [*NSPAWN, f"--machine={self.root.parent.name}", f"--directory={self.root}", *binds],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_running()

    def reboot(self) -> None:
        """As `systemctl reboot` does it."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot", check=False)
        # With --keep-unit nspawn leaves the second half to whoever started it.
        assert self._nspawn.wait(BOOT_S) == RESTART_ME, self.console()
        self.boot()

    def stop(self) -> None:
        if self._nspawn is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
            if first := self._first_process():
                # What systemd takes as "power off", from whoever stands above its first process.
                subprocess.run(["kill", f"-{signal.SIGRTMIN + 4}", str(first)], check=False)
            self._nspawn.wait(20)
        self._nspawn.kill()
        self._nspawn.wait()
        self._nspawn = None

    def run(self, *command: str, check: bool = True, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as root, in /src; standard error joins standard output. Raises AssertionError when it fails.

        `typed` is its standard input.
        """
        first = self._first_process()
        assert first is not None, self.console()
        enter = [
            "nsenter",
            f"--target={first}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--wdns=/src",
            "--",
        ]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            [*enter, "env", "-i", path, "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", *command],
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done

    def shell(self, script: str, typed: str = "") -> str:
        """What a script prints; it ends at the first command that fails."""
        return self.run("bash", "-euo", "pipefail", "-c", script, typed=typed).stdout

    def console(self) -> str:
        """The end of what it said."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-1000:] if self._log.exists() else "no console"

    def _wait_until_running(self) -> None:
        eventually(self._is_up, "boot", BOOT_S)

    def _is_up(self) -> bool:
        if self._nspawn is None or self._nspawn.poll() is not None:
            raise OSError("the container has ended")
        if self._first_process() is None:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _first_process(self) -> int | None:
        """The container's process 1, as the host numbers it."""
        assert self._nspawn is not None
        nspawn = self._nspawn.pid
        try:
            children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text(encoding="ascii").split()
            for child in children:
                if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == "systemd":
                    return int(child)
        except OSError:
            pass  # just gone
        return None
