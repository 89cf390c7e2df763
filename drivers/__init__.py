"""Reads energy devices over Modbus: links, profiles, SunSpec, search, dumps and a simulator. Never imports `agent`."""
