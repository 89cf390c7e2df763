"""SQLite on a disk that may be full, read-only or failing; used by the queue and the energies."""

from agent.storage.sqlite import UnusableFileError, code, connect, has_log, log_of, means_damage, pragma

__all__ = [
    "UnusableFileError",
    "code",
    "connect",
    "has_log",
    "log_of",
    "means_damage",
    "pragma",
]
