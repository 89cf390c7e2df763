"""A simulated site on real Modbus sockets: physics, devices, register images, server.

Tests, `make demo` and `simulate` use it; the daemon never loads it.
"""
