"""SQLite on a disk that may be full, read-only or failing; used by the queue and the energies."""
