"""Reading energy devices over Modbus: profiles, SunSpec, links and the simulator. Knows nothing of the agent."""
