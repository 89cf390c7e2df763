"""`scan`: converts the options into a scan, runs it and prepares its output."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from agent.runtime import SystemClock, terminal_columns
from drivers.profile import Profile
from drivers.protocol import (
    LAST_SERIAL_UNIT_ID,
    MAX_PORT,
    MAX_UNIT_ID,
    MIN_BAUDRATE,
    PARITIES,
    TRANSPORTS,
    USUAL_PORTS,
    TransportName,
    unit_address,
)
from drivers.scan import (
    LINES,
    Identifier,
    Scanner,
    ScanSettings,
    TargetError,
    Targets,
    parse_numbers,
    parse_targets,
)

Request = tuple[Targets, ScanSettings]
_MOST_REASONS = 4
"""If more ports than this could not be opened, `closed_reasons` names none of them."""
_HOST_TRANSPORTS = [name for name, kind in TRANSPORTS.items() if kind.medium == "tcp"]
"""The transports over which hosts can be scanned: TCP without TLS.

A TCP connection shows that a host exists, even if no unit responds. UDP has no connection."""


def request(
    targets: Sequence[str],
    ports: Sequence[int] | None,
    units: str,
    timeout_s: float,
    baudrates: Sequence[int] | None,
    parities: Sequence[str] | None,
    transport: str,
    profiles: Sequence[Profile],
) -> Request:
    """Convert the options into targets and settings. Raises TargetError."""
    if not 0 < timeout_s <= 60:
        raise TargetError(f"--timeout: must be seconds up to 60 (found {timeout_s:g})")
    settings = ScanSettings(
        ports=tuple(port_number(port) for port in ports or USUAL_PORTS),
        units=_units(units) if units else None,
        likely_units=_by_frequency(profiles),
        timeout_s=timeout_s,
        serial_timeout_s=0.3 * timeout_s,
        lines=serial_settings(baudrates, parities),
        transport=host_transport(transport),
    )
    return parse_targets(targets), settings


def _units(text: str) -> tuple[int, ...]:
    try:
        return parse_numbers(text, 0, MAX_UNIT_ID)
    except TargetError as error:
        raise TargetError(f"--units: {error}") from None


def host_transport(transport: str) -> TransportName:
    """Return `transport`. Raises TargetError if hosts cannot be scanned over it."""
    for name in _HOST_TRANSPORTS:
        if name == transport:
            return name
    raise TargetError(f"--transport: must be {', '.join(_HOST_TRANSPORTS)} (found {transport!r})")


def port_number(port: int) -> int:
    """Return `port`. Raises TargetError if it is not a port number."""
    if not 1 <= port <= MAX_PORT:
        raise TargetError(f"--port: must be 1..{MAX_PORT} (found {port})")
    return port


def serial_settings(baudrates: Sequence[int] | None, parities: Sequence[str] | None) -> tuple[tuple[int, str], ...]:
    """Return pairs of baud rate and parity: the given values, else the usual ones. Raises TargetError."""
    for parity in parities or ():
        if parity not in PARITIES:
            raise TargetError(f"--parity: must be N, E or O (found {parity!r})")
    for baudrate in baudrates or ():
        if baudrate < MIN_BAUDRATE:
            raise TargetError(f"--baudrate: must be at least {MIN_BAUDRATE} (found {baudrate})")
    if not baudrates and not parities:
        return LINES
    rates = baudrates or tuple(dict.fromkeys(baudrate for baudrate, _ in LINES))
    return tuple((baudrate, parity) for baudrate in rates for parity in parities or ("N", "E"))


def scan(targets: Targets, settings: ScanSettings, profiles: Sequence[Profile]) -> tuple[Scanner, bool]:
    """Scan until done or Ctrl-C. Return the scanner with its results, and whether they are complete."""
    scanner = Scanner(settings, Identifier(profiles, SystemClock().monotonic))
    total = len(targets.hosts) + len(targets.serial_ports)
    with _progress_bar(scanner, total) if sys.stderr.isatty() else nullcontext():
        try:
            asyncio.run(scanner.run(targets))
        except KeyboardInterrupt:
            return scanner, False
    return scanner, True


def asked_units(targets: Targets, settings: ScanSettings) -> str:
    """Return comments that name the unit ids that the scan tried, and the others. Empty if --units was given."""
    if settings.units is not None:
        return ""
    media = [serial for serial, found in ((False, targets.hosts), (True, targets.serial_ports)) if found]
    return "\n".join(_asked_units(settings, serial=serial, named=len(media) > 1) for serial in media)


def _asked_units(settings: ScanSettings, *, serial: bool, named: bool) -> str:
    """Return the comments for hosts, or for serial ports (`serial`). With `named`, the comments say which."""
    last = LAST_SERIAL_UNIT_ID if serial else MAX_UNIT_ID
    where = f" on {'serial ports' if serial else 'hosts'}" if named else ""
    units = sorted(settings.usual_units(serial=serial))
    others = [unit for unit in range(1, last + 1) if unit not in units]
    return (
        f"# Asked for{where}: units {_ranges(units)}, and the ones after each unit found.\n"
        f"# Not asked for{where}: the others of units {_ranges(others)}. To ask for them: --units 1-{last}"
    )


def _by_frequency(profiles: Sequence[Profile]) -> tuple[int, ...]:
    """Return the default unit ids of the profiles, the most frequent first."""
    found = Counter(unit for profile in profiles if (unit := profile.link.unit_id) is not None)
    return tuple(sorted(found, key=lambda unit: (-found[unit], unit)))


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers as ranges: 1, 2, 3, 7 becomes "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def closed_reasons(scanner: Scanner) -> list[str]:
    """Return the lines that say why nothing was found.

    If 1 to `_MOST_REASONS` ports of hosts could not be opened, each has one line. Otherwise there is one general line.
    """
    closed = scanner.closed
    return closed if 0 < len(closed) <= _MOST_REASONS else ["no device found"]


def _progress_bar(scanner: Scanner, total: int) -> AbstractContextManager[object]:
    """Return a progress bar that shows the state of `scanner`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
    from rich.text import Text

    class ScanColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            task.completed = scanner.done
            found = sum(len(place.units) for place in scanner.places)
            place = scanner.latest
            now = (
                f", asking {unit_address(place.link.address, place.asking)}"
                if place and place.asking is not None
                else ""
            )
            return Text(f"{scanner.done} of {total} places, {found} units found{now}")

    console = Console(stderr=True, width=terminal_columns(sys.stderr))
    bar = Progress(SpinnerColumn(), BarColumn(), ScanColumn(), TimeElapsedColumn(), console=console, transient=True)
    bar.add_task("scan", total=total)
    return bar
