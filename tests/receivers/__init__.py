"""The recipes of docs/receivers.md, run for real. `make test-receivers` installs the programs and runs these tests."""
