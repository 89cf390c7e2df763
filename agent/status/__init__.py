"""How the daemon does, for people and programs: page, /readyz, /metrics, /status.json, hourly line.

The recorder and the snapshot are always loaded; listener, http_server and metrics only with a `[status]` table.
Nothing here changes what is sent.
"""
