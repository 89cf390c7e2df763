"""Reads energy devices over Modbus: profiles, SunSpec, links and the simulator. Does not import the agent."""
